// Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
// YuNet: where the faces of an image are, by the looks of modeling_simfle/face_detection_simfle.py (a change there is a
// change here). A look is 640 x 640 pixels. A face is {x, y, width, height, points, score} until its pixels are whole.

import { centre, cut, resize } from "./images.js";

const SIDE = 640;
const SIDE_WITHIN_BORDER = 426; // of the image in the look with a border: 426 + 2 * 107 = 640
const STRIDES = [8, 16, 32];
const THRESHOLD = 0.7; // least score
const LARGEST_IOU = 0.3; // intersection over union of two faces that both stay
const MIN_FACE_SIZE = 48; // pixels of the image
const SMALLEST_SEEN = 20; // pixels of a look
const LARGEST_SEEN = 400; // pixels of a look: YuNet cuts larger faces short
const LEAST_OVERLAP = 128; // pixels that neighbouring tiles share

const scaledLength = (length, scale) => Math.max(1, Math.round(length * scale));
const centred = (length) => Math.max(0, Math.floor((SIDE - length) / 2));

export class FaceDetector {
  constructor(ort, session) {
    Object.assign(this, { ort, session });
  }

  /** The faces of an image, the largest first. Before each tile `onTile(number, count)` is waited for. */
  async detectFaces(image, onTile) {
    const faces = await this.look(image);
    const scale = Math.min(1, SIDE / Math.max(image.width, image.height));
    const showsLarge = faces.some((face) => Math.max(face.width, face.height) * scale > LARGEST_SEEN);
    if (MIN_FACE_SIZE * scale < SMALLEST_SEEN) faces.push(...(await this.lookAtTiles(image, onTile)));
    if (showsLarge || faces.length === 0) faces.push(...(await this.look(image, true)));
    const smallest = (Math.min(MIN_FACE_SIZE, image.width, image.height) * 2) / 3;
    return suppress(faces)
      .map(toWholePixels)
      .filter(({ box }) => Math.max(box.xmax - box.xmin, box.ymax - box.ymin) >= smallest)
      .sort((a, b) => area(b.box) - area(a.box));
  }

  /** Faces of the whole image, scaled down to fit; with a border, of the image within its repeated edge. */
  async look(image, withBorder = false) {
    const scale = Math.min(1, (withBorder ? SIDE_WITHIN_BORDER : SIDE) / Math.max(image.width, image.height));
    const [width, height] = [scaledLength(image.width, scale), scaledLength(image.height, scale)];
    const [x, y] = withBorder ? [Math.round(width / 4), Math.round(height / 4)] : [0, 0];
    const small = cut(resize(image, width, height), -x, -y, width + 2 * x, height + 2 * y);
    const faces = await this.run(centre(small, SIDE));
    return faces.map((face) => moved(face, centred(small.width) + x, centred(small.height) + y, scale));
  }

  /** Faces in overlapping tiles of the image, scaled so that the smallest face has 20 pixels. */
  async lookAtTiles(image, onTile) {
    const scale = SMALLEST_SEEN / MIN_FACE_SIZE;
    const scaled = resize(image, scaledLength(image.width, scale), scaledLength(image.height, scale));
    const [width, height] = [Math.min(SIDE, scaled.width), Math.min(SIDE, scaled.height)];
    const corners = tileStarts(scaled.height).flatMap((top) => tileStarts(scaled.width).map((left) => [left, top]));
    const faces = [];
    for (const [index, [left, top]] of corners.entries()) {
      await onTile?.(index + 1, corners.length);
      const found = await this.run(centre(cut(scaled, left, top, width, height), SIDE));
      for (const inLook of found) {
        const face = moved(inLook, centred(width), centred(height), 1);
        const isCutBefore = (face.x < 0 && left > 0) || (face.y < 0 && top > 0);
        const isCutBehind = face.x + face.width > width && left + width < scaled.width;
        const isCutBelow = face.y + face.height > height && top + height < scaled.height;
        faces.push({ ...moved(face, -left, -top, scale), isCut: isCutBefore || isCutBehind || isCutBelow });
      }
    }
    return faces;
  }

  /** The faces of one look, in its pixels. */
  async run({ data }) {
    const input = new Float32Array(3 * SIDE * SIDE); // (1, 3, 640, 640), blue first, 0..255
    for (let i = 0; i < SIDE * SIDE; i++) {
      for (let channel = 0; channel < 3; channel++) input[channel * SIDE * SIDE + i] = data[4 * i + 2 - channel];
    }
    const outputs = await this.session.run({ input: new this.ort.Tensor("float32", input, [1, 3, SIDE, SIDE]) });
    return suppress(STRIDES.flatMap((stride) => decode(outputs, stride)));
  }
}

/** Faces that one scale of the outputs reports; each cell of stride x stride pixels may hold one. */
function decode(outputs, stride) {
  const [cls, obj, bbox, kps] = ["cls", "obj", "bbox", "kps"].map((name) => outputs[`${name}_${stride}`].data);
  const cells = SIDE / stride; // a side
  const unit = (value) => Math.min(Math.max(value, 0), 1);
  const faces = [];
  for (let i = 0; i < cells * cells; i++) {
    const score = Math.sqrt(unit(cls[i]) * unit(obj[i]));
    if (score < THRESHOLD) continue;
    const [column, row] = [i % cells, Math.floor(i / cells)];
    const [width, height] = [Math.exp(bbox[4 * i + 2]) * stride, Math.exp(bbox[4 * i + 3]) * stride];
    const x = (column + bbox[4 * i]) * stride - width / 2;
    const y = (row + bbox[4 * i + 1]) * stride - height / 2;
    const point = (k) => [(column + kps[10 * i + 2 * k]) * stride, (row + kps[10 * i + 2 * k + 1]) * stride];
    faces.push({ x, y, width, height, points: [0, 1, 2, 3, 4].map(point), score });
  }
  return faces;
}

/** A face in the pixels of an image that was scaled, then put at (left, top): in its pixels before that. */
function moved({ x, y, width, height, points, score }, left, top, scale) {
  const [newX, newY] = [(x - left) / scale, (y - top) / scale];
  points = points.map((point) => [(point[0] - left) / scale, (point[1] - top) / scale]);
  return { x: newX, y: newY, width: width / scale, height: height / scale, points, score };
}

function tileStarts(length) {
  if (length <= SIDE) return [0];
  const steps = Math.ceil((length - SIDE) / (SIDE - LEAST_OVERLAP));
  return Array.from({ length: steps + 1 }, (_, step) => Math.round((step * (length - SIDE)) / steps));
}

/** Of faces that overlap, the one with the highest score; faces that their tile cuts come last. */
function suppress(faces) {
  const kept = [];
  for (const face of [...faces].sort((a, b) => !!a.isCut - !!b.isCut || b.score - a.score)) {
    if (kept.every((other) => overlap(face, other) <= LARGEST_IOU)) kept.push(face);
  }
  return kept;
}

function overlap(a, b) {
  const width = Math.min(a.x + a.width, b.x + b.width) - Math.max(a.x, b.x);
  const height = Math.min(a.y + a.height, b.y + b.height) - Math.max(a.y, b.y);
  const shared = Math.max(0, width) * Math.max(0, height);
  return shared / (a.width * a.height + b.width * b.height - shared);
}

function toWholePixels({ x, y, width, height, points, score }) {
  const [xmin, ymin, xmax, ymax] = [x, y, x + width, y + height].map(Math.round);
  return { box: { xmin, ymin, xmax, ymax }, detection_score: score, landmarks: points };
}

const area = ({ xmin, ymin, xmax, ymax }) => (xmax - xmin) * (ymax - ymin);

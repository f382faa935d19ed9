// Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
// YuNet: where the faces of an image are. The same looks at an image as FaceExpressionPipeline in Python takes.

import { cut, paste, resize } from "./images.js";

const SIDE = 640; // pixels of the detector's square input
const STRIDES = [8, 16, 32];
const THRESHOLD = 0.7;
const MAX_OVERLAP = 0.3; // intersection over union of two boxes of different faces
const MIN_FACE_SIZE = 48; // pixels of the image
const SMALLEST_SEEN = 20; // pixels of the detector's input
const TILE_OVERLAP = 160;

export class FaceDetector {
  constructor(ort, session) {
    Object.assign(this, { ort, session });
  }

  /** The faces of an image, the largest first: [{box: {xmin, ymin, xmax, ymax}, landmarks: [[x, y], ...], score}]. */
  async findFaces(image, onLook = () => {}) {
    let faces = await this.look(image);
    const scale = SMALLEST_SEEN / MIN_FACE_SIZE;
    if (SIDE / Math.max(image.width, image.height) < scale) faces.push(...(await this.lookAtTiles(image, scale, onLook)));
    if (faces.length === 0) {
      const [x, y] = [Math.round(image.width / 4), Math.round(image.height / 4)];
      const bordered = cut(image, -x, -y, image.width + 2 * x, image.height + 2 * y);
      faces = (await this.look(bordered)).map((face) => moved(face, 1, -x, -y));
    }
    return withoutDoubles(faces).sort((a, b) => area(b.box) - area(a.box));
  }

  /** Faces of the whole image, letterboxed. */
  async look(image) {
    const scale = SIDE / Math.max(image.width, image.height);
    const width = Math.max(1, Math.round(image.width * scale));
    const height = Math.max(1, Math.round(image.height * scale));
    const faces = await this.run(paste(resize(image, width, height), 0, 0, SIDE, SIDE));
    return faces.map((face) => moved(face, 1 / scale, 0, 0));
  }

  async lookAtTiles(image, scale, onLook) {
    const scaled = resize(image, Math.round(image.width * scale), Math.round(image.height * scale));
    const corners = tileStarts(scaled.height).flatMap((top) => tileStarts(scaled.width).map((left) => [left, top]));
    const faces = [];
    for (const [index, [left, top]] of corners.entries()) {
      await onLook(index + 1, corners.length);
      const found = await this.run(cut(scaled, left, top, SIDE, SIDE));
      faces.push(...found.map((face) => moved(face, 1 / scale, left / scale, top / scale)));
    }
    return faces;
  }

  /** One run on an image of 640 x 640, in its pixels. */
  async run({ data }) {
    const input = new Float32Array(3 * SIDE * SIDE); // (1, 3, 640, 640), blue first, 0..255
    for (let i = 0; i < SIDE * SIDE; i++) {
      for (let channel = 0; channel < 3; channel++) input[channel * SIDE * SIDE + i] = data[4 * i + 2 - channel];
    }
    const outputs = await this.session.run({ input: new this.ort.Tensor("float32", input, [1, 3, SIDE, SIDE]) });
    return withoutDoubles(STRIDES.flatMap((stride) => decode(outputs, stride)));
  }
}

/** Faces that one output scale reports with at least the threshold's score. */
function decode(outputs, stride) {
  const read = (name) => outputs[`${name}_${stride}`].data;
  const [cls, obj, bbox, kps] = ["cls", "obj", "bbox", "kps"].map(read);
  const cells = SIDE / stride; // a side
  const unit = (value) => Math.min(Math.max(value, 0), 1);
  const faces = [];
  for (let i = 0; i < cells * cells; i++) {
    const score = Math.sqrt(unit(cls[i]) * unit(obj[i]));
    if (score < THRESHOLD) continue;
    const [column, row] = [i % cells, Math.floor(i / cells)];
    const [x, y] = [(column + bbox[4 * i]) * stride, (row + bbox[4 * i + 1]) * stride];
    const [width, height] = [Math.exp(bbox[4 * i + 2]) * stride, Math.exp(bbox[4 * i + 3]) * stride];
    const point = (k) => [(column + kps[10 * i + 2 * k]) * stride, (row + kps[10 * i + 2 * k + 1]) * stride];
    const box = { xmin: x - width / 2, ymin: y - height / 2, xmax: x + width / 2, ymax: y + height / 2 };
    faces.push({ box, landmarks: [0, 1, 2, 3, 4].map(point), score });
  }
  return faces;
}

function moved({ box, landmarks, score }, scale, x, y) {
  const { xmin, ymin, xmax, ymax } = box;
  return {
    box: { xmin: xmin * scale + x, ymin: ymin * scale + y, xmax: xmax * scale + x, ymax: ymax * scale + y },
    landmarks: landmarks.map((point) => [point[0] * scale + x, point[1] * scale + y]),
    score,
  };
}

/** Corners of overlapping tiles along an axis, evenly spread from its start to its end. */
function tileStarts(length) {
  if (length <= SIDE) return [0];
  const count = Math.ceil((length - TILE_OVERLAP) / (SIDE - TILE_OVERLAP));
  return Array.from({ length: count }, (_, i) => Math.round((i * (length - SIDE)) / (count - 1)));
}

const area = ({ xmin, ymin, xmax, ymax }) => Math.max(0, xmax - xmin) * Math.max(0, ymax - ymin);

function overlap(a, b) {
  const shared = area({
    xmin: Math.max(a.xmin, b.xmin),
    ymin: Math.max(a.ymin, b.ymin),
    xmax: Math.min(a.xmax, b.xmax),
    ymax: Math.min(a.ymax, b.ymax),
  });
  return shared / (area(a) + area(b) - shared);
}

/** Non-maximum suppression: of boxes that overlap, the one with the highest score. */
function withoutDoubles(faces) {
  const kept = [];
  for (const face of [...faces].sort((a, b) => b.score - a.score)) {
    if (kept.every((other) => overlap(face.box, other.box) <= MAX_OVERLAP)) kept.push(face);
  }
  return kept;
}

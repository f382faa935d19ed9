// Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
// Pixels: decoding, cutting and resizing as Pillow does. An image is {data, width, height}, data being 8-bit RGBA.

import { Refusal } from "./refusal.js";

const MAX_PIXELS = 100e6; // a canvas of this size takes 400 MB

/** A file as {bitmap, image}: EXIF orientation applied, colour profile ignored, as the Python pipeline does. */
export async function decodeImage(file) {
  const name = file.name || "The pasted picture";
  if (file.type && !file.type.startsWith("image/")) {
    throw new Refusal(`${name} is not a picture. Choose a JPEG, PNG, WebP, GIF, BMP or AVIF file.`);
  }
  const options = { imageOrientation: "from-image", premultiplyAlpha: "none", colorSpaceConversion: "none" };
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, options);
  } catch {
    throw new Refusal(
      `${name} cannot be read as a picture. It may be damaged, or of a kind that this browser cannot read (HEIC, for ` +
        "example). Choose a JPEG, PNG, WebP, GIF, BMP or AVIF file.",
    );
  }
  if (bitmap.width * bitmap.height > MAX_PIXELS) {
    throw new Refusal(`${name} has ${bitmap.width} x ${bitmap.height} pixels. Choose one of at most 100 megapixels.`);
  }
  return { bitmap, image: await readPixels(bitmap) };
}

/** The pixels of an ImageBitmap or a video. */
export async function readPixels(source, width = source.width, height = source.height) {
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(source, 0, 0, width, height);
  return context.getImageData(0, 0, width, height);
}

/** The rectangle of whole pixels at (left, top); what lies outside the image repeats its edge. */
export function cut(image, left, top, width, height) {
  const from = new Uint32Array(image.data.buffer, image.data.byteOffset, image.width * image.height);
  const data = new Uint8ClampedArray(4 * width * height);
  const to = new Uint32Array(data.buffer);
  const clamp = (value, end) => Math.min(Math.max(value, 0), end - 1);
  for (let y = 0; y < height; y++) {
    const row = clamp(top + y, image.height) * image.width;
    for (let x = 0; x < width; x++) to[y * width + x] = from[row + clamp(left + x, image.width)];
  }
  return { data, width, height };
}

/** The image in the middle of a black square. */
export function centre(image, side) {
  const data = new Uint8ClampedArray(4 * side * side);
  const [left, top] = [Math.floor((side - image.width) / 2), Math.floor((side - image.height) / 2)];
  for (let y = 0; y < image.height; y++) {
    data.set(image.data.subarray(4 * y * image.width, 4 * (y + 1) * image.width), 4 * ((top + y) * side + left));
  }
  return { data, width: side, height: side };
}

/** The image at another size: bilinear and antialiased, one axis after the other, 8 bits in between, as Pillow's resize. */
export function resize(image, width, height) {
  const across = width === image.width ? image : resizeColumns(image, width);
  return height === image.height ? across : resizeRows(across, height);
}

/** Weights of one axis: a triangle as wide as a new pixel covers of the old ones, and at least two pixels wide. */
function filterWeights(before, after) {
  const scale = before / after;
  const support = Math.max(scale, 1);
  return Array.from({ length: after }, (_, index) => {
    const center = (index + 0.5) * scale;
    const first = Math.max(0, Math.floor(center - support + 0.5));
    const end = Math.min(before, Math.floor(center + support + 0.5));
    const weights = new Float64Array(end - first);
    for (let x = first; x < end; x++) weights[x - first] = Math.max(0, 1 - Math.abs(x + 0.5 - center) / support);
    const sum = weights.reduce((a, b) => a + b);
    return { first, weights: weights.map((weight) => weight / sum) };
  });
}

function resizeColumns({ data, width, height }, newWidth) {
  const out = new Uint8ClampedArray(4 * newWidth * height); // an 8-bit clamped array rounds
  const filters = filterWeights(width, newWidth);
  for (let y = 0, to = 0; y < height; y++) {
    for (let x = 0; x < newWidth; x++, to += 4) {
      const { first, weights } = filters[x];
      let [red, green, blue] = [0, 0, 0];
      for (let k = 0, at = 4 * (y * width + first); k < weights.length; k++, at += 4) {
        red += weights[k] * data[at];
        green += weights[k] * data[at + 1];
        blue += weights[k] * data[at + 2];
      }
      out[to] = red;
      out[to + 1] = green;
      out[to + 2] = blue;
      out[to + 3] = 255;
    }
  }
  return { data: out, width: newWidth, height };
}

function resizeRows({ data, width, height }, newHeight) {
  const out = new Uint8ClampedArray(4 * width * newHeight);
  const sums = new Float64Array(4 * width);
  filterWeights(height, newHeight).forEach(({ first, weights }, y) => {
    sums.fill(0);
    for (let k = 0; k < weights.length; k++) {
      const row = 4 * (first + k) * width;
      for (let x = 0; x < sums.length; x++) sums[x] += weights[k] * data[row + x];
    }
    out.set(sums, 4 * y * width);
  });
  return { data: out, width, height: newHeight };
}

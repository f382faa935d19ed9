// Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
// Pixels: decoding, cutting and resizing as Pillow does. An image is {data, width, height}, data being 8-bit RGBA.

/** A failure whose message is a sentence for the person in front of the page. */
export class Refusal extends Error {}

const MAX_PIXELS = 100e6; // a canvas of this size takes 400 MB
const KINDS = "Choose a JPEG, PNG, WebP, GIF, BMP or AVIF file.";

/** A file as {source, image}: EXIF orientation applied, colour profile ignored, as the Python pipeline does. */
export async function decodeImage(file, name) {
  if (file.type && !file.type.startsWith("image/")) throw new Refusal(`${name} is not a picture. ${KINDS}`);
  const options = { imageOrientation: "from-image", premultiplyAlpha: "none", colorSpaceConversion: "none" };
  const source = await createImageBitmap(file, options).catch(() => {
    const why = "It may be damaged, or of a kind that this browser cannot read (HEIC, for example).";
    throw new Refusal(`${name} cannot be read as a picture. ${why} ${KINDS}`);
  });
  const { width, height } = source;
  if (width * height > MAX_PIXELS) {
    throw new Refusal(`${name} has ${width} x ${height} pixels. Choose a picture of at most 100 megapixels.`);
  }
  return { source, image: readPixels(source, width, height) };
}

/** The pixels of an ImageBitmap or a video. */
export function readPixels(source, width, height) {
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.drawImage(source, 0, 0, width, height);
  return context.getImageData(0, 0, width, height);
}

/** A rectangle of the image; what lies outside the image repeats its edge. */
export function cut(image, left, top, width, height) {
  if (left === 0 && top === 0 && width === image.width && height === image.height) return image;
  const pixels = new Uint32Array(image.data.buffer); // one number a pixel
  const data = new Uint8ClampedArray(4 * width * height);
  const out = new Uint32Array(data.buffer);
  const clamp = (value, end) => Math.min(Math.max(value, 0), end - 1);
  for (let y = 0; y < height; y++) {
    const row = clamp(top + y, image.height) * image.width;
    for (let x = 0; x < width; x++) out[y * width + x] = pixels[row + clamp(left + x, image.width)];
  }
  return { data, width, height };
}

/** The image in the middle of a black square of `side` pixels. */
export function centre(image, side) {
  const data = new Uint8ClampedArray(4 * side * side);
  const [left, top] = [Math.floor((side - image.width) / 2), Math.floor((side - image.height) / 2)];
  for (let y = 0; y < image.height; y++) {
    data.set(image.data.subarray(4 * y * image.width, 4 * (y + 1) * image.width), 4 * ((top + y) * side + left));
  }
  return { data, width: side, height: side };
}

/** The image at another size: bilinear, antialiased, one axis after the other with 8 bits in between, as Pillow. */
export function resize(image, width, height) {
  const across = width === image.width ? image : resizeColumns(image, width);
  return height === image.height ? across : resizeRows(across, height);
}

const [BITS, HALF] = [22, 1 << 21]; // of the fraction of a weight, and what rounds, as in Pillow: sums fit 31 bits

/** Weights of one axis: a triangle over twice what a new pixel covers of the old ones, and over two pixels at least. */
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
    return { first, weights: Int32Array.from(weights, (weight) => Math.round((weight / sum) * (1 << BITS))) };
  });
}

function resizeColumns({ data, width, height }, newWidth) {
  const out = new Uint8ClampedArray(4 * newWidth * height).fill(255);
  const filters = filterWeights(width, newWidth);
  for (let y = 0, to = 0; y < height; y++) {
    for (let x = 0; x < newWidth; x++, to += 4) {
      const { first, weights } = filters[x];
      let [red, green, blue] = [HALF, HALF, HALF];
      for (let k = 0, from = 4 * (y * width + first); k < weights.length; k++, from += 4) {
        red += weights[k] * data[from];
        green += weights[k] * data[from + 1];
        blue += weights[k] * data[from + 2];
      }
      out[to] = red >> BITS;
      out[to + 1] = green >> BITS;
      out[to + 2] = blue >> BITS;
    }
  }
  return { data: out, width: newWidth, height };
}

function resizeRows({ data, width, height }, newHeight) {
  const out = new Uint8ClampedArray(4 * width * newHeight);
  const sums = new Int32Array(4 * width);
  filterWeights(height, newHeight).forEach(({ first, weights }, y) => {
    sums.fill(HALF);
    weights.forEach((weight, k) => {
      const row = 4 * (first + k) * width;
      for (let x = 0; x < sums.length; x++) sums[x] += weight * data[row + x];
    });
    const to = 4 * y * width;
    for (let x = 0; x < sums.length; x++) out[to + x] = sums[x] >> BITS;
  });
  return { data: out, width, height: newHeight };
}

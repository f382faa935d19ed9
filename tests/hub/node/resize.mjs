// Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
// A RawImage as a square of `size` pixels a side by Pillow's bilinear filter, which transformers.js's own is not.

/** The taps of one axis: a triangle as wide as what one new pixel covers of the old ones, at least one pixel. */
function taps(before, after) {
  const scale = before / after;
  const support = Math.max(scale, 1);
  return Array.from({ length: after }, (_, i) => {
    const center = (i + 0.5) * scale;
    const first = Math.max(0, Math.floor(center - support + 0.5));
    const end = Math.min(before, Math.floor(center + support + 0.5));
    const weights = [];
    for (let x = first; x < end; ++x) weights.push(Math.max(0, 1 - Math.abs(x + 0.5 - center) / support));
    const sum = weights.reduce((a, b) => a + b);
    return { first, weights: weights.map((weight) => weight / sum) };
  });
}

/** (height, width, channels) 8-bit pixels -> (width', height, channels): one axis resized, the axes swapped. */
function resizeRows(data, height, width, channels, after) {
  const out = new Uint8ClampedArray(after * height * channels); // rounds
  taps(width, after).forEach(({ first, weights }, x) => {
    for (let y = 0; y < height; ++y) {
      for (let c = 0; c < channels; ++c) {
        let sum = 0;
        weights.forEach((weight, k) => (sum += weight * data[(y * width + first + k) * channels + c]));
        out[(x * height + y) * channels + c] = sum;
      }
    }
  });
  return out;
}

/** The whole picture, its aspect ratio not kept. */
export function resizeFace(image, size) {
  const across = resizeRows(image.data, image.height, image.width, image.channels, size);
  const both = resizeRows(across, size, image.height, image.channels, size);
  return new image.constructor(both, size, size, image.channels);
}

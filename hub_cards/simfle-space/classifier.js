// Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
// A face to the probabilities of its expressions, prepared as the model's preprocessor_config.json says.

import { cut, Refusal, resize } from "./images.js";

const BILINEAR = 2; // Pillow's number of the filter

export class Classifier {
  constructor(ort, session, config, processor) {
    const { size, resample = BILINEAR, do_center_crop } = processor;
    const side = size?.height ?? size;
    const isSquare = side > 0 && side === (size.width ?? size);
    if (!isSquare || resample !== BILINEAR || do_center_crop || !config.id2label) {
      throw new Refusal("This classifier has no labels, or prepares its images in a way that this page does not know.");
    }
    const labels = Object.entries(config.id2label).sort(([a], [b]) => a - b);
    Object.assign(this, { ort, session, processor, side, labels: labels.map(([, label]) => label) });
    Object.assign(this, { temperature: config.temperature ?? 1, classPrior: config.class_prior });
  }

  /** {label, score, scores} of the square about a box; scores maps every label to its probability. */
  async classify(image, { xmin, ymin, xmax, ymax }) {
    const side = Math.max(1, xmax - xmin, ymax - ymin);
    const [left, top] = [Math.round((xmin + xmax - side) / 2), Math.round((ymin + ymax - side) / 2)];
    const pixels = this.prepare(cut(image, left, top, side, side));
    const input = new this.ort.Tensor("float32", pixels, [1, 3, this.side, this.side]);
    const outputs = await this.session.run({ [this.session.inputNames[0]]: input });
    const logits = [...outputs[this.session.outputNames[0]].data];
    const probabilities = softmax(logits.map((logit, i) => logit / this.temperature + (this.classPrior?.[i] ?? 0)));
    const best = probabilities.indexOf(Math.max(...probabilities));
    const scores = Object.fromEntries(this.labels.map((label, i) => [label, probabilities[i]]));
    return { label: this.labels[best], score: probabilities[best], scores };
  }

  /** (1, 3, side, side) of a face: resized, scaled, normalised. */
  prepare(face) {
    const { do_rescale, rescale_factor = 1 / 255, do_normalize, image_mean, image_std, do_grayscale } = this.processor;
    const count = this.side * this.side;
    const pixels = new Float32Array(3 * count);
    const { data } = resize(face, this.side, this.side);
    for (let i = 0; i < count; i++) {
      // ITU-R 601, as Pillow rounds it
      const luminance = (19595 * data[4 * i] + 38470 * data[4 * i + 1] + 7471 * data[4 * i + 2] + 0x8000) >> 16;
      for (let channel = 0; channel < 3; channel++) {
        const value = (do_grayscale ? luminance : data[4 * i + channel]) * (do_rescale === false ? 1 : rescale_factor);
        pixels[channel * count + i] = do_normalize === false ? value : (value - image_mean[channel]) / image_std[channel];
      }
    }
    return pixels;
  }
}

function softmax(logits) {
  const largest = Math.max(...logits);
  const powers = logits.map((logit) => Math.exp(logit - largest));
  const sum = powers.reduce((a, b) => a + b);
  return powers.map((power) => power / sum);
}

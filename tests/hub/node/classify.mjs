// Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
// node classify.mjs FOLDER DTYPE IMAGE...   (DTYPE: fp32 is onnx/model.onnx, q8 is onnx/model_quantized.onnx)
// Prints a JSON list: for every image {"stock", "resized"}, label to probability; "stock" by the pipeline alone,
// "resized" with the picture resized as Pillow does before.

import path from 'node:path';
import { env, pipeline, RawImage } from '@huggingface/transformers';
import { resizeFace } from './resize.mjs';

const [folder, dtype, ...files] = process.argv.slice(2);
env.allowRemoteModels = false;
env.localModelPath = path.dirname(path.resolve(folder));
const classify = await pipeline('image-classification', path.basename(folder), { dtype, device: 'cpu' });
const { height } = classify.processor.image_processor.size;

const byLabel = (found) => Object.fromEntries(found.map(({ label, score }) => [label, score]));
const results = [];
for (const file of files) {
  const image = (await RawImage.read(file)).rgb();
  const stock = byLabel(await classify(image, { top_k: null }));
  results.push({ stock, resized: byLabel(await classify(resizeFace(image, height), { top_k: null })) });
}
console.log(JSON.stringify(results));

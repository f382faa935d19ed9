// Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
// Where the models lie, and how they are loaded: with progress, and from the browser's cache on a second visit.

import { Classifier } from "./classifier.js";
import { FaceDetector } from "./detector.js";
import { Refusal } from "./refusal.js";

const ORGANISATION = "simfle"; // whose models the page takes from the Hub
export const DEFAULT_MODEL = `${ORGANISATION}/simfle-resnet18-ferplus-plain`;
const HUB = "https://huggingface.co";
const RUNTIME = "https://cdn.jsdelivr.net/npm/onnxruntime-web@1.30.0/dist/";
const DETECTOR = {
  url: `${HUB}/opencv/face_detection_yunet/resolve/main/face_detection_yunet_2023mar.onnx`,
  sha256: "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
};
const CACHE = "simfle-space-1";
const CONFIGS = ["config.json", "preprocessor_config.json"];
const WEIGHTS = ["onnx/model_quantized.onnx", "onnx/model.onnx"];

/** The detector and the classifier `id`; onProgress(received, total) counts bytes. */
export async function loadModels(id, onProgress) {
  if (typeof WebAssembly !== "object") {
    throw new Refusal("This browser has no WebAssembly, which runs the models. Use a recent browser.");
  }
  const progress = new Progress(onProgress);
  const [ort, detector, classifier] = await Promise.all([
    loadRuntime(progress),
    download(DETECTOR.url, "The face detector", { progress, sha256: DETECTOR.sha256 }),
    downloadClassifier(id, progress),
  ]);
  const [config, processor] = classifier.configs;
  try {
    const open = (bytes) => ort.InferenceSession.create(bytes, { executionProviders: ["wasm"] });
    return {
      detector: new FaceDetector(ort, await open(detector)),
      classifier: new Classifier(ort, await open(classifier.weights), config, processor),
    };
  } catch (error) {
    if (error instanceof Refusal) throw error;
    throw new Refusal(`${id} cannot be run in this browser: ${error.message ?? error}`);
  }
}

/** onnxruntime-web, its 14 MB of WebAssembly downloaded here so that their progress shows and they are kept. */
async function loadRuntime(progress) {
  const wasmBinary = download(`${RUNTIME}ort-wasm-simd-threaded.wasm`, "The runtime of the models", { progress });
  const ort = await import(`${RUNTIME}ort.wasm.min.mjs`).catch(() => {
    throw unreachable("The runtime of the models");
  });
  ort.env.wasm.wasmPaths = RUNTIME;
  ort.env.wasm.wasmBinary = await wasmBinary;
  ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(navigator.hardwareConcurrency, 4) : 1;
  return ort;
}

/** The configs and the weights of one commit, the one that the main branch now shows. */
async function downloadClassifier(id, progress) {
  const file = (revision, path) => `${HUB}/${id}/resolve/${revision}/${path}`;
  const { revision } = await findCommit(file("main", CONFIGS[0]), id);
  const configs = CONFIGS.map(async (path) => {
    const bytes = await download(file(revision, path), `The classifier ${id}`, { missing: `${id} has no ${path}.` });
    return JSON.parse(new TextDecoder().decode(bytes));
  });
  const weights = downloadWeights((path) => file(revision, path), id, progress);
  const result = { configs: await Promise.all(configs), weights: await weights };
  await forgetOtherCommits(file("", "").replace(/\/+$/, "/"), revision);
  return result;
}

async function downloadWeights(file, id, progress) {
  const missing = `${id} has no ONNX file (${WEIGHTS.join(" or ")}), so this page cannot run it.`;
  const name = `The classifier ${id}`;
  const int8 = await download(file(WEIGHTS[0]), name, { progress, missing: null });
  return int8 ?? download(file(WEIGHTS[1]), name, { progress, missing });
}

/** The commit of the main branch; without a network, that of the last visit. */
async function findCommit(url, id) {
  const cache = await openCache();
  let response;
  try {
    response = await fetch(url, { credentials: "omit", cache: "no-cache" });
    if (response.ok) await cache?.put(url, response.clone());
  } catch {
    response = await cache?.match(url);
    if (!response) throw unreachable(`The classifier ${id}`);
  }
  if ([401, 403, 404].includes(response.status)) throw new Refusal(`There is no public classifier ${id} on the Hub.`);
  if (!response.ok) throw unreachable(`The classifier ${id}`);
  return { revision: response.headers.get("X-Repo-Commit") ?? "main" };
}

async function forgetOtherCommits(prefix, revision) {
  const cache = await openCache();
  for (const { url } of (await cache?.keys()) ?? []) {
    const kept = [`${prefix}${revision}/`, `${prefix}main/`].some((start) => url.startsWith(start));
    if (url.startsWith(prefix) && !kept) await cache.delete(url);
  }
}

/**
 * The bytes behind an address, from the cache if they are there.
 * `missing`: what to say if the Hub has no such file; null gives null then. `sha256`: what the bytes must hash to.
 */
async function download(url, name, { progress, sha256, missing } = {}) {
  const cache = await openCache();
  const stored = await cache?.match(url);
  let bytes;
  try {
    const response = stored ?? (await fetch(url, { credentials: "omit" }));
    if (response.status === 404 && missing === null) return null;
    if (response.status === 404 && missing) throw new Refusal(missing);
    if (!response.ok) throw unreachable(name);
    bytes = await readWithProgress(response, url, progress);
  } catch (error) {
    throw error instanceof Refusal ? error : unreachable(name);
  }
  if (sha256 && (await hash(bytes)) !== sha256) {
    throw new Refusal(`${name} is not the file that this page was made for: its SHA-256 differs. It is not run.`);
  }
  // A full or forbidden cache costs a download at the next visit, no more.
  if (!stored) await cache?.put(url, new Response(bytes)).catch(() => {});
  return bytes;
}

async function readWithProgress(response, url, progress) {
  const total = response.headers.get("Content-Encoding") ? 0 : Number(response.headers.get("Content-Length"));
  const chunks = [];
  let received = 0;
  for (const reader = response.body.getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) break;
    chunks.push(value);
    received += value.length;
    progress?.update(url, received, Math.max(total, received));
  }
  return new Uint8Array(await new Blob(chunks).arrayBuffer());
}

/** Sums the bytes of several downloads. */
class Progress {
  constructor(onProgress) {
    Object.assign(this, { onProgress, files: new Map() });
  }

  update(url, received, total) {
    this.files.set(url, { received, total });
    const sum = (key) => [...this.files.values()].reduce((value, file) => value + file[key], 0);
    this.onProgress(sum("received"), sum("total"));
  }
}

const openCache = () => self.caches?.open(CACHE).catch(() => undefined); // private windows may forbid it

const unreachable = (name) => new Refusal(`${name} cannot be reached. Check the connection and load the page again.`);

async function hash(bytes) {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

// Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
// Where the models lie, and how they are loaded: with progress, and from the browser's cache on a second visit.

import { Classifier } from "./classifier.js";
import { FaceDetector } from "./detector.js";
import { Refusal } from "./images.js";

const ORGANISATION = "simfle"; // whose classifier the page takes from the Hub
export const DEFAULT_MODEL = `${ORGANISATION}/simfle-resnet18-ferplus-plain`;
export const HUB = "https://huggingface.co";
const RUNTIME = "https://cdn.jsdelivr.net/npm/onnxruntime-web@1.30.0/dist/";
const DETECTOR = `${HUB}/opencv/face_detection_yunet/resolve/main/face_detection_yunet_2023mar.onnx`;
const DETECTOR_SHA256 = "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4";
const WEIGHTS = ["onnx/model_quantized.onnx", "onnx/model.onnx"]; // the first that is there

const openCache = () => self.caches?.open("simfle-space").catch(() => undefined); // a private window may forbid it
const unreachable = (name) => new Refusal(`${name} cannot be reached. Check the connection and load the page again.`);

/** {detector, classifier}, the classifier being `id` on the Hub. onProgress(received, total) counts bytes. */
export async function loadModels(id, onProgress) {
  if (typeof WebAssembly !== "object") {
    throw new Refusal("This browser has no WebAssembly, which runs the models. Use a recent browser.");
  }
  const files = new Map(); // address: {received, total}
  const progress = (url, received, total) => {
    files.set(url, { received, total });
    const sum = (key) => [...files.values()].reduce((value, file) => value + file[key], 0);
    onProgress(sum("received"), sum("total"));
  };
  const runtime = loadRuntime(progress);
  const open = async (bytes, name) => {
    const ort = await runtime;
    const session = await ort.InferenceSession.create(bytes, { executionProviders: ["wasm"] }).catch((error) => {
      throw new Refusal(`${name} cannot be run in this browser: ${error.message ?? error}`);
    });
    return [ort, session];
  };
  const openDetector = async (name = "The face detector") => {
    const bytes = await download(DETECTOR, name, { progress, sha256: DETECTOR_SHA256 });
    return new FaceDetector(...(await open(bytes, name)));
  };
  const openClassifier = async () => {
    const { config, processor, weights } = await downloadClassifier(id, progress);
    return new Classifier(...(await open(weights, id)), config, processor);
  };
  const [detector, classifier] = await Promise.all([openDetector(), openClassifier()]);
  return { detector, classifier };
}

/** onnxruntime-web. Its 14 MB of WebAssembly are downloaded here, so that they count and are kept. */
async function loadRuntime(progress) {
  const name = "The runtime of the models";
  const [ort, wasmBinary] = await Promise.all([
    import(`${RUNTIME}ort.wasm.min.mjs`).catch(() => Promise.reject(unreachable(name))),
    download(`${RUNTIME}ort-wasm-simd-threaded.wasm`, name, { progress }),
  ]);
  // One core is left to the page: threads that wait for each other are slow where none is free.
  const numThreads = self.crossOriginIsolated ? Math.max(1, Math.min(4, navigator.hardwareConcurrency - 1)) : 1;
  Object.assign(ort.env.wasm, { wasmPaths: RUNTIME, wasmBinary, numThreads });
  return ort;
}

/** Config, image processor and weights of one commit: the one that config.json of the main branch comes from. */
async function downloadClassifier(id, progress) {
  const name = `The classifier ${id}`;
  const folder = `${HUB}/${id}/resolve/`;
  const { config, commit } = await fetchConfig(`${folder}main/config.json`, id, name);
  const get = (path, missing) => download(`${folder}${commit}/${path}`, name, { progress, missing });
  const noWeights = `${id} has no ONNX file (${WEIGHTS.join(" or ")}), so this page cannot run it.`;
  const [processor, weights] = await Promise.all([
    get("preprocessor_config.json", `${id} has no preprocessor_config.json.`),
    get(WEIGHTS[0], null).then((bytes) => bytes ?? get(WEIGHTS[1], noWeights)),
  ]);
  const cache = await openCache();
  for (const { url } of (await cache?.keys()) ?? []) {
    const isKept = [`${folder}${commit}/`, `${folder}main/`].some((start) => url.startsWith(start));
    if (url.startsWith(folder) && !isKept) await cache.delete(url); // an older commit's
  }
  return { config, processor: JSON.parse(new TextDecoder().decode(processor)), weights };
}

/** config.json and its commit; without a network, those of the last visit. */
async function fetchConfig(url, id, name) {
  const cache = await openCache();
  let response = await fetch(url, { credentials: "omit", cache: "no-cache" }).catch(() => undefined);
  if (response?.ok) await cache?.put(url, response.clone()).catch(() => {});
  response ??= await cache?.match(url);
  if ([401, 403, 404].includes(response?.status)) throw new Refusal(`There is no public classifier ${id} on the Hub.`);
  if (!response?.ok) throw unreachable(name);
  return { config: await response.json(), commit: response.headers.get("X-Repo-Commit") ?? "main" };
}

/**
 * The bytes behind an address, from the cache if they are there. sha256: what they must hash to.
 * missing: what to say if there is no such file; null gives null in place of bytes.
 */
async function download(url, name, { progress, sha256, missing }) {
  const cache = await openCache();
  const stored = await cache?.match(url);
  let bytes;
  try {
    const response = stored ?? (await fetch(url, { credentials: "omit" }));
    if (response.status === 404 && missing === null) return null;
    if (response.status === 404 && missing) throw new Refusal(missing);
    if (!response.ok) throw unreachable(name);
    bytes = await read(response, (received, total) => progress(url, received, total));
  } catch (error) {
    throw error instanceof Refusal ? error : unreachable(name);
  }
  if (sha256 && (await hash(bytes)) !== sha256) {
    throw new Refusal(`${name} is not the file that this page was made for: its SHA-256 differs. It is not run.`);
  }
  if (!stored) await cache?.put(url, new Response(bytes)).catch(() => {}); // a full cache costs the next visit a download
  return bytes;
}

async function read(response, onChunk) {
  const isPacked = response.headers.has("Content-Encoding"); // then the length is not that of what is read
  const total = isPacked ? 0 : Number(response.headers.get("Content-Length"));
  const chunks = [];
  let received = 0;
  onChunk(received, total);
  for (const reader = response.body.getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) return new Uint8Array(await new Blob(chunks).arrayBuffer());
    chunks.push(value);
    received += value.length;
    onChunk(received, Math.max(total, received));
  }
}

async function hash(bytes) {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

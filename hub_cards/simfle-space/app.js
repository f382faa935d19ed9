// Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
// From a photo or the camera to the faces on the page. `data-state` of <main> says what the page is doing.

import { Camera } from "./camera.js";
import { decodeImage } from "./images.js";
import { DEFAULT_MODEL, loadModels } from "./models.js";
import { Refusal } from "./refusal.js";
import * as results from "./results.js";

const by = (id) => document.getElementById(id);
const main = document.querySelector("main");
const camera = new Camera();
let models; // a promise of {detector, classifier}
let modelName = DEFAULT_MODEL;
let result; // what is shown: {name, source, image, faces, chosen, model}
let lastFrame = 0; // milliseconds
let turn = Promise.resolve(); // the models do one thing at a time

const nextTask = () => new Promise((resolve) => setTimeout(resolve));

function say(state, text) {
  main.dataset.state = state;
  by("status").textContent = text;
  by("problem").textContent = "";
}

function sayProblem(error) {
  if (!(error instanceof Refusal)) console.error(error);
  main.dataset.state = "problem";
  by("status").textContent = "";
  by("problem").textContent = error instanceof Refusal ? error.message : `Something went wrong: ${error.message ?? error}`;
}

/** Runs one job after those before it; its failure becomes a sentence on the page. */
function inTurn(job) {
  turn = turn.then(job).catch(sayProblem);
  return turn;
}

function load() {
  const given = new URLSearchParams(location.search).get("model");
  if (given !== null) modelName = given;
  by("model").textContent = modelName;
  if (!/^[\w.-]+\/[\w.-]+$/.test(modelName)) {
    models = Promise.reject(new Refusal(`“${modelName}” is not a model's name. Write ?model=organisation/name.`));
  } else {
    by("model").href = `https://huggingface.co/${modelName}`;
    models = loadModels(modelName, showProgress);
  }
  const loaded = models.finally(() => (by("progress").hidden = true));
  inTurn(async () => {
    await loaded;
    say("ready", "The models are loaded. Choose a photo, drop one here, paste one, or use the camera.");
  });
}

function showProgress(received, total) {
  const megabytes = (bytes) => (bytes / 1e6).toFixed(1);
  Object.assign(by("progress"), { max: total, value: received });
  by("megabytes").textContent = `${megabytes(received)} of ${megabytes(total)} MB`;
}

/** The faces of an image, the largest first, with their expressions. */
async function findExpressions(image, onTile) {
  const { detector, classifier } = await models;
  const faces = [];
  for (const face of await detector.detectFaces(image, onTile)) {
    faces.push({ ...face, ...(await classifier.classify(image, face.box)) });
  }
  return faces;
}

function show(next) {
  const chosen = Math.min(next.chosen ?? 0, next.faces.length - 1);
  result = { ...next, chosen, model: modelName };
  by("result").hidden = false;
  by("faces").hidden = by("downloads").hidden = by("table").hidden = result.faces.length === 0;
  by("picture").ariaLabel = results.describe(result);
  drawPicture();
  results.showFaces(by("face-list"), result.faces, chosen);
  results.showTable(by("table").querySelector("table"), result.faces);
  if (chosen >= 0) results.showBars(by("bars"), result.faces[chosen]);
}

function drawPicture() {
  const { clientWidth } = by("picture").parentElement;
  const density = self.devicePixelRatio || 1;
  const width = Math.min(clientWidth, (0.8 * innerHeight * result.image.width) / result.image.height);
  by("picture").style.width = `${width}px`;
  results.drawPicture(by("picture"), result, width * density, 13 * density);
}

function classifyFile(file) {
  camera.stop();
  return inTurn(async () => {
    const name = file.name || "pasted picture";
    say("working", `Looking for faces in ${name} …`);
    const { bitmap, image } = await decodeImage(file);
    const onTile = (index, count) => {
      by("status").textContent = `Looking for faces in ${name}: part ${index} of ${count} …`;
      return nextTask();
    };
    await nextTask();
    const faces = await findExpressions(image, onTile);
    show({ name, source: bitmap, image, faces });
    if (faces.length > 0) say("done", results.describe(result));
    else say("done", `No face was found in ${name}. A face should be at least 48 pixels wide and seen from the front.`);
  });
}

function takeFiles(files, event) {
  if (files.length === 0) return;
  event?.preventDefault();
  classifyFile(files[0]);
}

function toggleCamera() {
  if (camera.isWanted) return camera.stop();
  camera.isWanted = true;
  by("camera").textContent = "Stop the camera";
  return inTurn(async () => {
    try {
      await models;
      if (!camera.isWanted) return;
      say("camera", "The camera is on. Its pictures stay in this browser.");
      await camera.run(showFrame);
      say("ready", "The camera is off.");
    } finally {
      camera.stop();
      by("camera").textContent = "Use the camera";
      by("rate").textContent = "";
    }
  });
}

async function showFrame(image) {
  const faces = await findExpressions(image);
  const source = new OffscreenCanvas(image.width, image.height);
  source.getContext("2d").putImageData(image, 0, 0); // the frame that was classified: the video has gone on
  show({ name: "camera", source, image, faces, chosen: Math.max(0, result?.chosen ?? 0) });
  const now = performance.now();
  by("rate").textContent = `${(1000 / (now - lastFrame)).toFixed(0)} answers a second`;
  lastFrame = now;
}

function choose(index) {
  if (index >= 0) show({ ...result, chosen: index });
}

function faceAt(event) {
  const scale = result.image.width / by("picture").clientWidth;
  const [x, y] = [event.offsetX * scale, event.offsetY * scale];
  return result.faces.findLastIndex(({ box }) => x >= box.xmin && x <= box.xmax && y >= box.ymin && y <= box.ymax);
}

function listen() {
  by("file").addEventListener("change", ({ target }) => {
    takeFiles(target.files);
    target.value = ""; // so that the same file can be chosen again
  });
  document.addEventListener("paste", (event) => takeFiles(event.clipboardData.files, event));
  for (const type of ["dragover", "dragleave", "drop"]) {
    document.addEventListener(type, (event) => {
      event.preventDefault(); // else the browser would open the file in place of the page
      by("drop").classList.toggle("over", type === "dragover");
      if (type === "drop") takeFiles(event.dataTransfer.files);
    });
  }
  by("camera").addEventListener("click", toggleCamera);
  by("face-list").addEventListener("change", ({ target }) => choose(Number(target.value)));
  by("picture").addEventListener("click", (event) => choose(faceAt(event)));
  addEventListener("resize", () => result && drawPicture());
  const baseName = () => `${result.name.replace(/\.\w+$/, "").replaceAll(" ", "-")}-faces`;
  const text = (content, type) => new Blob([content], { type });
  by("csv").addEventListener("click", () => results.save(text(results.toCsv(result), "text/csv"), `${baseName()}.csv`));
  by("json").addEventListener("click", () =>
    results.save(text(results.toJson(result), "application/json"), `${baseName()}.json`),
  );
  by("png").addEventListener("click", async () => results.save(await results.toPng(result), `${baseName()}.png`));
}

listen();
load();

// Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
// From a photo or the camera to the faces on the page. `data-state` of <main> says what the page is doing.

import { Camera } from "./camera.js";
import { decodeImage, Refusal } from "./images.js";
import { DEFAULT_MODEL, HUB, loadModels } from "./models.js";
import * as results from "./results.js";

const by = (id) => document.getElementById(id);
const main = document.querySelector("main");
const camera = new Camera();
const model = new URLSearchParams(location.search).get("model") ?? DEFAULT_MODEL;
let models; // a promise of {detector, classifier}
let result; // what is shown: {name, source, image, faces, chosen, model}
let turn = Promise.resolve(); // the models do one thing at a time
let lastAnswer = 0; // of the camera, in milliseconds

const nextTask = () => new Promise((resolve) => setTimeout(resolve)); // lets the browser draw

function say(state, text, problem = "") {
  main.dataset.state = state;
  by("status").textContent = text;
  by("problem").textContent = problem;
}

/** Runs a job after those before it. Its failure becomes a sentence on the page. */
function inTurn(job) {
  turn = turn.then(job).catch((error) => {
    if (!(error instanceof Refusal)) console.error(error);
    say("problem", "", error instanceof Refusal ? error.message : `Something went wrong: ${error.message ?? error}`);
  });
}

async function load() {
  if (!/^[\w-][\w.-]*\/[\w-][\w.-]*$/.test(model)) {
    throw new Refusal(`“${model}” is not the name of a model. Write ?model=organisation/name.`);
  }
  Object.assign(by("model"), { textContent: model, href: `${HUB}/${model}` });
  return loadModels(model, (received, total) => {
    Object.assign(by("progress"), { max: total, value: received });
    by("megabytes").textContent = `${(received / 1e6).toFixed(1)} of ${(total / 1e6).toFixed(1)} MB`;
  });
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
  const chosen = Math.min(next.chosen, next.faces.length - 1); // -1 without faces
  result = { ...next, chosen, model };
  by("result").hidden = false;
  for (const id of ["faces", "downloads", "table"]) by(id).hidden = chosen < 0;
  by("picture").ariaLabel = results.describe(result);
  drawPicture();
  results.showFaces(by("face-list"), result.faces, chosen);
  results.showTable(by("table").firstElementChild, result.faces);
  if (chosen >= 0) results.showBars(by("bars"), result.faces[chosen]);
}

function drawPicture() {
  const { width, height } = result.image;
  const shown = Math.min(by("picture").parentElement.clientWidth, (0.8 * innerHeight * width) / height);
  by("picture").style.width = `${shown}px`;
  results.drawPicture(by("picture"), result, shown * devicePixelRatio, 13 * devicePixelRatio);
}

function classifyFile(file) {
  camera.stop();
  inTurn(async () => {
    const name = file.name || "The picture";
    say("working", `Looking for faces in ${name} …`);
    await nextTask();
    const { source, image } = await decodeImage(file, name);
    const faces = await findExpressions(image, (number, count) => {
      by("status").textContent = `Looking for faces in ${name}: part ${number} of ${count} …`;
      return nextTask();
    });
    show({ name, source, image, faces, chosen: 0 });
    const none = `No face was found in ${name}. A face should be at least 48 pixels high and seen from the front.`;
    say("done", faces.length > 0 ? results.describe(result) : none);
  });
}

function toggleCamera() {
  if (camera.isWanted) return camera.stop();
  camera.isWanted = true;
  by("camera").textContent = "Stop the camera";
  inTurn(async () => {
    try {
      await models;
      if (!camera.isWanted) return;
      say("working", "Waiting for the camera …");
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
  if (main.dataset.state !== "camera") say("camera", "The camera is on. Its pictures stay in this browser.");
  const faces = await findExpressions(image);
  const source = new OffscreenCanvas(image.width, image.height);
  source.getContext("2d").putImageData(image, 0, 0); // the frame that was classified: the video has gone on
  show({ name: "camera", source, image, faces, chosen: Math.max(0, result?.chosen ?? 0) });
  const now = performance.now();
  by("rate").textContent = `${(1000 / (now - lastAnswer)).toFixed(0)} answers a second`;
  lastAnswer = now;
}

const choose = (index) => index >= 0 && show({ ...result, chosen: index });

function chooseAt({ offsetX, offsetY }) {
  const scale = result.image.width / by("picture").clientWidth;
  const [x, y] = [offsetX * scale, offsetY * scale];
  choose(result.faces.findLastIndex(({ box }) => x >= box.xmin && x <= box.xmax && y >= box.ymin && y <= box.ymax));
}

function listen() {
  by("file").addEventListener("change", ({ target }) => {
    if (target.files.length > 0) classifyFile(target.files[0]);
    target.value = ""; // so that the same file can be chosen again
  });
  document.addEventListener("paste", ({ clipboardData: { files } }) => files.length > 0 && classifyFile(files[0]));
  for (const type of ["dragover", "dragleave", "drop"]) {
    document.addEventListener(type, (event) => {
      event.preventDefault(); // else the browser opens the file in place of the page
      by("drop").classList.toggle("over", type === "dragover");
      if (type === "drop" && event.dataTransfer.files.length > 0) classifyFile(event.dataTransfer.files[0]);
    });
  }
  by("camera").addEventListener("click", toggleCamera);
  by("face-list").addEventListener("change", ({ target }) => choose(Number(target.value)));
  by("picture").addEventListener("click", chooseAt);
  addEventListener("resize", () => result && drawPicture());
  const offer = (id, type, make) =>
    by(id).addEventListener("click", async () => {
      results.save(await make(result), type, `${result.name.replace(/\.\w+$/, "")}-faces.${id}`);
    });
  offer("csv", "text/csv", results.toCsv);
  offer("json", "application/json", results.toJson);
  offer("png", "image/png", results.toPng);
}

listen();
models = load().finally(() => (by("loading").hidden = true));
inTurn(async () => {
  await models;
  say("ready", "The models are loaded. Choose a photo, drop one here, paste one, or use the camera.");
});

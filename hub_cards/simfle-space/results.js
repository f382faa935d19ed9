// Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
// What the page shows of the faces: boxes on the picture, bars, a table; and what can be downloaded.

const [CHOSEN, OTHER, DARK] = ["#ffd60a", "#ffffff", "#000000"]; // boxes and labels; the dark edge shows both

export const percent = (share) => `${(100 * share).toFixed(1)}\u00a0%`;

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

/** Exactly `count` children, made where there are too few. Those that stay keep the focus. */
function keepChildren(list, count, make) {
  while (list.children.length > count) list.lastChild.remove();
  while (list.children.length < count) list.append(make(list.children.length));
  return [...list.children];
}

/** The picture, `width` pixels wide, with a box and a label a face. unit: height of the text, in pixels. */
export function drawPicture(canvas, { source, image, faces, chosen }, width, unit) {
  const scale = width / image.width;
  canvas.width = Math.max(1, Math.round(width));
  canvas.height = Math.max(1, Math.round(image.height * scale));
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "medium";
  context.drawImage(source, 0, 0, canvas.width, canvas.height);
  Object.assign(context, { font: `600 ${unit}px system-ui, sans-serif`, textBaseline: "middle" });
  const order = faces.map((_, index) => index).sort((a, b) => (a === chosen) - (b === chosen)); // the chosen one on top
  for (const index of order) drawFace(context, faces[index], index, index === chosen ? CHOSEN : OTHER, scale, unit);
}

function drawFace(context, { box, label, score }, index, color, scale, unit) {
  const [x, y, right, bottom] = [box.xmin, box.ymin, box.xmax, box.ymax].map((value) => value * scale);
  for (const [strokeStyle, thickness] of [[DARK, 0.4], [color, 0.2]]) {
    Object.assign(context, { strokeStyle, lineWidth: Math.max(1, thickness * unit) });
    context.strokeRect(x, y, right - x, bottom - y);
  }
  const isNarrow = color !== CHOSEN && right - x < 5 * unit; // labels would cover other faces
  const text = isNarrow ? String(index + 1) : `${index + 1} ${label} ${Math.round(100 * score)} %`;
  const [width, height] = [context.measureText(text).width + unit, 1.6 * unit];
  const left = Math.max(0, Math.min(x, context.canvas.width - width));
  const top = Math.max(0, y >= height ? y - height : Math.min(bottom, context.canvas.height - height));
  context.fillStyle = color;
  context.fillRect(left, top, width, height);
  context.fillStyle = DARK;
  context.fillText(text, left + unit / 2, top + height / 2);
}

/** A sentence that stands for the picture where it is not seen. */
export function describe({ name, faces }) {
  const count = faces.length === 1 ? "1 face" : `${faces.length} faces`;
  const each = faces.map(({ label, score }, index) => `face ${index + 1} ${label} ${percent(score)}`);
  return `${name} with ${count}: ${each.join(", ")}.`;
}

/** One radio button a face. */
export function showFaces(list, faces, chosen) {
  const make = (index) => element("label", {}, element("input", { type: "radio", name: "face", value: index }), element("span"));
  keepChildren(list, faces.length, make).forEach(({ children: [input, text] }, index) => {
    input.checked = index === chosen;
    text.textContent = `Face ${index + 1}: ${faces[index].label} ${percent(faces[index].score)}`;
  });
}

/** One bar an expression of a face. */
export function showBars(list, { label, scores }) {
  const make = () => element("li", {}, element("span"), element("span", { className: "track" }, element("span")), element("span"));
  const names = Object.keys(scores);
  keepChildren(list, names.length, make).forEach((row, index) => {
    const [title, track, value] = row.children;
    const share = scores[names[index]];
    row.classList.toggle("best", names[index] === label);
    title.textContent = names[index];
    track.firstChild.style.width = `${100 * share}%`;
    value.textContent = percent(share);
  });
}

export function showTable(table, faces) {
  const cells = (tag, values, properties) => values.map((value) => element(tag, properties, value));
  const names = Object.keys(faces[0]?.scores ?? {});
  const head = ["Face", "Expression", "Left", "Top", "Width", "Height", ...names];
  table.tHead.replaceChildren(element("tr", {}, ...cells("th", head, { scope: "col" })));
  const rows = faces.map(({ box: { xmin, ymin, xmax, ymax }, label, scores }, index) => {
    const values = [label, ...[xmin, ymin, xmax - xmin, ymax - ymin].map(String), ...names.map((name) => percent(scores[name]))];
    return element("tr", {}, ...cells("th", [String(index + 1)], { scope: "row" }), ...cells("td", values));
  });
  table.tBodies[0].replaceChildren(...rows);
}

const rounded = (value, digits = 6) => Number(value.toFixed(digits));

/** The faces as FaceExpressionPipeline gives them. */
export function toJson({ name, image: { width, height }, faces, model }) {
  const rows = faces.map(({ label, score, box, detection_score, landmarks, scores }) => ({
    ...{ label, score: rounded(score), box, detection_score: rounded(detection_score) },
    landmarks: landmarks.map((point) => point.map((value) => rounded(value, 2))),
    scores: Object.fromEntries(Object.entries(scores).map(([key, value]) => [key, rounded(value)])),
  }));
  return JSON.stringify({ image: name, width, height, model, faces: rows }, null, 2);
}

/** One row a face, in the columns of the command `simfle`; a box is its four corners with blanks between. */
export function toCsv({ name, faces }) {
  const names = Object.keys(faces[0].scores);
  const head = ["image", "face", "box", "detection_score", "label", "score", ...names, "error"];
  const rows = faces.map(({ box: { xmin, ymin, xmax, ymax }, detection_score, label, score, scores }, index) => {
    const values = [name, index, `${xmin} ${ymin} ${xmax} ${ymax}`, rounded(detection_score), label, rounded(score)];
    return [...values, ...names.map((key) => rounded(scores[key])), ""];
  });
  const quote = (value) => (/[",\r\n]/.test(value) ? `"${String(value).replaceAll('"', '""')}"` : value);
  return [head, ...rows].map((row) => `${row.map(quote).join(",")}\n`).join("");
}

/** The picture at its own size with boxes and labels, as a PNG file. */
export async function toPng(result) {
  const canvas = document.createElement("canvas");
  const narrowest = Math.min(...result.faces.map(({ box }) => box.xmax - box.xmin));
  drawPicture(canvas, { ...result, chosen: -1 }, result.image.width, Math.max(10, narrowest / 6));
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}

export function save(content, type, fileName) {
  const link = element("a", { href: URL.createObjectURL(new Blob([content], { type })), download: fileName });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

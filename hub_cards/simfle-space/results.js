// Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
// What the page shows of the faces: boxes on the picture, bars, a table; and the files to download.

const COLOR = { chosen: "#ffd60a", other: "#ffffff", line: "#000000" }; // boxes; a dark edge makes both visible

export const percent = (value) => `${(100 * value).toFixed(1)}\u00a0%`;

const element = (tag, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
};

/** The picture with a box and a label a face, `width` pixels wide. `unit`: the height of the text in pixels. */
export function drawPicture(canvas, { source, image, faces, chosen }, width, unit) {
  const scale = width / image.width;
  canvas.width = Math.max(1, Math.round(width));
  canvas.height = Math.max(1, Math.round(image.height * scale));
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(source, 0, 0, canvas.width, canvas.height);
  context.font = `600 ${unit}px system-ui, sans-serif`;
  context.textBaseline = "middle";
  const order = faces.map((_, index) => index).sort((a, b) => (a === chosen) - (b === chosen)); // the chosen one on top
  for (const index of order) drawFace(context, faces[index], index, index === chosen, scale, unit);
}

function drawFace(context, { box, label, score }, index, isChosen, scale, unit) {
  const [x, y] = [box.xmin * scale, box.ymin * scale];
  const [width, height] = [(box.xmax - box.xmin) * scale, (box.ymax - box.ymin) * scale];
  for (const [color, thickness] of [[COLOR.line, 0.4], [isChosen ? COLOR.chosen : COLOR.other, 0.2]]) {
    Object.assign(context, { strokeStyle: color, lineWidth: Math.max(1, thickness * unit) });
    context.strokeRect(x, y, width, height);
  }
  const text = `${index + 1} ${label} ${Math.round(100 * score)} %`;
  const room = { width: context.measureText(text).width + unit, height: 1.6 * unit };
  const left = Math.max(0, Math.min(x, context.canvas.width - room.width));
  const top = y >= room.height ? y - room.height : Math.min(y + height, context.canvas.height - room.height);
  context.fillStyle = isChosen ? COLOR.chosen : COLOR.other;
  context.fillRect(left, Math.max(0, top), room.width, room.height);
  context.fillStyle = COLOR.line;
  context.fillText(text, left + unit / 2, Math.max(0, top) + room.height / 2);
}

/** A sentence that stands for the picture where it is not seen. */
export function describe({ name, faces }) {
  const count = faces.length === 1 ? "1 face" : `${faces.length} faces`;
  const each = faces.map(({ label, score }, index) => `face ${index + 1} ${label} ${percent(score)}`);
  return `${name} with ${count}: ${each.join(", ")}.`;
}

/** One radio button a face. They stay where they are while only their words change, so that the focus stays too. */
export function showFaces(list, faces, chosen) {
  while (list.children.length > faces.length) list.lastChild.remove();
  faces.forEach(({ label, score }, index) => {
    if (!list.children[index]) {
      const input = element("input", { type: "radio", name: "face", value: index });
      list.append(element("label", {}, input, element("span")));
    }
    const [input, text] = list.children[index].children;
    input.checked = index === chosen;
    text.textContent = `Face ${index + 1}: ${label} ${percent(score)}`;
  });
}

/** One bar an expression of the chosen face. */
export function showBars(list, { label, scores }) {
  const names = Object.keys(scores);
  while (list.children.length > names.length) list.lastChild.remove();
  names.forEach((name, index) => {
    if (!list.children[index]) {
      const track = element("span", { className: "track" }, element("span", { className: "fill" }));
      list.append(element("li", {}, element("span"), track, element("span", { className: "value" })));
    }
    const row = list.children[index];
    const [title, track, value] = row.children;
    row.classList.toggle("best", name === label);
    title.textContent = name;
    track.firstChild.style.width = percent(scores[name]).replace("\u00a0", "");
    value.textContent = percent(scores[name]);
  });
}

export function showTable(table, faces) {
  const cells = (tag, values, scope) => values.map((value) => element(tag, scope ? { scope } : {}, value));
  const names = Object.keys(faces[0]?.scores ?? {});
  const head = cells("th", ["Face", "Expression", "Left", "Top", "Width", "Height", ...names], "col");
  table.tHead.replaceChildren(element("tr", {}, ...head));
  const rows = faces.map(({ box, label, scores }, index) => {
    const size = [box.xmin, box.ymin, box.xmax - box.xmin, box.ymax - box.ymin].map(String);
    const values = [label, ...size, ...names.map((name) => percent(scores[name]))];
    return element("tr", {}, ...cells("th", [String(index + 1)], "row"), ...cells("td", values));
  });
  table.tBodies[0].replaceChildren(...rows);
}

const number = (value) => Number(value.toFixed(6));

/** The faces as the Python pipeline gives them. */
export function toJson({ name, image, faces, model }) {
  const rows = faces.map((face) => ({
    label: face.label,
    score: number(face.score),
    box: face.box,
    detection_score: number(face.detection_score),
    landmarks: face.landmarks.map((point) => point.map((value) => Number(value.toFixed(2)))),
    scores: Object.fromEntries(Object.entries(face.scores).map(([label, score]) => [label, number(score)])),
  }));
  return JSON.stringify({ image: name, width: image.width, height: image.height, model, faces: rows }, null, 2);
}

/** One row a face, in the columns of the command `simfle`; a box is its four corners with blanks between. */
export function toCsv({ name, faces }) {
  const names = Object.keys(faces[0].scores);
  const head = ["image", "face", "box", "detection_score", "label", "score", ...names, "error"];
  const rows = faces.map(({ box: { xmin, ymin, xmax, ymax }, detection_score, label, score, scores }, index) => {
    const probabilities = names.map((key) => number(scores[key]));
    return [name, index, [xmin, ymin, xmax, ymax].join(" "), number(detection_score), label, number(score), ...probabilities, ""];
  });
  const quote = (value) => (/[",\r\n]/.test(value) ? `"${String(value).replaceAll('"', '""')}"` : value);
  return [head, ...rows].map((row) => `${row.map(quote).join(",")}\n`).join("");
}

/** The picture at its own size with boxes and labels, as PNG. */
export async function toPng(result) {
  const canvas = document.createElement("canvas");
  const { width, height } = result.image;
  drawPicture(canvas, { ...result, chosen: -1 }, width, Math.max(12, Math.round(Math.max(width, height) / 50)));
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}

export function save(blob, fileName) {
  const link = element("a", { href: URL.createObjectURL(blob), download: fileName });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

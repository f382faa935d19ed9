// Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
// node visit.mjs PLAN.json   One browser, one visit of the page after another. Prints a JSON object: what each saw.
// The plan: {detector, camera, folder, photographs, others} (paths). Nothing is judged here; the tests do.

import fs from 'node:fs';
import path from 'node:path';
import axe from 'axe-core';
import { launch, openPage, servePage, waitFor } from './browser.mjs';

const plan = JSON.parse(fs.readFileSync(process.argv[2], 'utf8'));
const server = await servePage();
const browser = await launch(plan);
const MODEL = 'simfle-resnet18-ferplus-plain';
const seen = {};
const photograph = (name) => path.join(plan.folder, name);

/** Puts the page back to a state that it never says itself, so that the next state is an answer. */
const forget = (page) => page.evaluate(() => (document.querySelector('main').dataset.state = 'asked'));

async function give(page, file) {
  await forget(page);
  await page.setInputFiles('#file', file);
  return waitFor(page, 'done', 'problem');
}

async function download(page, button) {
  const [event] = await Promise.all([page.waitForEvent('download'), page.click(`#${button}`)]);
  const file = path.join(plan.folder, event.suggestedFilename());
  await event.saveAs(file);
  return file;
}

/** The faces that the page shows, by its own JSON download; none if it offers no download. */
async function faces(page) {
  if (await page.isHidden('#downloads')) return [];
  return JSON.parse(fs.readFileSync(await download(page, 'json'), 'utf8')).faces;
}

/** What axe-core finds wrong, as text. */
async function violations(page) {
  const found = await page.evaluate(() => globalThis.axe.run());
  return found.violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).join(' ')}`);
}

/** A file given by an event that carries it: drop or paste. */
async function giveByEvent(page, kind, file) {
  await forget(page);
  const bytes = fs.readFileSync(file).toString('base64');
  await page.evaluate(
    ([kind, bytes]) => {
      const content = Uint8Array.from(atob(bytes), (letter) => letter.charCodeAt(0));
      const transfer = new DataTransfer();
      transfer.items.add(new File([content], 'given.png', { type: 'image/png' }));
      const options = { bubbles: true, cancelable: true };
      const event =
        kind === 'drop'
          ? new DragEvent('drop', { ...options, dataTransfer: transfer })
          : new ClipboardEvent('paste', { ...options, clipboardData: transfer });
      document.getElementById('give').dispatchEvent(event);
    },
    [kind, bytes],
  );
  return { ...(await waitFor(page, 'done', 'problem')), faces: await faces(page) };
}

/** Every stop of the Tab key: what it is, and whether an outline shows it. */
async function tabStops(page) {
  const stops = [];
  await page.click('h1'); // from here the Tab key goes on
  for (let i = 0; i < 30; i++) {
    await page.keyboard.press('Tab');
    const stop = await page.evaluate(() => {
      const { activeElement: element, body } = document;
      if (!element || element === body) return null;
      const outlined = (node) => getComputedStyle(node).outlineStyle !== 'none' && parseFloat(getComputedStyle(node).outlineWidth) >= 2;
      return { name: element.id || element.type || element.tagName, visible: outlined(element) || outlined(element.parentElement) };
    });
    if (!stop) break;
    stops.push(stop);
  }
  return stops;
}

/** The main visit: photographs by dialog, drop and paste, the keyboard, downloads, widths, schemes, the camera. */
async function visit() {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, permissions: ['camera'] });
  await context.addInitScript(axe.source);
  const { page, requests, problems } = await openPage(context, plan);
  await page.addInitScript(() => {
    globalThis.moments = []; // [what was said, milliseconds]
    const note = () => {
      const state = document.querySelector('main')?.dataset.state;
      for (const said of [state, document.getElementById('megabytes')?.textContent]) {
        if (said && !globalThis.moments.some(([before]) => before === said)) globalThis.moments.push([said, performance.now()]);
      }
    };
    new MutationObserver(note).observe(document, { subtree: true, childList: true, attributes: true });
  });
  page.on('filechooser', (chooser) => chooser.setFiles(photograph('six.png')));
  await page.goto(server.url);
  await page.setInputFiles('#file', plan.photographs[0]); // before the models are there: the photo waits for them
  seen.first = { ...(await waitFor(page, 'done', 'problem')), moments: await page.evaluate(() => globalThis.moments) };
  seen.isolated = await page.evaluate(() => globalThis.crossOriginIsolated);
  seen.milliseconds = [];
  for (let i = 0; i < plan.repeats; i++) {
    await page.evaluate(() => (globalThis.moments = []));
    await give(page, plan.photographs[0]);
    const moments = Object.fromEntries(await page.evaluate(() => globalThis.moments));
    seen.milliseconds.push(moments.done - moments.working);
  }
  const loaded = requests.length;

  seen.photographs = {};
  for (const file of [...plan.photographs, ...plan.others]) {
    seen.photographs[path.basename(file)] = { ...(await give(page, file)), faces: await faces(page) };
  }
  for (const kind of ['drop', 'paste']) seen[kind] = await giveByEvent(page, kind, photograph('astronaut.png'));

  await forget(page);
  await page.focus('#file');
  await page.keyboard.press('Enter');
  seen.dialog = { ...(await waitFor(page, 'done', 'problem')), faces: await faces(page) };
  seen.tabStops = await tabStops(page);
  seen.bars = [];
  await page.focus('#face-list input:checked');
  for (let i = 0; i < 3; i++) {
    seen.bars.push(await page.locator('#bars li').allInnerTexts());
    await page.keyboard.press('ArrowDown');
  }
  seen.table = await page.evaluate(() => [...document.querySelectorAll('tr')].map((row) => [...row.cells].map((cell) => cell.innerText)));
  seen.picture = await page.getAttribute('#picture', 'aria-label');
  seen.csv = fs.readFileSync(await download(page, 'csv'), 'utf8');
  seen.png = await download(page, 'png');
  seen.shapes = await shapes(page);
  await give(page, photograph('coffee.png'));
  seen.axe.noFace = await violations(page);
  seen.camera = await watchCamera(page);
  seen.problems = problems;
  seen.requests = requests.slice(loaded).filter(({ url }) => !url.startsWith('blob:'));
  seen.allRequests = requests;
  seen.stored = await page.evaluate(() => [document.cookie, localStorage.length, sessionStorage.length]);
  seen.csp = await page.evaluate(async () => {
    const reach = async (url) => (await fetch(url).catch(() => null))?.status ?? 'blocked';
    return [await reach('https://example.org/'), await reach('https://cas-bridge.xethub.hf.co/x')];
  });
  problems.length = 0;
  requests.length = 0;
  await page.goto(server.url);
  seen.again = { ...(await waitFor(page, 'ready', 'problem')), urls: requests.map(({ url }) => url) };
  await context.close();
}

/** Widths of the page's content, axe-core's findings and screenshots, by width and colour scheme. */
async function shapes(page) {
  const found = {};
  seen.axe = {};
  for (const colorScheme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme, reducedMotion: colorScheme === 'dark' ? 'reduce' : 'no-preference' });
    for (const width of [360, 1280, 1920]) {
      await page.setViewportSize({ width, height: 900 });
      await page.waitForFunction((width) => innerWidth === width, width);
      await page.evaluate(() => new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn))));
      found[`${colorScheme} ${width}`] = await page.evaluate(() => ({
        content: document.documentElement.scrollWidth,
        picture: document.getElementById('picture').clientWidth,
        motion: getComputedStyle(document.querySelector('.track span')).transitionDuration,
        ground: getComputedStyle(document.body).backgroundColor,
      }));
      await page.screenshot({ path: path.join(plan.folder, `${colorScheme}_${width}.png`), fullPage: true });
    }
    await page.setViewportSize({ width: 1280, height: 900 });
    seen.axe[colorScheme] = await violations(page);
  }
  await page.emulateMedia({ colorScheme: 'light', reducedMotion: 'no-preference' });
  return found;
}

async function watchCamera(page) {
  await forget(page);
  await page.click('#camera');
  const on = await waitFor(page, 'camera', 'problem');
  const answers = await page.evaluate(
    (count) =>
      new Promise((resolve) => {
        const times = []; // milliseconds, one an answer
        new MutationObserver(() => times.push(performance.now()) >= count && resolve(times)).observe(
          document.getElementById('rate'),
          { childList: true },
        );
      }),
    plan.frames,
  );
  const label = await page.innerText('#face-list');
  await page.click('#camera');
  return { ...on, answers, label, off: await waitFor(page, 'ready', 'problem') };
}

/** A visit in a new context where something is missing; what the page says, or what `act` gives. */
async function failure({ search = '', answers, script, act } = {}) {
  const context = await browser.newContext();
  const { page } = await openPage(context, { ...plan, answers });
  if (script) await page.addInitScript(script);
  await page.goto(server.url + search);
  const said = await waitFor(page, 'ready', 'problem');
  const acted = await act?.(page);
  await context.close();
  return acted ?? said;
}

/** Loaded models, a classifier with a temperature, but bad files and no camera. */
async function otherFailures(page) {
  const camera = async () => {
    await forget(page);
    await page.click('#camera');
    return waitFor(page, 'camera', 'problem');
  };
  await give(page, photograph('six.png'));
  seen.calibrated = await faces(page);
  const cameraRefused = await camera(); // this context has no permission
  await page.evaluate(() => {
    const absent = new DOMException('Requested device not found', 'NotFoundError'); // as where there is no camera
    navigator.mediaDevices.getUserMedia = () => Promise.reject(absent);
  });
  const cameraAbsent = await camera();
  return { cameraRefused, cameraAbsent, wrongType: await give(page, plan.notes), broken: await give(page, plan.broken) };
}

async function failures() {
  const config = JSON.parse(fs.readFileSync(path.join(plan.model, 'config.json'), 'utf8'));
  const calibrated = { 'main/config.json': Buffer.from(JSON.stringify({ ...config, temperature: 2 })) };
  return {
    classifier: await failure({ answers: { 'model_quantized.onnx': 'abort' } }),
    config: await failure({ answers: { [`${MODEL}/resolve`]: 'abort' } }),
    detector: await failure({ answers: { face_detection_yunet: 'abort' } }),
    otherDetector: await failure({ answers: { face_detection_yunet: Buffer.from('another file') } }),
    runtime: await failure({ answers: { 'ort.wasm.min.mjs': 'abort' } }),
    wasm: await failure({ answers: { '.wasm': 503 } }),
    noOnnx: await failure({ search: '?model=simfle/simfle-resnet50-ferplus' }),
    noModel: await failure({ search: '?model=simfle/unknown', answers: { 'simfle/unknown': 401 } }),
    noName: await failure({ search: '?model=../../other' }),
    noWebAssembly: await failure({ script: () => delete globalThis.WebAssembly }),
    ...(await failure({ answers: calibrated, act: otherFailures })),
  };
}

try {
  await visit();
  seen.failures = await failures();
  console.log(JSON.stringify(seen));
} finally {
  await browser.close();
  server.close();
}

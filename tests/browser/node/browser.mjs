// Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
// Chromium with the page in it. The page is served on loopback; the CDN's and the Hub's addresses are answered from
// files on this disk, so nothing needs a network.

import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';

const NODE = path.dirname(fileURLToPath(import.meta.url));
const CARDS = path.resolve(NODE, '../../../hub_cards');
const SPACE = path.join(CARDS, 'simfle-space');
const TYPES = { html: 'text/html', js: 'text/javascript', css: 'text/css', mjs: 'text/javascript', wasm: 'application/wasm' };
const CDN = /^https:\/\/cdn\.jsdelivr\.net\/npm\/(onnxruntime-web)@[\d.]+\/(.+)$/;
const HUB = /^https:\/\/huggingface\.co\/([\w.-]+)\/([\w.-]+)\/resolve\/[\w]+\/(.+)$/;
const COMMIT = '1'.repeat(40);
const OPEN = { 'Access-Control-Allow-Origin': '*', 'Access-Control-Expose-Headers': 'X-Repo-Commit', 'X-Repo-Commit': COMMIT };

const type = (file) => TYPES[path.extname(file).slice(1)] ?? 'application/octet-stream';

/** The Space's folder as the Hub serves it, with README.md's custom_headers. */
export async function servePage() {
  const readme = fs.readFileSync(path.join(SPACE, 'README.md'), 'utf8');
  const headers = Object.fromEntries([...readme.matchAll(/^ {2}(cross-origin-[\w-]+): (.+)$/gm)].map((match) => match.slice(1)));
  const server = http.createServer((request, response) => {
    const name = new URL(request.url, 'http://x').pathname.slice(1) || 'index.html';
    const file = path.join(SPACE, path.basename(name));
    const found = fs.existsSync(file);
    response.writeHead(found ? 200 : 404, { ...headers, 'Content-Type': type(file) });
    response.end(found ? fs.readFileSync(file) : '');
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { url: `http://127.0.0.1:${server.address().port}/`, close: () => server.close() };
}

export function launch({ camera } = {}) {
  const args = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking'];
  args.push('--disable-component-update', '--disable-sync', '--use-fake-device-for-media-stream');
  if (camera) args.push(`--use-file-for-fake-video-capture=${camera}`);
  return chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args });
}

/** The file behind an address of the CDN or the Hub, or undefined. */
function fileOf(address, detector) {
  const cdn = CDN.exec(address);
  if (cdn) return path.join(NODE, 'node_modules', cdn[1], cdn[2]);
  const hub = HUB.exec(address);
  if (hub?.[1] === 'opencv') return detector;
  return hub ? path.join(CARDS, hub[2], hub[3]) : undefined;
}

/**
 * A new page of the context. `requests` records every request; `answers` maps a part of an address to what is answered in place of the
 * file: a status, "abort", or bytes.
 */
export async function openPage(context, { detector, answers = {} }) {
  const page = await context.newPage();
  const requests = [];
  const problems = [];
  page.on('pageerror', (error) => problems.push(String(error)));
  page.on('console', (message) => message.type() === 'error' && problems.push(message.text()));
  context.on('request', (request) => {
    requests.push({ url: request.url(), method: request.method(), body: request.postDataBuffer()?.toString('base64') ?? '' });
  });
  await context.route(/^https:/, async (route) => {
    const address = route.request().url();
    const answer = Object.entries(answers).find(([part]) => address.includes(part))?.[1];
    if (answer === 'abort') return route.abort();
    if (typeof answer === 'number') return route.fulfill({ status: answer, headers: OPEN, body: '' });
    const file = fileOf(address, detector);
    if (!answer && !(file && fs.existsSync(file))) return route.fulfill({ status: 404, headers: OPEN, body: '' });
    const body = answer ?? fs.readFileSync(file);
    return route.fulfill({ headers: { ...OPEN, 'Content-Length': String(body.length) }, contentType: type(file ?? ''), body });
  });
  return { page, requests, problems, answers };
}

/** Waits until the page says one of the states. */
export async function waitFor(page, ...states) {
  await page.waitForFunction((names) => names.includes(document.querySelector('main').dataset.state), states, { timeout: 120_000 });
  return page.evaluate(() => ({
    state: document.querySelector('main').dataset.state,
    status: document.getElementById('status').textContent,
    problem: document.getElementById('problem').textContent,
  }));
}

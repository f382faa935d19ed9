// Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.

import { readPixels, Refusal } from "./images.js";

const SIZE = { width: { ideal: 640 }, height: { ideal: 480 }, facingMode: "user" };
const SENTENCES = {
  NotAllowedError: "The camera was refused. Allow this page to use the camera in the browser's settings, then try again.",
  NotFoundError: "No camera was found. Connect one, or choose a photo.",
  NotReadableError: "The camera is in use by another program. Close that program, then try again.",
};

/** A camera that hands its frames over one by one until it is stopped. */
export class Camera {
  isWanted = false;

  /** Calls `onFrame(image)` for a frame, waits for it, and goes on with the newest, until stop(). */
  async run(onFrame) {
    const video = Object.assign(document.createElement("video"), { muted: true, playsInline: true });
    try {
      video.srcObject = await open();
      await video.play();
      while (this.isWanted && video.srcObject.active) {
        await onFrame(readPixels(video, video.videoWidth, video.videoHeight));
        await new Promise(requestAnimationFrame); // a hidden page waits here
      }
    } finally {
      this.stop();
      video.srcObject?.getTracks().forEach((track) => track.stop());
    }
  }

  stop() {
    this.isWanted = false;
  }
}

async function open() {
  if (!navigator.mediaDevices) throw new Refusal("This browser gives this page no camera. Choose a photo.");
  try {
    return await navigator.mediaDevices.getUserMedia({ video: SIZE });
  } catch (error) {
    throw new Refusal(SENTENCES[error.name] ?? `The camera cannot be used: ${error.message}`);
  }
}

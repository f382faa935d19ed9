// Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.

/** A failure whose message is a sentence for the person in front of the page. */
export class Refusal extends Error {}

"""The linear probe: one linear layer on a frozen encoder, from augmented images or from cached features."""

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from modeling_simfle.hub_folder_simfle import weights_sha256
from training.models.outputs import ProcessedFaces, batches_of
from training.probing.arguments import LEARNING_RATE, LinearProbeArguments
from training.probing.frozen_encoder import FrozenEncoder
from training.probing.linear_heads import few_shot_indices, shuffled_batches, train_heads
from training.runtime.errors import InputError
from training.runtime.resources import torch_threads
from training.runtime.run_folder import save_model

WEIGHT_DECAYS = (0.0, 1e-4)  # tried with each learning rate on cached features


def run_probes(frozen: FrozenEncoder, probe: LinearProbeArguments, runs) -> None:
    """Writes run.json, the classifier and its measures for every (folder, percent of labels, seed) of `runs`."""
    for folder, percent, seed in runs:
        frozen.write_run(folder, "linear probe", seed=seed, label_percent=percent)
    rows, eval_features = frozen.features(frozen.eval_faces, "evaluation_features")
    eval_features, eval_labels = eval_features.to(frozen.device), torch.from_numpy(frozen.eval_faces.labels[rows])
    repeats = frozen.eval_faces.repeats_training
    # Only faces that repeat no training face choose, if there are any.
    fresh = np.ones(len(rows), np.bool_) if repeats is None or repeats[rows].all() else ~repeats[rows]
    cached, mean, deviation = None, 0.0, 1.0
    if probe.cache_features:
        train_rows, features = frozen.features(frozen.train_faces, "training_features")
        features = features.to(frozen.device)
        if probe.standardize_features:
            mean, deviation = feature_statistics(features)
        cached = (train_rows, (features - mean) / deviation)
    evaluation = ((eval_features[fresh] - mean) / deviation, eval_labels[fresh])
    for folder, percent, seed in runs:
        best = train_classifier(frozen, probe, cached, evaluation, (percent, seed))
        with torch.no_grad():
            weight = best["weight"] / deviation  # the classifier takes features as they are
            bias = best["bias"] - (weight * mean).sum(1)
            frozen.model.classifier.load_state_dict({"weight": weight, "bias": bias})
            predictions = frozen.model.classifier(eval_features).argmax(1).cpu().numpy()
        save_probe(frozen, probe, folder, (rows, predictions), best)


def train_classifier(frozen: FrozenEncoder, probe: LinearProbeArguments, cached, evaluation, drawn: tuple) -> dict:
    """
    Args:
        cached: rows (N,) and features (N, C) of the readable training faces. None trains on augmented images.
        evaluation: features and labels that choose. drawn: percent of the labels and seed.
    Returns:
        See `train_heads`; with num_training_images, label_percent and seed.
    """
    percent, seed = drawn
    labels = frozen.train_faces.labels
    chosen = few_shot_indices(labels, percent, seed)
    if cached is None:
        epochs = augmented_batches(frozen, probe, chosen, seed)
    else:
        rows, features = cached
        places = np.flatnonzero(np.isin(rows, chosen))
        chosen = rows[places]
        if not len(chosen):
            raise InputError("none of the training faces that --few_shot draws can be read.")
        epochs = shuffled_batches(
            features[places], torch.from_numpy(labels[chosen]), probe.per_device_train_batch_size, seed
        )
    num_classes, settings = frozen.model.classifier.out_features, make_settings(probe)
    # Steps of a millisecond: on a busy CPU a second thread, waiting for its turn, made them five times slower.
    with torch_threads(1) if cached else nullcontext():
        best = train_heads(epochs, probe.num_train_epochs, evaluation, num_classes, settings, seed)
    return best | {"num_training_images": len(chosen), "label_percent": percent, "seed": seed}


def augmented_batches(frozen: FrozenEncoder, probe: LinearProbeArguments, chosen, seed: int):
    """A function of the epoch that yields (features, labels) of faces augmented as (seed, epoch) draw it."""
    faces = frozen.train_faces.select(chosen)
    images = replace(frozen.images, batch_size=probe.per_device_train_batch_size)

    def batches(epoch: int):
        order = np.random.default_rng([seed, epoch]).permutation(len(faces)).tolist()
        dataset = ProcessedFaces(faces, frozen.processor, augment=(seed, epoch))
        for rows, pixels in batches_of(dataset, images, order, f"epoch {epoch + 1}/{probe.num_train_epochs}", "train"):
            with torch.no_grad():
                features = frozen.encode(pixels)
            yield features, torch.from_numpy(faces.labels[rows])

    return batches


def save_probe(frozen: FrozenEncoder, probe: LinearProbeArguments, folder: Path, answers: tuple, best: dict) -> None:
    """Saves the classifier and writes its measures. answers: rows and predictions (N,) of the evaluation faces."""
    # report.py groups runs by this text: with other words, runs of earlier versions would be rows of their own.
    inputs = "cached features" if probe.cache_features else "augmented images"
    inputs = f"standardized {inputs}" if probe.standardize_features else inputs
    protocol = (
        f"linear probe, {inputs}, {probe.num_train_epochs} epochs, batch {probe.per_device_train_batch_size}, SGD"
        f" momentum 0.9; epoch, learning rate and weight decay chosen on {probe.eval_split}, without pictures that"
        " repeat training ones where these are known"
    )
    save_model(folder, frozen.model, frozen.processor)
    names = ("choices", "epoch", "learning_rate", "weight_decay", "num_training_images", "label_percent", "seed")
    about = {"method": "linear probe", "weights_sha256": weights_sha256(folder), **{name: best[name] for name in names}}
    frozen.write_results(folder, *answers, protocol=protocol, **about)


def feature_statistics(features):
    """Mean and standard deviation (C,) of features (N, C); the deviation of a constant feature is 1."""
    deviation, mean = features.std(0, correction=0), features.mean(0)
    return mean, deviation.masked_fill(deviation == 0, 1)


def make_settings(probe: LinearProbeArguments) -> list[tuple[float, float]]:
    """Pairs of learning rate and weight decay: the paper's pair, or all of the sweep."""
    scale = probe.per_device_train_batch_size / 256
    if not probe.cache_features:
        return [(probe.base_learning_rate * scale, 0.0)]
    swept = probe.base_learning_rate == LEARNING_RATE
    rates = probe.sweep_learning_rates if swept else [probe.base_learning_rate]
    return [(rate * scale, decay) for rate in rates for decay in WEIGHT_DECAYS]

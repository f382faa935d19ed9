"""The faces of a pretraining run: those that it learns from, and the labelled ones that it is watched by."""

from dataclasses import replace

import numpy as np

from training.data.expressions import match_labels
from training.data.faces import DatasetArguments, evenly, open_faces
from training.data.split_checks import check_several_classes
from training.data.streams import open_stream
from training.pretraining.arguments import PretrainingArguments


def open_training_faces(data: DatasetArguments, run: PretrainingArguments):
    """The training split without labels, as a whole or as a stream."""
    if run.streaming:
        return open_stream(data, data.dataset, data.train_split, run.num_images)
    return open_faces(data, data.dataset, data.train_split, with_labels=False)


def open_monitored(data: DatasetArguments, run: PretrainingArguments):
    """Labelled faces (bank, queries) of --monitor_dataset, or (None, None)."""
    if run.monitor_dataset is None:
        return None, None
    if run.monitor_dataset != data.dataset:  # it may have another format
        data = replace(data, data_format="auto")
    bank = open_faces(data, run.monitor_dataset, "train", with_labels=True)
    check_several_classes(bank)
    queries = open_faces(data, run.monitor_dataset, "validation", with_labels=True)
    queries.labels = match_labels(queries.class_names, queries.labels, bank.class_names)
    return bank.select(np.array(evenly(len(bank), run.monitor_images))), queries

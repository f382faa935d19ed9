"""
The record of a folder: what its own files say about its weights. No other place is read.

The lineage is in metrics.json (of a published folder), in exports.json (of an export) or in run.json (of a run).
"""

from dataclasses import dataclass
from pathlib import Path

from training.data.facts import DatasetFacts, facts_of
from training.measuring.classification import KEYS
from training.runtime.errors import InputError
from training.runtime.lineage import read_json, read_lineage
from training.runtime.public_paths import public

CONFIG, PROCESSOR, CARD = "config.json", "preprocessor_config.json", "README.md"
METRICS, EXPORTS = "metrics.json", "exports.json"
NOTES, LICENSE_FILE, EXAMPLE = "card_notes.md", "LICENSE", "example_photo.png"
EXPORTED = {"eager": "PyTorch, plain ResNet folder", "onnx": "ONNX", "int8": "ONNX, int8"}  # rows of exports.json


@dataclass(frozen=True)
class Record:
    """
    name: of the folder. config, preprocessing, metrics, exports: contents of its JSON files; the last two may be {}.
    lineage: see training/runtime/lineage.py. notes: the card's free text, "" where there is none.
    """

    name: str
    config: dict
    preprocessing: dict
    metrics: dict
    exports: dict
    lineage: list[dict]
    notes: str

    @property
    def is_classifier(self) -> bool:
        return self.config["architectures"][0].endswith("ForImageClassification")

    @property
    def is_plain(self) -> bool:
        """Whether the folder is an export: stock classes, no code."""
        return self.config.get("model_type") != "simfle"

    @property
    def is_measured(self) -> bool:
        return "accuracy" in self.metrics

    @property
    def trainings(self) -> list[dict]:
        return [entry for entry in self.lineage if entry.get("method") not in (None, "export")]

    @property
    def last_training(self) -> dict:
        return self.trainings[-1] if self.trainings else {}

    @property
    def facts(self) -> list[DatasetFacts]:
        """The facts of every known data set in the lineage, each once."""
        formats = dict.fromkeys((entry.get("data") or {}).get("format") for entry in self.lineage)
        return [facts for data_format in formats if data_format and (facts := facts_of(data_format))]

    @property
    def last_facts(self) -> DatasetFacts | None:
        """The facts of the last training's data set; None if it is not a known one."""
        return facts_of((self.last_training.get("data") or {}).get("format") or "")


def read_record(folder: Path) -> Record:
    """Raises InputError for a missing or unreadable file, an unfinished run, or a folder without a lineage."""
    config = read_json(folder / CONFIG)
    if not config.get("architectures"):
        raise InputError(f"{folder / CONFIG} names no architecture; give the folder of a finished run.")
    metrics, exports = (read_json(folder / name, optional=True) for name in (METRICS, EXPORTS))
    if missing := [key for key in KEYS if "accuracy" in metrics and key not in metrics]:
        raise InputError(f"{folder / METRICS} lacks {', '.join(missing)}; evaluate the model again.")
    lineage = read_lineage(folder)
    method = lineage[-1].get("method")
    if not method and "lineage" not in metrics:
        raise InputError(
            f"{folder} has no lineage in run.json, metrics.json or exports.json; give the folder of a finished run."
        )
    if method not in ("pretraining", "conversion") and not metrics and "lineage" not in exports:
        raise InputError(f"{folder} is not finished: it has no metrics.json; let the run finish.")
    notes = (folder / NOTES).read_text(encoding="utf-8") if (folder / NOTES).is_file() else ""
    preprocessing = read_json(folder / PROCESSOR)
    return Record(folder.resolve().name, config, preprocessing, public(metrics), public(exports), lineage, notes)

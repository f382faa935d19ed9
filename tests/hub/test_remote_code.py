# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""Saved folders in a new process: no package, no network, `trust_remote_code=True`, from every kind of folder."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch
from accelerate import Accelerator
from transformers import AutoConfig, Trainer, TrainingArguments, pipeline

from modeling_simfle import (
    FaceExpressionPipeline,
    SimFLEForImageClassification,
    SimFLEForPreTraining,
    SimFLEImageProcessor,
    SimFLEModel,
)
from modeling_simfle.hub_folder_simfle import CODE_FILES
from tests.new_process import run_alone
from tests.tiny import tiny_config, tiny_inputs

LOAD = """
import json, os, torch
from transformers import AutoConfig, AutoModel, AutoModelForImageClassification, AutoModelForPreTraining
from transformers.models.auto.image_processing_auto import AutoImageProcessor
out, kinds = sys.argv[1], json.loads(sys.argv[2])
inputs = torch.load(out + "/inputs.pt")
for kind, folder in kinds.items():
    config = AutoConfig.from_pretrained(folder, trust_remote_code=True)
    assert type(config).__name__ == "SimFLEConfig" and type(config).__module__.startswith("transformers_modules")
    has_processor = os.path.exists(folder + "/preprocessor_config.json")
    if has_processor:
        processor = AutoImageProcessor.from_pretrained(folder, trust_remote_code=True)
        assert type(processor).__name__ == "SimFLEImageProcessor" and processor.size["height"] == 64
    auto = {"AutoModel": AutoModel, "AutoModelForPreTraining": AutoModelForPreTraining,
            "AutoModelForImageClassification": AutoModelForImageClassification}[kind.partition(".")[0]]
    model = auto.from_pretrained(folder, trust_remote_code=True)
    output = model(**inputs) if kind == "AutoModelForPreTraining" else model(inputs["pixel_values"])
    torch.save(dict(output), out + f"/{kind}.pt")
    model.save_pretrained(out + f"/again_{kind}")
    if has_processor:
        processor.save_pretrained(out + f"/again_{kind}")
"""
KINDS = {
    SimFLEModel: "AutoModel",
    SimFLEForPreTraining: "AutoModelForPreTraining",
    SimFLEForImageClassification: "AutoModelForImageClassification",
}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("hf_home")


def load_alone(folders: dict[str, Path], cache, out: Path, python=None) -> None:
    """folders: by the Auto class that loads each in the new process; what follows a dot tells folders apart."""
    torch.save(tiny_inputs(), out / "inputs.pt")
    run_alone(LOAD, out, json.dumps(folders, default=str), cache=cache, python=python)


def expected(model) -> dict:
    inputs = tiny_inputs()
    with torch.no_grad():
        output = (
            model.eval()(**inputs) if isinstance(model, SimFLEForPreTraining) else model.eval()(inputs["pixel_values"])
        )
    return dict(output)


def test_saved_models_give_equal_outputs_and_save_folders_that_load_again(cache, tmp_path):
    models, second = {}, tmp_path / "second"
    for kind, auto in KINDS.items():
        torch.manual_seed(0)
        models[auto] = kind(tiny_config())
        models[auto].save_pretrained(tmp_path / auto)
        SimFLEImageProcessor(size=64).save_pretrained(tmp_path / auto)
        assert set(CODE_FILES) <= {path.name for path in (tmp_path / auto).iterdir()}
    load_alone({auto: tmp_path / auto for auto in models}, cache, tmp_path)
    for auto, model in models.items():
        theirs, ours = torch.load(tmp_path / f"{auto}.pt"), expected(model)
        assert theirs.keys() == ours.keys()
        for name in ours:
            torch.testing.assert_close(theirs[name], ours[name], rtol=0, atol=0, msg=f"{auto} {name}")
        # What the remote classes saved is as whole as what the package saves.
        again = tmp_path / f"again_{auto}"
        assert {path.name for path in again.iterdir()} >= {*CODE_FILES, "config.json", "model.safetensors"}
        assert json.loads((again / "config.json").read_text())["auto_map"]["AutoModel"] == "modeling_simfle.SimFLEModel"
    second.mkdir()
    load_alone({auto: tmp_path / f"again_{auto}" for auto in models}, cache, second)


DERIVED = """
from modeling_simfle import SimFLEForImageClassification, SimFLEImageProcessor


class Louder(SimFLEForImageClassification):
    def forward(self, *args, **kwargs):
        output = super().forward(*args, **kwargs)
        output.logits = output.logits + 7
        return output


class Darker(SimFLEImageProcessor):
    def _preprocess(self, images, *args, **kwargs):
        return super()._preprocess([image * 0 for image in images], *args, **kwargs)
"""


def test_a_derived_class_comes_back_as_itself(cache, tmp_path, monkeypatch):
    (tmp_path / "louder_simfle.py").write_text(DERIVED)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "louder_simfle", raising=False)
    from louder_simfle import Darker, Louder

    Louder.register_for_auto_class("AutoModelForImageClassification")
    Darker.register_for_auto_class("AutoImageProcessor")
    model, processor, folder = Louder(tiny_config()), Darker(size=64), tmp_path / "saved"
    for part in (model, processor):
        part.save_pretrained(folder)
    named = {"AutoModelForImageClassification": "louder_simfle.Louder", "AutoModel": "modeling_simfle.SimFLEModel"}
    assert named.items() <= json.loads((folder / "config.json").read_text())["auto_map"].items()
    code = (folder / "louder_simfle.py").read_text()
    parts = "from .modeling_simfle import SimFLEForImageClassification\nfrom .image_processing_simfle import"
    code = code.replace("from modeling_simfle import SimFLEForImageClassification,", parts)
    (folder / "louder_simfle.py").write_text(code)
    run_alone(
        "import numpy as np, torch\n"
        "from transformers import AutoModelForImageClassification\n"
        "from transformers.models.auto.image_processing_auto import AutoImageProcessor\n"
        "model = AutoModelForImageClassification.from_pretrained(sys.argv[1], trust_remote_code=True)\n"
        "processor = AutoImageProcessor.from_pretrained(sys.argv[1], trust_remote_code=True)\n"
        "pixels = processor(np.full((9, 9, 3), 200, np.uint8), return_tensors='pt')['pixel_values']\n"
        "assert not pixels.any() and type(processor).__name__ == 'Darker'\n"
        "plain = model.classifier(model.encoder(pixels).pooler_output)\n"
        "assert torch.equal(model(pixels).logits, plain + 7) and type(model).__name__ == 'Louder'\n",
        folder,
        cache=cache,
    )


def test_one_pretraining_folder_serves_every_class(cache, tmp_path):
    torch.manual_seed(0)
    model, folder = SimFLEForPreTraining(tiny_config()).eval(), tmp_path / "saved"
    model.save_pretrained(folder)
    load_alone(dict.fromkeys(("AutoModel", "AutoModelForImageClassification"), folder), cache, tmp_path)
    features = torch.load(tmp_path / "AutoModel.pt")["pooler_output"]
    torch.testing.assert_close(features, model.encoder(tiny_inputs()["pixel_values"]).pooler_output, rtol=0, atol=0)


ACCELERATE = """
from accelerate import Accelerator
from transformers import AutoModelForImageClassification
model = AutoModelForImageClassification.from_pretrained(sys.argv[1], trust_remote_code=True)
Accelerator(cpu=True).save_model(model, sys.argv[2])
model.config.save_pretrained(sys.argv[2])
"""


@pytest.mark.parametrize("source", ["package", "folder"])
def test_what_accelerate_saves_loads_with_its_config(cache, tmp_path, source):
    model, folder, again = SimFLEForImageClassification(tiny_config()), tmp_path / "saved", tmp_path / "again"
    model.save_pretrained(folder)
    if source == "package":
        Accelerator(cpu=True).save_model(model, again)
        model.config.save_pretrained(again)
    else:
        run_alone(ACCELERATE, folder, again, cache=cache)
    load_alone({"AutoModelForImageClassification": again}, cache, tmp_path)
    logits = torch.load(tmp_path / "AutoModelForImageClassification.pt")["logits"]
    torch.testing.assert_close(logits, expected(model)["logits"], rtol=0, atol=0)


def test_what_other_savers_leave_loads_with_the_code(cache, tmp_path):
    """Pipelines, Trainer, safetensors' own function, shards, and the config of an Auto class."""
    model, processor = SimFLEForImageClassification(tiny_config()).eval(), SimFLEImageProcessor(size=64)

    def save_by_safetensors(folder):
        folder.mkdir()
        safetensors.torch.save_model(model, str(folder / "model.safetensors"))
        model.config.save_pretrained(folder)

    def save_by_auto_config(folder):
        AutoConfig.from_pretrained(tmp_path / "safetensors", trust_remote_code=True).save_pretrained(folder)
        shutil.copy(tmp_path / "safetensors" / "model.safetensors", folder)

    def save_by_trainer(folder):
        arguments = TrainingArguments(str(folder), report_to=[], use_cpu=True)
        Trainer(model, arguments, processing_class=processor).save_model(str(folder))

    ways = {
        "safetensors": save_by_safetensors,
        "auto_config": save_by_auto_config,
        "trainer": save_by_trainer,
        "pipeline": pipeline("image-classification", model=model, image_processor=processor).save_pretrained,
        "face_pipeline": FaceExpressionPipeline(model=model, image_processor=processor).save_pretrained,
        "shards": lambda folder: model.save_pretrained(folder, max_shard_size="50KB"),
    }
    for name, save in ways.items():
        save(tmp_path / name)
    load_alone({f"AutoModelForImageClassification.{name}": tmp_path / name for name in ways}, cache, tmp_path)
    for name in ways:
        logits = torch.load(tmp_path / f"AutoModelForImageClassification.{name}.pt")["logits"]
        torch.testing.assert_close(logits, expected(model)["logits"], rtol=0, atol=0, msg=name)


def test_folders_of_a_config_or_a_processor_alone(cache, tmp_path):
    tiny_config().save_pretrained(tmp_path / "config")
    SimFLEImageProcessor(size=64).save_pretrained(tmp_path / "processor")
    run_alone(
        "from transformers import AutoConfig, AutoModel\n"
        "config = AutoConfig.from_pretrained(sys.argv[1], trust_remote_code=True)\n"
        "assert type(AutoModel.from_config(config, trust_remote_code=True)).__name__ == 'SimFLEModel'\n"
        "from transformers.models.auto.image_processing_auto import AutoImageProcessor\n"
        "processor = AutoImageProcessor.from_pretrained(sys.argv[2], trust_remote_code=True)\n"
        "processor.save_pretrained('again')\n"
        "AutoImageProcessor.from_pretrained('again', trust_remote_code=True)\n",
        tmp_path / "config",
        tmp_path / "processor",
        cache=cache,
    )


def test_without_trust_nothing_of_the_folder_runs(cache, tmp_path):
    SimFLEModel(tiny_config()).save_pretrained(tmp_path)
    run_alone(
        "from transformers import AutoModel\n"
        "try: AutoModel.from_pretrained(sys.argv[1], trust_remote_code=False)\n"
        "except ValueError as error: assert 'trust_remote_code' in str(error)\n"
        "else: raise SystemExit('it ran')",
        tmp_path,
        cache=cache,
    )

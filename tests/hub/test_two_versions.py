# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""
Folders written under Transformers 5.17 load under the newest 5.x, and back.

Needs a second environment: SIMFLE_PYTHON_517 names its python (torch, transformers==5.17.0, pillow), made by
`make venv517`.
"""

import json
import os
import subprocess
from pathlib import Path

import pytest
import torch
import transformers

from modeling_simfle import SimFLEForPreTraining, SimFLEImageProcessor
from tests.hub.test_remote_code import load_alone
from tests.new_process import ROOT
from tests.tiny import FIELDS, tiny_config, tiny_inputs

PYTHON = Path(os.environ.get("SIMFLE_PYTHON_517") or ROOT / ".venv517" / "bin" / "python")
pytestmark = pytest.mark.skipif(not PYTHON.is_file(), reason="no second environment with transformers 5.17")
WRITE = """
import json, sys
import torch, transformers
assert transformers.__version__.startswith("5.17."), transformers.__version__
from modeling_simfle import SimFLEConfig, SimFLEForPreTraining, SimFLEImageProcessor
torch.manual_seed(0)
model = SimFLEForPreTraining(SimFLEConfig(**json.loads(sys.argv[1]))).eval()
model.save_pretrained(sys.argv[2])
SimFLEImageProcessor(size=64).save_pretrained(sys.argv[2])
with torch.no_grad():
    torch.save(dict(model(**torch.load(sys.argv[3]))), sys.argv[4])
"""


def test_written_under_5_17_loads_here(tmp_path):
    torch.save(tiny_inputs(), tmp_path / "inputs.pt")
    command = [PYTHON, "-c", WRITE, json.dumps(FIELDS), tmp_path / "saved", tmp_path / "inputs.pt", tmp_path / "out.pt"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    model, info = SimFLEForPreTraining.from_pretrained(tmp_path / "saved", output_loading_info=True)
    assert not any(info.values()), info
    assert SimFLEImageProcessor.from_pretrained(tmp_path / "saved").size["height"] == 64
    theirs = torch.load(tmp_path / "out.pt")
    with torch.no_grad():
        ours = model(**tiny_inputs())
    assert theirs.keys() == ours.keys()
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], msg=name)


def test_written_here_loads_under_5_17_without_the_package(tmp_path):
    assert not transformers.__version__.startswith("5.17.")
    torch.manual_seed(0)
    model, folder = SimFLEForPreTraining(tiny_config()).eval(), tmp_path / "saved"
    model.save_pretrained(folder)
    SimFLEImageProcessor(size=64).save_pretrained(folder)
    kinds = ("AutoModelForPreTraining", "AutoModel", "AutoModelForImageClassification")
    load_alone(dict.fromkeys(kinds, folder), tmp_path, tmp_path, python=PYTHON)
    theirs = torch.load(tmp_path / "AutoModelForPreTraining.pt")
    with torch.no_grad():
        ours = model(**tiny_inputs())
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], msg=name)

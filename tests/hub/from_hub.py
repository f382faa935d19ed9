# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""Environments of processes that talk to a Hub on loopback, and a user's process that loads a model from one."""

import json
import os
import subprocess

from tests.fork_server import forking_python

LOAD = """
import json, sys
for name in ("modeling_simfle", "training", "tests"):
    sys.modules[name] = None
import torch
from PIL import Image
from transformers import AutoModelForImageClassification
from transformers.models.auto.image_processing_auto import AutoImageProcessor
repo_id, picture, options = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
model = AutoModelForImageClassification.from_pretrained(repo_id, trust_remote_code=True, **options)
processor = AutoImageProcessor.from_pretrained(repo_id, trust_remote_code=True, **options)
assert type(model).__module__.startswith("transformers_modules.")
with torch.no_grad():
    print(json.dumps(model(**processor(Image.open(picture), return_tensors="pt")).logits.flatten().tolist()))
"""


def hub_environment(url: str, home, **more: str) -> dict[str, str]:
    """This process's environment, with a Hub of this address in place of the real one, and no offline switch."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING", "TRANSFORMERS_"))}
    return {**kept, "HF_ENDPOINT": url, "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(home), **more}


def logits_from_hub(url: str, repo_id: str, picture, home, token: str | None = None, **options) -> list[float]:
    """
    What a classifier on a Hub says of a picture, in a new process that does not have this package.

    Args:
        home: an empty HF_HOME. options: of `from_pretrained`, such as `revision`.
    """
    environment = hub_environment(url, home, **({"HF_TOKEN": token} if token else {}))
    command = [forking_python(), "-c", LOAD, repo_id, str(picture), json.dumps(options)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=home, env=environment, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])

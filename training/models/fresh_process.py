"""
Loads a folder as its users will: in a new process that has neither this package nor a network.

A face drawn by this repository must come out there as it does here, from the folder that was staged.
"""

import inspect
import json
import math
import os
import site
import subprocess
import sys
import tempfile
from pathlib import Path

from training.runtime.errors import InputError

TOLERANCE = 1e-4  # of an output, over the larger of 1 and the largest output
# Variables of the new process: no token, no cache, no offline switch of this one, no processes of a group.
DROPPED = ("HF_", "HUGGING", "TRANSFORMERS_", "PYTHON", "ACCELERATE_", "TORCHELASTIC_", "RANK", "LOCAL_", "WORLD_SIZE")
ALONE = """
import json, socket, sys
for name in ("modeling_simfle", "training", "tests"):
    sys.modules[name] = None  # an import of it fails
def refuse(*arguments, **options):
    raise OSError("this process has no network")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
"""


def face_output(folder: str, picture: str, trust_remote_code: bool) -> dict:
    """
    Runs a folder's model on one picture. Its source is what the new process runs: it imports nothing of ours.

    Returns:
        "outputs": logits of a classifier, else the pooled features, a list of numbers. "label": the classifier's.
    """
    import torch
    from PIL import Image
    from transformers import AutoConfig, AutoModel, AutoModelForImageClassification

    # Under transformers 5.17 without torchvision the top-level name is a dummy that raises.
    from transformers.models.auto.image_processing_auto import AutoImageProcessor

    trust = {"trust_remote_code": trust_remote_code}
    config = AutoConfig.from_pretrained(folder, **trust)
    classifies = any(name.endswith("ForImageClassification") for name in config.architectures or [])
    kind = AutoModelForImageClassification if classifies else AutoModel
    model = kind.from_pretrained(folder, **trust).eval()
    processor = AutoImageProcessor.from_pretrained(folder, **trust)
    with torch.no_grad():
        output = model(**processor(Image.open(picture), return_tensors="pt"))
    values = (output.logits if classifies else output.pooler_output).flatten().double()
    label = config.id2label[int(values.argmax())] if classifies else None
    return {"outputs": values.tolist(), "label": label}


def compare_in_new_process(folder: Path, staged: Path) -> str:
    """
    Loads `staged` in a new process and compares what it makes of a drawn face with what `folder` makes of it here.

    Returns:
        A sentence that says what was compared.
    Raises:
        InputError: the folder does not load there, or its outputs differ.
    """
    import modeling_simfle  # noqa: F401 - registers the Auto classes: here no remote code runs
    from training.data.drawn_faces import draw_face

    with tempfile.TemporaryDirectory(prefix="simfle_fresh") as home:
        picture = Path(home) / "face.png"
        draw_face(seed=0, index=0, size=112).image.save(picture)
        ours = face_output(str(folder), str(picture), False)["outputs"]
        fresh = run_alone(staged, picture, Path(home))
    theirs, allowed = fresh["outputs"], TOLERANCE * max(1.0, *map(abs, ours))
    if not all(map(math.isfinite, theirs)):
        raise InputError(f"{folder} gives values that are not finite for a drawn face; it is not published.")
    if len(ours) != len(theirs) or any(abs(a - b) > allowed for a, b in zip(ours, theirs)):
        raise InputError(f"the staged copy of {folder} gives other outputs in a new process than the folder does here.")
    said = f"as {fresh['label']}" if fresh["label"] else f"{len(theirs)} features"
    return f"loaded in a new process without the package and a network: a drawn face comes out the same ({said})"


def run_alone(folder: Path, picture: Path, home: Path) -> dict:
    """`face_output` in a new process. Raises InputError with the last line of its error."""
    call = "print(json.dumps(face_output(sys.argv[1], sys.argv[2], True)))"
    code = f"{ALONE}\n{inspect.getsource(face_output)}\n{call}"
    kept = {name: value for name, value in os.environ.items() if not name.startswith(DROPPED)}
    alone = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(home), "HOME": str(home), "CUDA_VISIBLE_DEVICES": ""}
    # Python's user packages lie below HOME, which is another folder in the new process.
    environment = {**kept, **alone, "PYTHONUSERBASE": site.getuserbase()}
    command = [sys.executable, "-c", code, str(folder), str(picture)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=home, env=environment)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no word"])[-1][:300]
        raise InputError(f"{folder.name} does not load in a new process without the package and a network ({reason}).")
    return json.loads(done.stdout.splitlines()[-1])

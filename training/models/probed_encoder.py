"""Whether a probe's figures are those of an encoder."""

from pathlib import Path

from training.runtime.errors import InputError
from training.runtime.lineage import read_json


def check_probe(path: Path, run: Path, folder: Path) -> None:
    """
    Compares the encoder of a probe's classifier, which lies beside its metrics, with the run's and with the saved one.

    Args:
        path: metrics.json of the probe. run: the folder that was probed. folder: what is released of that run.
    Raises:
        InputError: no linear probe's folder, or a probe of the target, of BatchNorm estimated anew, or of another
            encoder.
    """
    import torch

    from modeling_simfle import SimFLEModel
    from training.models.output_store import weights_hash

    if read_json(path).get("method") != "linear probe" or not (path.with_name("run.json")).is_file():
        raise InputError(f"{path} does not lie in the folder of a linear probe; give that of one of {run}.")
    used = read_json(path.with_name("run.json"))["arguments"]
    if used.get("which") == "target" or used.get("estimate_batch_norm"):
        changed = "the target encoder" if used.get("which") == "target" else "BatchNorm estimated anew"
        raise InputError(f"{path} was measured with {changed}, which is not published; probe {run} without that.")
    probed, *ours = (
        weights_hash(SimFLEModel.from_pretrained(place, dtype=torch.float32)) for place in (path.parent, run, folder)
    )
    if probed not in ours:
        raise InputError(f"{path} was measured on another encoder than that of {run}; probe that one.")

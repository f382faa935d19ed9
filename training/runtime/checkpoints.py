"""
Checkpoints: a killed run goes on where it was.

A checkpoint is written into a temporary folder, flushed and renamed: a folder with its final name is complete. It
holds the model (target included), the optimiser's momentum, the position and fp16's loss scale. Everything random in a
run is a function of (seed, step), so there is no other state to keep.
"""

import json
import os
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

from safetensors import SafetensorError, safe_open

from training.runtime.errors import NOT_JSON, InputError
from training.runtime.run_folder import flush, share_weights, write_json

CHECKPOINTS, STEP_FOLDERS = "checkpoints", "step_" + "[0-9]" * 8
IMAGE_SIZES = "picture_sizes"  # of a checkpoint, under the name that it always had; see `Faces.image_sizes`
DEFAULT = "(the default)"  # of a field that a config leaves out
BATCH = ("per_device_train_batch_size", "gradient_accumulation_steps")  # what makes the batch of a process


def list_checkpoints(output_dir: Path) -> list[Path]:
    """Complete checkpoints, those that have seen the fewest images first (steps may differ in images, see `resume`)."""
    sound = (path for path in (output_dir / CHECKPOINTS).glob(STEP_FOLDERS) if not find_flaw(path))
    return sorted(sound, key=lambda path: (images_seen(path), path.name))


def find_flaw(checkpoint: Path) -> str:
    """What keeps a checkpoint from being read, as far as sizes tell; "" if nothing does."""
    for name in ("training_state.json", "model.safetensors", "momentum.safetensors"):
        if not (checkpoint / name).is_file():
            return f"{name} is missing"
    try:
        images_seen(checkpoint)
        for path in checkpoint.glob("[!.]*.safetensors"):
            with safe_open(path, framework="np"):  # reads the header, and compares it with the size
                pass
    except SafetensorError as error:
        return f"{path.name} is cut off or damaged ({error})"
    except (*NOT_JSON, KeyError, TypeError) as error:
        return f"damaged: {error}"
    return ""


def images_seen(checkpoint: Path) -> int:
    state = json.loads((checkpoint / "training_state.json").read_text(encoding="utf-8"))
    return state["step"] * state.get("global_batch_size", 1)


def abandon_later_checkpoints(output_dir: Path, resumed: Path) -> None:
    """Renames the checkpoints later than the resumed one, so that `latest` finds only those of the resumed run."""
    for checkpoint in list_checkpoints(output_dir):
        if images_seen(checkpoint) > images_seen(resumed):
            os.replace(checkpoint, checkpoint.with_name(f"abandoned_{checkpoint.name}"))


def find_checkpoint(output_dir: Path, resume_from_checkpoint: str) -> Path | None:
    """`latest` or a checkpoint's folder; None where `latest` finds none."""
    if resume_from_checkpoint == "latest":
        sound = list_checkpoints(output_dir)
        damaged = sorted(set((output_dir / CHECKPOINTS).glob(STEP_FOLDERS)) - set(sound))
        flaws = [f"{path.name}: {find_flaw(path)}" for path in damaged]
        if flaws and not sound:
            raise InputError(
                f"no checkpoint of {output_dir} can be read ({'; '.join(flaws)}); mend one, or give a new folder."
            )
        for flaw in flaws:
            print(f"a checkpoint is passed over: {flaw}", file=sys.stderr)
        return sound[-1] if sound else None
    path = Path(resume_from_checkpoint)
    if flaw := find_flaw(path):
        raise InputError(
            f"--resume_from_checkpoint {path} is no complete checkpoint ({flaw}); give its folder, or latest."
        )
    return path


def save_checkpoint(
    output_dir: Path, state: dict, model, processor, optimizer, total_limit: int, more: dict | None = None
) -> None:
    """
    Writes checkpoints/step_NNNNNNNN and removes the oldest beyond `total_limit`.

    Args:
        state: JSON values, the `step` among them. more: further state dicts, each as a file <name>.safetensors.
    """
    from safetensors.torch import save_file

    final = output_dir / CHECKPOINTS / f"step_{state['step']:08d}"
    temporary = final.with_name(final.name + ".tmp")
    for stale in final.parent.glob("*.tmp"):  # of a run that was killed here
        shutil.rmtree(stale, ignore_errors=True)
    temporary.mkdir(parents=True)
    model.save_pretrained(temporary)
    processor.save_pretrained(temporary)
    names = {parameter: name for name, parameter in model.named_parameters()}
    momentum = {names[p]: s["momentum_buffer"] for p, s in optimizer.state.items() if "momentum_buffer" in s}
    for name, tensors in {"momentum": momentum, **(more or {})}.items():
        save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, temporary / f"{name}.safetensors")
    write_json(temporary / "training_state.json", state)
    share_weights(temporary)
    for path in [*temporary.iterdir(), temporary]:
        flush(path)
    shutil.rmtree(final, ignore_errors=True)
    os.replace(temporary, final)
    flush(final.parent)
    for old in list_checkpoints(output_dir)[:-total_limit]:
        shutil.rmtree(old)


def load_checkpoint(
    folder: Path, model, optimizer, expected: dict, max_bad_images: int = 0, defaults: dict | None = None
) -> dict:
    """
    Loads a checkpoint into the model and the optimiser.

    Args:
        expected: what the run must share with the checkpoint, by name. With another number of processes, either the
            batch per process or the total batch must be the same.
        max_bad_images: how many images may have another size than they had: files that broke since.
        defaults: values of what older checkpoints do not name, also inside of a mapping such as the config.
    Returns:
        The checkpoint's state, `step` among it.
    Raises:
        InputError: naming the field that differs.
    """
    import torch
    from safetensors.torch import load_file

    state = json.loads((folder / "training_state.json").read_text(encoding="utf-8"))
    free = {"num_processes", "global_batch_size", IMAGE_SIZES}
    if state.get("num_processes") != expected.get("num_processes"):
        free |= set(BATCH) if state.get("global_batch_size") == expected["global_batch_size"] else set()
    check_image_sizes(folder, state.get(IMAGE_SIZES), expected.get(IMAGE_SIZES), max_bad_images)
    for name, value in json.loads(json.dumps(expected)).items():  # as it was written: no tuples
        default = (defaults or {}).get(name)
        saved, value = (with_defaults(settings, default) for settings in (state.get(name, default), value))
        if name not in free and saved != value:
            name, saved, value = first_difference(name, saved, value)
            raise InputError(f"{folder} was made with {name} {saved!r}, not {value!r}; use the same to resume.")
    parameters = dict(model.named_parameters())
    saved = {name: load_file(folder / f"{name}.safetensors") for name in ("model", "momentum")}
    check_tensors(folder / "model.safetensors", saved["model"], model.state_dict(), needed=model.state_dict())
    check_tensors(folder / "momentum.safetensors", saved["momentum"], parameters)
    model.load_state_dict(saved["model"])
    momentum = saved["momentum"]
    for name, tensor in momentum.items():
        # In the parameter's memory layout: the fused SGD of torch 2.13 takes the two for alike without a look.
        buffer = torch.empty_like(parameters[name], requires_grad=False)
        optimizer.state[parameters[name]]["momentum_buffer"] = buffer.copy_(tensor)
    return state


def check_tensors(file: Path, saved: dict, wanted: dict, needed: Iterable[str] = ()) -> None:
    """Raises InputError: a file whose tensors have other names or shapes than those wanted."""
    wrong = [name for name, value in saved.items() if name not in wanted or wanted[name].shape != value.shape]
    if wrong := [*wrong, *(set(needed) - set(saved))]:
        raise InputError(f"{file} does not hold the tensors of this model, {wrong[0]} for one; resume from another.")


def with_defaults(value, default):
    """A mapping with the defaults of what it leaves out; other values as they are."""
    return {**default, **value} if isinstance(value, dict) and isinstance(default, dict) else value


def check_image_sizes(folder: Path, before: list | None, now: list | None, max_bad_images: int) -> None:
    """Raises InputError: more files than those that may be bad have another size than when the checkpoint was made."""
    if before is None or now is None or len(before) != len(now):  # another set, by its fingerprint
        return
    changed = sum(old != new for old, new in zip(before, now, strict=True))
    if changed > max_bad_images:
        raise InputError(
            f"{folder} was made with other images of the same names: {changed} of {len(now)} looked at have another"
            " size; use the same to resume (as many as --max_bad_images may have broken since)."
        )


def first_difference(name: str, saved, wanted) -> tuple:
    """The first key, as name.key, in which two mappings differ, with both values; other values as they are."""
    if not isinstance(saved, dict) or not isinstance(wanted, dict):
        return name, saved, wanted
    key = next(key for key in [*wanted, *saved] if saved.get(key, DEFAULT) != wanted.get(key, DEFAULT))
    return first_difference(f"{name}.{key}", saved.get(key, DEFAULT), wanted.get(key, DEFAULT))

"""
Compares pretraining with the plain version of baseline.py.

    python training/benchmarks/bench.py --output_json bench.json              (`make bench`)

Each version trains on drawn faces in a process of its own; the versions take turns. The table has images a second end
to end (loader and step) and of the step alone, the share of time spent waiting for data, and the model-FLOPs
utilisation of the step relative to the device's dense bfloat16 peak where that peak is known.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import repeat
from pathlib import Path
from statistics import median

from training.models.arguments import ModelArguments, read_config
from training.runtime.arguments import check_ranges, flag, parse_arguments, run_main
from training.runtime.errors import RunError

BASELINE = "baseline, float32"
VERSIONS = {"float32": (False, False), "bf16": (True, False), "bf16, compiled": (True, True)}  # bf16, compiled
MEASURES = ("images_per_second", "data_wait", "step_images_per_second")
UNCOUNTED = 2  # the first steps of an epoch are slow: workers start and memory is allocated
# Dense bfloat16 peak in FLOP/s, by a part of the device's name. Source: the makers' data sheets.
PEAKS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12}
CPU_DEFAULTS = {"view_size": 112, "batch_size": 16, "num_steps": 10, "num_workers": 1}
GPU_DEFAULTS = {"view_size": 224, "batch_size": 256, "num_steps": 20, "num_workers": 12}


@dataclass
class BenchArguments:
    """Options of the benchmark. The defaults for a CPU are small: 16 faces a step, 112-px views."""

    view_size: int | None = flag(None, "side of the views; default 112, on a GPU 224", low=1)
    batch_size: int | None = flag(None, "faces a step; default 16, on a GPU 256", low=2)
    num_steps: int | None = flag(None, "timed steps of a round; default 10, on a GPU 20", low=1)
    num_workers: int | None = flag(None, "worker processes; default 1, on a GPU 12", low=0)
    rounds: int = flag(3, "rounds over all versions; the median counts", low=1)
    compiled: bool = flag(True, "also time torch.compile, which takes minutes")
    output_json: str | None = flag(None, "JSON file for the figures")
    version: str | None = flag(None, "internal: the version that a child process times")
    faces: str | None = flag(None, "internal: the folder of the drawn faces")

    def __post_init__(self):
        check_ranges(self)


def main(argv=None) -> None:
    bench, model_arguments = parse_arguments((BenchArguments, ModelArguments), argv, __doc__)
    config = read_config(model_arguments)
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    for name, value in (GPU_DEFAULTS if device == "cuda" else CPU_DEFAULTS).items():
        if getattr(bench, name) is None:
            setattr(bench, name, value)
    if bench.version:
        print(json.dumps(time_version(config, bench, device)))
        return
    names = [BASELINE, *(name for name, (_, compiled) in VERSIONS.items() if bench.compiled or not compiled)]
    with tempfile.TemporaryDirectory() as folder:
        rounds = run_rounds(names, config, bench, Path(folder))
    name = torch.cuda.get_device_name() if device == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    peak = next((value for part, value in PEAKS.items() if part in name), None)
    figures = {"device": name, "arguments": asdict(bench), "config": config.to_diff_dict()}
    figures |= summarize(rounds, bench.batch_size, peak)
    if bench.output_json:
        from training.runtime.run_folder import write_json

        write_json(Path(bench.output_json), figures)
    print_table(figures)


def run_rounds(names: list[str], config, bench: BenchArguments, folder: Path) -> dict[str, list[dict]]:
    """Returns the figures of `time_version` by version, one mapping a round. folder: for the faces and the config."""
    from training.data.drawn_faces import write_image_folder

    config.save_pretrained(folder)
    write_image_folder(folder / "faces", (UNCOUNTED + bench.num_steps) * bench.batch_size, seed=0, size=112)
    flags = {"model_config": folder, "faces": folder / "faces"}
    flags |= {name: getattr(bench, name) for name in ("view_size", "batch_size", "num_steps", "num_workers")}
    command = [sys.executable, __file__, *(f"--{name}={value}" for name, value in flags.items())]
    rounds: dict[str, list[dict]] = {name: [] for name in names}
    for _ in range(bench.rounds):
        for name, figures in rounds.items():
            done = subprocess.run([*command, f"--version={name}"], stdout=subprocess.PIPE, text=True)
            if done.returncode:
                raise RunError(f"the process of the version {name!r} ended; see its message above.")
            figures.append(json.loads(done.stdout.splitlines()[-1]))
    return rounds


def time_version(config, bench: BenchArguments, device: str) -> dict:
    """Returns MEASURES of one version, the losses of its first step, and for float32 the FLOPs of a step."""
    from torch.utils.flop_counter import FlopCounterMode

    from training.benchmarks.baseline import PlainStep, plain_batches
    from training.data.faces import image_faces
    from training.runtime.resources import keep_freed_memory

    faces = image_faces([Path(bench.faces)])
    inputs, flops = make_batch(config, bench, device), 0
    step: PlainStep | FastStep
    if bench.version == BASELINE:
        step, batches = PlainStep(config, device), plain_batches(faces, config, bench)
    else:
        keep_freed_memory()  # as pretrain.py does
        step = FastStep(config, device, *VERSIONS[bench.version])
        batches = our_batches(faces, config, bench, device, inputs["group_ids"])
    losses = {name: float(value) for name, value in step(inputs).items()}
    if bench.version == "float32":
        with FlopCounterMode(display=False) as counter:
            step(inputs)
        flops = counter.get_total_flops()
    for _ in range(UNCOUNTED):
        step(next(batches))
    seconds, waited = time_steps(step, batches, bench.num_steps, device)
    step_seconds, _ = time_steps(step, repeat(inputs), bench.num_steps, device)
    number = bench.num_steps * bench.batch_size
    rates = {"images_per_second": number / seconds, "step_images_per_second": number / step_seconds}
    return {**rates, "data_wait": waited / seconds, "losses": losses, "flops": flops}


def time_steps(step, batches: Iterator, num_steps: int, device: str) -> tuple[float, float]:
    """Returns the seconds of the steps, and how many of them were spent waiting for a batch."""
    import torch

    synchronize = torch.cuda.synchronize if device == "cuda" else lambda: None
    synchronize()
    waited, started = 0.0, time.perf_counter()
    for _ in range(num_steps):
        asked = time.perf_counter()
        batch = next(batches)
        waited += time.perf_counter() - asked
        step(batch)
    synchronize()
    return time.perf_counter() - started, waited


def make_batch(config, bench: BenchArguments, device: str) -> dict:
    """Returns random inputs with fixed group ids, so that every version computes the same."""
    import torch

    generator = torch.Generator().manual_seed(0)
    sides = {"pixel_values": config.facemae_image_size} | {f"view_{i}_pixel_values": bench.view_size for i in (1, 2)}
    batch = {n: torch.randn(bench.batch_size, 3, side, side, generator=generator) for n, side in sides.items()}
    batch["group_ids"] = torch.randint(config.num_channel_groups, (bench.batch_size,), generator=generator)
    return {name: tensor.to(device) for name, tensor in batch.items()}


class FastStep:
    """One step as training/pretrain.py makes it. Losses stay on the device."""

    def __init__(self, config, device: str, is_bf16: bool, compiled: bool):
        import torch

        from modeling_simfle import SimFLEForPreTraining
        from training.pretraining.arguments import PretrainingArguments
        from training.pretraining.setup import make_optimizer

        torch.manual_seed(0)
        self.model, self.optimizer = make_optimizer(SimFLEForPreTraining(config), PretrainingArguments())
        self.model.to(device)
        self.optimizer.load_state_dict(self.optimizer.state_dict())  # moves the momentum, as Accelerate does
        self.autocast = torch.autocast(device, torch.bfloat16, enabled=is_bf16, cache_enabled=True)
        if compiled:
            self.model.compile()

    def __call__(self, batch: dict) -> dict:
        import torch

        images = {k: v.contiguous(memory_format=torch.channels_last) if v.ndim == 4 else v for k, v in batch.items()}
        with self.autocast:
            output = self.model(**images)
        output.loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.model.update_target()
        return {name: output[name].detach() for name in output if name.endswith("loss")}


def our_batches(faces, config, bench: BenchArguments, device: str, group_ids):
    """Yields the batches of pretrain.py's loader. group_ids: those of the timed step, so that it compiles once."""
    from accelerate import Accelerator

    from modeling_simfle import SimFLEImageProcessor
    from training.pretraining.arguments import PretrainingArguments
    from training.pretraining.batches import make_feeder
    from training.pretraining.samplers import make_sampler

    run = PretrainingArguments(view_size=bench.view_size, per_device_train_batch_size=bench.batch_size)
    run.num_train_epochs = 1
    accelerator = Accelerator(cpu=device == "cpu")
    sampler = make_sampler(accelerator, faces, run)
    feeder = make_feeder(accelerator, config, SimFLEImageProcessor(), faces, sampler, run, bench.num_workers)
    for _ in range(sampler.last_step):
        yield feeder.next()["inputs"] | {"group_ids": group_ids}
        feeder.prefetch()


def summarize(rounds: dict[str, list[dict]], batch_size: int, peak: float | None) -> dict:
    """Returns medians over the rounds, and their ratios to the baseline. peak: of the device, in FLOP/s."""
    flops, losses = rounds["float32"][0]["flops"], rounds["float32"][0]["losses"]
    versions = {n: {name: median(one[name] for one in measured) for name in MEASURES} for n, measured in rounds.items()}
    for row in versions.values():
        for name in ("images_per_second", "step_images_per_second"):
            row[f"{name}_over_baseline"] = row[name] / versions[BASELINE][name]
        if peak:
            row["model_flops_utilisation"] = flops / batch_size * row["step_images_per_second"] / peak
    difference = max(abs(losses[name] / value - 1) for name, value in rounds[BASELINE][0]["losses"].items())
    return {"versions": versions, "step_flops": flops, "first_losses_relative_difference": difference}


def print_table(figures: dict) -> None:
    print(f"{figures['device']}; {json.dumps(figures['arguments'])}")
    for name, row in figures["versions"].items():
        utilisation = row.get("model_flops_utilisation")
        print(
            f"{name:<18} end to end {row['images_per_second']:.1f} images/s,"
            f" x {row['images_per_second_over_baseline']:.2f}, waits for data {100 * row['data_wait']:.1f} %;"
            f" step {row['step_images_per_second']:.1f} images/s, x {row['step_images_per_second_over_baseline']:.2f}"
            + (f", MFU {100 * utilisation:.1f} %" if utilisation else "")
        )
    print(f"first losses, float32 against baseline: {figures['first_losses_relative_difference']:.1e} relative")


if __name__ == "__main__":
    run_main("bench", main)

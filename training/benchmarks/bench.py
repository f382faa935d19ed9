"""
Compares the speed of pretraining with the plain version of baseline.py. Both run in turn, within one run.

    python training/benchmarks/bench.py --output_json bench.json              (`make bench`)

The benchmark times the views, the loading, the model step, and loader and step together. Each figure is in images a
second, the median over the rounds. It also reports the peak memory of a step, the share of time spent waiting for data,
and the model-FLOPs utilisation relative to the device's dense bfloat16 peak where that peak is known.
"""

import json
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

from training.benchmarks.variants import (
    BASELINE,
    UNCOUNTED,
    Variant,
    loader_of,
    make_loaders,
    make_variants,
    seconds_of,
    serve,
)
from training.models.loading import ModelArguments, read_config
from training.runtime.arguments import check_range, parse_arguments, run_main
from training.runtime.errors import InputError
from training.runtime.resources import torch_threads

# Dense bfloat16 peak in FLOP/s, by a part of the device's name. Source: the makers' data sheets.
PEAKS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12}
CPU_DEFAULTS = {"view_size": 112, "batch_size": 16, "rounds": 5, "num_images": 512, "num_workers": 1}
GPU_DEFAULTS = {"view_size": 224, "batch_size": 256, "rounds": 10, "num_images": 4096, "num_workers": 12}


@dataclass
class BenchArguments:
    """Options of the benchmark. The defaults for a CPU are small: 16 faces a step, 112-px views."""

    view_size: int | None = field(default=None, metadata={"help": "side of the views; default 112, on a GPU 224"})
    batch_size: int | None = field(default=None, metadata={"help": "faces a step; default 16, on a GPU 256"})
    rounds: int | None = field(default=None, metadata={"help": "rounds over all variants; default 5, on a GPU 10"})
    image_side: int = field(default=112, metadata={"help": "side of the drawn faces on disk, in pixels"})
    num_images: int | None = field(default=None, metadata={"help": "number of drawn faces; default 512, on a GPU 4096"})
    num_workers: int | None = field(default=None, metadata={"help": "worker processes; default 1, on a GPU 12"})
    output_json: str | None = field(default=None, metadata={"help": "JSON file for the figures"})
    compiled: bool = field(default=True, metadata={"help": "also time torch.compile, which takes minutes"})
    serve: str | None = field(default=None, metadata={"help": "internal: run one variant as a child process"})

    def __post_init__(self):
        for name in ("view_size", "batch_size", "rounds", "image_side", "num_images"):
            if getattr(self, name) is not None:
                check_range(name, getattr(self, name), 1)

    def fill(self, device: str) -> None:
        """Fills options that were not given with the device's defaults. Raises InputError if an epoch is too short."""
        for name, value in (GPU_DEFAULTS if device == "cuda" else CPU_DEFAULTS).items():
            if getattr(self, name) is None:
                setattr(self, name, value)
        if self.num_images < (UNCOUNTED + 1) * self.batch_size:
            raise InputError(
                f"--num_images {self.num_images} gives {self.num_images // self.batch_size} steps of {self.batch_size}"
                f" faces, and the first {UNCOUNTED} are not timed; give {(UNCOUNTED + 1) * self.batch_size} or more."
            )


def main(argv=None) -> None:
    bench, model_arguments = parse_arguments((BenchArguments, ModelArguments), argv, __doc__)
    config = read_config(model_arguments)
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    bench.fill(device)
    if bench.serve:
        serve(config, bench, device)
        return
    figures = {"device": device_name(device), "arguments": asdict(bench), "config": config.to_diff_dict()}
    with tempfile.TemporaryDirectory() as folder:
        config.save_pretrained(folder)
        figures |= measure_views(bench, device)
        figures |= measure_loading(config, bench, device, Path(folder))
        figures |= measure_steps(bench, device, make_variants(config, device, bench.compiled), Path(folder))
    if bench.output_json:
        from training.runtime.run_folder import write_json

        write_json(Path(bench.output_json), figures)
    print_table(figures)


def device_name(device: str) -> str:
    import platform

    import torch

    if device == "cuda":
        return torch.cuda.get_device_name()
    return f"{platform.machine()} CPU, {torch.get_num_threads()} threads"


def in_turn(functions: dict, rounds: int, device: str) -> dict[str, list[float]]:
    """Seconds of each function in each round, the functions in turn, after one uncounted call of each."""
    for function in functions.values():
        function()
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            times[name].append(seconds_of(function, device))
    return times


def measure_steps(bench, device: str, names, folder: Path) -> dict:
    """
    Times the model step, and loader and step together, of each variant in turn with the baseline. Two variants are in
    memory at a time.

    Args:
        names: the variants, the baseline first. folder: config.json, and the faces that `measure_loading` wrote.
    Returns:
        "step" (seconds, images a second, ratio to the baseline, peak memory, utilisation), "whole", "step_flops" and
        "first_losses_relative_difference".
    """
    peak = next((value for part, value in PEAKS.items() if part in device_name(device)), None)
    step: dict[str, dict] = {BASELINE: {}}
    whole: dict[str, dict] = {BASELINE: {}}
    base_seconds: list[float] = []
    flops, difference = 0, 0.0
    with Variant(BASELINE, bench, folder) as baseline:
        expected = baseline.ask("losses")
        for name in names:
            if name == BASELINE:
                continue
            with Variant(name, bench, folder) as variant:
                losses = variant.ask("losses")
                rounds = [(baseline.ask("step"), variant.ask("step")) for _ in range(bench.rounds)]
                memory = variant.ask("memory")
                whole[f"{name}, {loader_of(name)}"] = variant.ask(f"epoch {folder}")
                if name == "float32":
                    flops = variant.ask("flops")
                    difference = max(abs(losses[key] / value - 1) for key, value in expected.items())
            base, seconds = zip(*rounds, strict=True)
            base_seconds += base
            step[name] = step_figures(bench, seconds, median(seconds) / median(base), memory, flops, peak)
        step[BASELINE] = step_figures(bench, base_seconds, 1.0, baseline.ask("memory"), flops, peak)
        whole[BASELINE] = baseline.ask(f"epoch {folder}")
    return {"step": step, "whole": whole, "step_flops": flops, "first_losses_relative_difference": difference}


def step_figures(bench, seconds, time_over_baseline: float, memory: int, flops: int, peak: float | None) -> dict:
    return {
        "seconds": list(seconds),
        "images_per_second": bench.batch_size / median(seconds),
        "time_over_baseline": time_over_baseline,
        "peak_memory_bytes": memory,
        "model_flops_utilisation": flops / median(seconds) / peak if peak else None,
    }


def measure_views(bench, device: str) -> dict:
    """Times both views of 64 faces: image by image with Pillow, and as a batch, on one thread and on the device."""
    import numpy as np
    import torch

    from training.benchmarks.baseline import pillow_view
    from training.data.drawn_faces import draw_faces
    from training.data.views import apply_views, draw_view, stack_views, view_generator

    faces = [face.image for face in draw_faces(64, 0, bench.image_side)]
    side = bench.image_side
    views = [[draw_view(view_generator(0, 0, i, view), side, side) for i in range(64)] for view in (1, 2)]
    images = torch.from_numpy(np.stack([np.asarray(face) for face in faces]))
    stacked = [stack_views(view) for view in views]

    def by_pillow():
        for view in views:
            for face, parameters in zip(faces, view, strict=True):
                pillow_view(face, parameters, bench.view_size)

    def by_batch(where="cpu"):
        there, pixels = [view.to(where) for view in stacked], images.to(where)
        return lambda: [apply_views(pixels, view, bench.view_size) for view in there]

    functions = {"baseline, Pillow, one thread": by_pillow, "batched, one thread": by_batch()}
    with torch_threads(1):
        times = in_turn(functions, bench.rounds, "cpu")
    if device == "cuda":
        times |= in_turn({"batched, on the device": by_batch("cuda")}, bench.rounds, device)
    return {"views": {name: {"images_per_second": 64 / median(seconds)} for name, seconds in times.items()}}


def measure_loading(config, bench, device: str, folder: Path) -> dict:
    """Times an epoch of each loader alone, over drawn faces written below `folder`."""
    from training.data.drawn_faces import write_image_folder

    write_image_folder(folder / "faces", bench.num_images, seed=0, size=bench.image_side)
    loading = {
        name: {"images_per_second": bench.num_images / seconds_of(lambda m=make: sum(1 for _ in m()), device)}
        for name, make in make_loaders(config, bench, device, folder).items()
    }
    return {"loading": loading}


def print_table(figures: dict) -> None:
    print(f"{figures['device']}; {json.dumps(figures['arguments'])}")
    for part in ("views", "loading", "step", "whole"):
        print(f"\n{part}")
        base = next(iter(figures[part].values()))["images_per_second"]
        for name, row in figures[part].items():
            ratio = 1 / row["time_over_baseline"] if part == "step" else row["images_per_second"] / base
            line = f"  {name:<34}{row['images_per_second']:10.1f} images/s  x {ratio:5.2f}"
            if row.get("peak_memory_bytes"):
                line += f"  {row['peak_memory_bytes'] / 1e9:6.2f} GB"
            if row.get("model_flops_utilisation"):
                line += f"  MFU {100 * row['model_flops_utilisation']:.1f} %"
            if "data_wait" in row:
                line += f"  waits for data {100 * row['data_wait']:.1f} %"
            print(line)
    print(f"\nfirst losses, float32 against baseline: {figures['first_losses_relative_difference']:.1e} relative")


if __name__ == "__main__":
    run_main("bench", main)

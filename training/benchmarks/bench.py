"""
Measures pretraining against the plain version of baseline.py, in turn, within one run.

    python training/benchmarks/bench.py --output_json bench.json              (`make bench`)

The model step, the views, the loading and the whole, each in images a second (median over the rounds), with the peak
memory of a step, the share of time spent waiting for data, and model-FLOPs utilisation against the device's dense
bfloat16 peak where that is known.
"""

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from training.model_setup import ModelArguments, read_config
from training.script_arguments import check_range, parse_arguments, run_main

# Dense bfloat16 peak in FLOP/s, by a part of the device's name (the makers' data sheets).
PEAKS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12}
CPU_DEFAULTS = {"view_size": 112, "batch_size": 16, "rounds": 5}
GPU_DEFAULTS = {"view_size": 224, "batch_size": 256, "rounds": 10}


@dataclass
class BenchArguments:
    """What is measured. Defaults for a CPU are small: 16 faces a step, 112-px views."""

    view_size: int | None = field(default=None, metadata={"help": "side of the views; default 112, on a GPU 224"})
    batch_size: int | None = field(default=None, metadata={"help": "faces a step; default 16, on a GPU 256"})
    rounds: int | None = field(default=None, metadata={"help": "rounds over all variants; default 5, on a GPU 10"})
    image_side: int = field(default=112, metadata={"help": "side of the drawn faces that are loaded"})
    num_images: int = field(default=512, metadata={"help": "drawn faces"})
    num_workers: int = field(default=1, metadata={"help": "loader's processes"})
    output_json: str | None = field(default=None, metadata={"help": "where the figures go, beside the table"})
    compiled: bool = field(default=True, metadata={"help": "torch.compile's variants too: minutes more"})
    serve: str | None = field(default=None, metadata={"help": "used by the benchmark itself: one variant's process"})

    def __post_init__(self):
        for name in ("view_size", "batch_size", "rounds", "image_side", "num_images"):
            check_range(name, getattr(self, name), 1)


def main(argv=None) -> None:
    bench, model_arguments = parse_arguments((BenchArguments, ModelArguments), argv, __doc__)
    config = read_config(model_arguments)
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    for name, value in (GPU_DEFAULTS if device == "cuda" else CPU_DEFAULTS).items():
        if getattr(bench, name) is None:
            setattr(bench, name, value)
    if bench.serve:
        serve(config, bench, device)
        return
    figures = {"device": device_name(device), "arguments": asdict(bench), "config": config.to_diff_dict()}
    with tempfile.TemporaryDirectory() as folder:
        config.save_pretrained(folder)
        variants = {name: Variant(name, bench, Path(folder)) for name in make_variants(config, device, bench.compiled)}
        try:
            figures |= measure_step(bench, device, variants)
            figures |= measure_views(bench, device)
            figures |= measure_loading_and_whole(config, bench, device, Path(folder), variants)
        finally:
            for variant in variants.values():
                variant.process.kill()
    print_table(figures)
    if bench.output_json:
        from training.run_state import write_json

        write_json(Path(bench.output_json), figures)


def device_name(device: str) -> str:
    import platform

    import torch

    if device == "cuda":
        return torch.cuda.get_device_name()
    return f"{platform.machine()} CPU, {torch.get_num_threads()} threads"


def make_batch(config, bench, device: str) -> dict:
    """Random inputs; the group ids are drawn, so that every variant computes the same."""
    import torch

    generator = torch.Generator().manual_seed(0)
    sides = {"pixel_values": config.facemae_image_size} | {f"view_{i}_pixel_values": bench.view_size for i in (1, 2)}
    batch = {n: torch.randn(bench.batch_size, 3, side, side, generator=generator) for n, side in sides.items()}
    batch["group_ids"] = torch.randint(config.num_channel_groups, (bench.batch_size,), generator=generator)
    return {name: tensor.to(device) for name, tensor in batch.items()}


class FastStep:
    """What training/pretrain.py does in a step. Losses stay on the device."""

    def __init__(self, config, device: str, precision: str, compiled: bool = False):
        import torch

        from training.pretrain import PretrainingArguments, make_model_and_optimizer

        self.model, self.optimizer = make_model_and_optimizer(config, None, PretrainingArguments())
        self.model.to(device)
        self.autocast = torch.autocast(device, torch.bfloat16, enabled=precision == "bf16", cache_enabled=True)
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


def make_variants(config, device: str, compiled: bool) -> dict:
    """Name to a function that makes the step."""
    from training.benchmarks.baseline import PlainStep

    variants = {
        "baseline, float32": lambda: PlainStep(config, device),
        "float32": lambda: FastStep(config, device, "no"),
        "bf16": lambda: FastStep(config, device, "bf16"),
    }
    if compiled:
        variants["float32, compiled"] = lambda: FastStep(config, device, "no", compiled=True)
        variants["bf16, compiled"] = lambda: FastStep(config, device, "bf16", compiled=True)
    return variants


def synchronize(device: str) -> None:
    import torch

    if device == "cuda":
        torch.cuda.synchronize()


def seconds_of(function, device: str) -> float:
    synchronize(device)
    started = time.perf_counter()
    function()
    synchronize(device)
    return time.perf_counter() - started


def in_turn(functions: dict, rounds: int, device: str) -> dict[str, list[float]]:
    """Seconds of each function in each round, one after the other, after one call that is not counted."""
    for function in functions.values():
        function()
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            times[name].append(seconds_of(function, device))
    return times


def median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


class Variant:
    """A variant of the step in a process of its own, which answers one question a line and idles between."""

    def __init__(self, name: str, bench, folder: Path):
        flags = ["--model_config", folder, "--view_size", bench.view_size, "--batch_size", bench.batch_size]
        flags += ["--image_side", bench.image_side, "--num_images", bench.num_images]
        flags += ["--num_workers", bench.num_workers, "--serve", name]
        command = [sys.executable, __file__, *map(str, flags)]
        self.name = name
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, question: str):
        self.process.stdin.write(question + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise ValueError(f"the benchmark's process of {self.name!r} ended; see its message above.")
        return json.loads(answer)


def serve(config, bench, device: str) -> None:
    """Answers the questions of `Variant.ask`: losses, step, flops, memory, epoch FOLDER."""
    import torch

    from training.process_memory import keep_freed_memory

    answers_to, sys.stdout = sys.stdout, sys.stderr
    if not bench.serve.startswith("baseline"):
        keep_freed_memory()  # as pretrain.py does
    step, batch = make_variants(config, device, True)[bench.serve](), make_batch(config, bench, device)
    for line in sys.stdin:
        question, _, folder = line.strip().partition(" ")
        answer: dict | float
        if question == "losses":
            answer = {name: float(value) for name, value in step(batch).items()}
        elif question == "step":
            step(batch)  # not counted: warms up what idling and the others have cooled
            answer = seconds_of(lambda: step(batch), device)
        elif question == "flops":
            answer = count_flops(step, batch)
        elif question == "memory":
            answer = peak_memory(device)
        else:
            answer = run_whole(
                make_loaders(config, bench, device, Path(folder))[loader_of(bench.serve)], step, bench, device
            )
        if device == "cuda":
            torch.cuda.empty_cache()  # the others share the device
        print(json.dumps(answer), file=answers_to, flush=True)


def count_flops(step, batch: dict) -> int:
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        step(batch)
    return counter.get_total_flops()


def peak_memory(device: str) -> int:
    """Bytes: of the device, or of this process (VmHWM, not ru_maxrss: Linux hands the latter on from the parent)."""
    import torch

    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return 1024 * int(status["VmHWM"].split()[0])


def measure_step(bench, device: str, variants: dict) -> dict:
    """The model step of each variant: seconds, images a second, ratio to the baseline, peak memory, FLOPs."""
    first = {name: variant.ask("losses") for name, variant in variants.items()}
    times: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(bench.rounds):
        for name, variant in variants.items():
            times[name].append(variant.ask("step"))
    memory = {name: variant.ask("memory") for name, variant in variants.items()}
    flops = variants["float32"].ask("flops")
    peak = next((value for part, value in PEAKS.items() if part in device_name(device)), None)
    base, found = median(times["baseline, float32"]), {}
    for name, seconds in times.items():
        middle = median(seconds)
        found[name] = {
            "seconds": seconds,
            "images_per_second": bench.batch_size / middle,
            "time_over_baseline": middle / base,
            "peak_memory_bytes": memory[name],
            "model_flops_utilisation": flops / middle / peak if peak else None,
        }
    equal = max(abs(first["float32"][k] / v - 1) for k, v in first["baseline, float32"].items())
    return {"step": found, "step_flops": flops, "first_losses_relative_difference": equal}


def measure_views(bench, device: str) -> dict:
    """Both views of 64 faces: Pillow picture by picture and the batch, on one thread; the batch on the device too."""
    import numpy as np
    import torch

    from training.benchmarks.baseline import pillow_view
    from training.synthetic_faces import draw_faces
    from training.views import apply_views, draw_view, stack_views, view_generator

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
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    times = in_turn(functions, bench.rounds, "cpu")
    torch.set_num_threads(threads)
    if device == "cuda":
        times |= in_turn({"batched, on the device": by_batch("cuda")}, bench.rounds, device)
    return {"views": {name: {"images_per_second": 64 / median(seconds)} for name, seconds in times.items()}}


def loader_of(variant: str) -> str:
    return "baseline" if variant.startswith("baseline") else "stored pictures"


def make_loaders(config, bench, device: str, folder: Path) -> dict:
    """Name to a function that starts an epoch: the plain loader, ours, and ours from stored pictures."""
    from training.face_data import picture_faces
    from training.image_store import store_faces

    faces = picture_faces([folder / "faces"])
    stored = store_faces(faces, folder / "cache", 2 * bench.view_size, bench.num_workers)
    return {
        "baseline": lambda: plain_batches(faces, config, bench),
        "decoded every epoch": lambda: our_batches(faces, config, bench, device),
        "stored pictures": lambda: our_batches(stored, config, bench, device),
    }


def measure_loading_and_whole(config, bench, device: str, folder: Path, variants: dict) -> dict:
    """Loaders alone, then loader and step together in each variant's process."""
    from training.synthetic_faces import write_image_folder

    write_image_folder(folder / "faces", bench.num_images, seed=0, size=bench.image_side)
    loading = {
        name: {"images_per_second": bench.num_images / seconds_of(lambda m=make: sum(1 for _ in m()), device)}
        for name, make in make_loaders(config, bench, device, folder).items()
    }
    whole = {
        (name if loader_of(name) == "baseline" else f"{name}, {loader_of(name)}"): variant.ask(f"epoch {folder}")
        for name, variant in variants.items()
    }
    return {"loading": loading, "whole": whole}


def plain_batches(faces, config, bench):
    from modeling_simfle import SimFLEImageProcessor
    from training.benchmarks.baseline import plain_loader

    processor = SimFLEImageProcessor()
    yield from plain_loader(faces, processor, config, bench.view_size, bench.batch_size, bench.num_workers)


def our_batches(faces, config, bench, device: str):
    import torch
    from accelerate import Accelerator

    from modeling_simfle import SimFLEImageProcessor
    from training.face_data import DatasetArguments
    from training.pretrain import PretrainingArguments, make_feeder, make_sampler

    run = PretrainingArguments(view_size=bench.view_size, per_device_train_batch_size=bench.batch_size)
    run.num_train_epochs = 1
    accelerator = Accelerator(cpu=device == "cpu")
    sampler = make_sampler(accelerator, faces, run, 0)
    data = DatasetArguments(num_workers=bench.num_workers)
    feeder = make_feeder(accelerator, config, SimFLEImageProcessor(), faces, sampler, run, data)
    assert feeder.device.type == torch.device(device).type
    for _ in range(sampler.last_step):
        batch = feeder.next()
        yield batch["images"]
        feeder.prefetch()


def run_whole(make_batches, step, bench, device: str) -> dict:
    """An epoch: images a second after the first two steps, and the share of time spent waiting for batches."""
    batches, waited, done, started = iter(make_batches()), 0.0, 0, 0.0
    while True:
        asked = time.perf_counter()
        batch = next(batches, None)
        if batch is None:
            break
        if done >= 2:
            waited += time.perf_counter() - asked
        step(batch)
        done += 1
        if done == 2:
            synchronize(device)
            started = time.perf_counter()
    synchronize(device)
    seconds = time.perf_counter() - started
    return {"images_per_second": bench.batch_size * (done - 2) / seconds, "data_wait": waited / seconds}


def print_table(figures: dict) -> None:
    print(f"{figures['device']}; {json.dumps(figures['arguments'])}")
    for part in ("step", "views", "loading", "whole"):
        print(f"\n{part}")
        base = next(iter(figures[part].values()))["images_per_second"]
        for name, row in figures[part].items():
            line = f"  {name:<34}{row['images_per_second']:10.1f} images/s  x {row['images_per_second'] / base:5.2f}"
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

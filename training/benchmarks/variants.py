"""
The steps that bench.py compares: the plain one, and ours in float32 and bfloat16, eager and compiled. Each runs in a
process of its own.
"""

import contextlib
import json
import subprocess
import sys
import time
from pathlib import Path

from training.runtime.errors import RunError

BASELINE = "baseline, float32"
UNCOUNTED = 2  # the first steps of an epoch are slow: workers start and memory is allocated


def make_batch(config, bench, device: str) -> dict:
    """Random inputs with fixed group ids, so that every variant computes the same."""
    import torch

    generator = torch.Generator().manual_seed(0)
    sides = {"pixel_values": config.facemae_image_size} | {f"view_{i}_pixel_values": bench.view_size for i in (1, 2)}
    batch = {n: torch.randn(bench.batch_size, 3, side, side, generator=generator) for n, side in sides.items()}
    batch["group_ids"] = torch.randint(config.num_channel_groups, (bench.batch_size,), generator=generator)
    return {name: tensor.to(device) for name, tensor in batch.items()}


class FastStep:
    """One step as training/pretrain.py makes it. Losses stay on the device."""

    def __init__(self, config, device: str, precision: str, compiled: bool = False):
        import torch

        from training.pretraining.arguments import PretrainingArguments
        from training.pretraining.setup import make_model_and_optimizer

        self.model, self.optimizer = make_model_and_optimizer(config, None, PretrainingArguments())
        self.model.to(device)
        self.optimizer.load_state_dict(self.optimizer.state_dict())  # moves the momentum, as Accelerate does
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
    """Maps the name of each variant to a function that makes its step."""
    from training.benchmarks.baseline import PlainStep

    variants = {
        BASELINE: lambda: PlainStep(config, device),
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


class Variant:
    """A variant of the step in a process of its own, which answers one question a line. Use it in a `with` block."""

    def __init__(self, name: str, bench, folder: Path):
        flags = ["--model_config", folder, "--view_size", bench.view_size, "--batch_size", bench.batch_size]
        flags += ["--image_side", bench.image_side, "--num_images", bench.num_images, "--rounds", bench.rounds]
        flags += ["--num_workers", bench.num_workers, "--serve", name]
        command = [sys.executable, str(Path(__file__).with_name("bench.py")), *map(str, flags)]
        self.name = name
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        self.process.kill()
        self.process.communicate()

    def ask(self, question: str):
        self.process.stdin.write(question + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise RunError(f"the process of the variant {self.name!r} ended; see its message above.")
        return json.loads(answer)


def serve(config, bench, device: str) -> None:
    """Answers the questions of `Variant.ask`: losses, step, flops, memory, epoch FOLDER."""
    import torch

    from training.runtime.resources import keep_freed_memory

    answers_to, sys.stdout = sys.stdout, sys.stderr
    if not bench.serve.startswith("baseline"):
        keep_freed_memory()  # as pretrain.py does
    step, batch = make_variants(config, device, True)[bench.serve](), make_batch(config, bench, device)
    for line in sys.stdin:
        question, _, folder = line.strip().partition(" ")
        answer: dict | float
        if question == "losses":
            answer = {name: float(value) for name, value in step(batch).items()}
            reset_peak_memory(device)  # memory of starting and compiling does not count
        elif question == "step":
            step(batch)  # not counted: caches are cold after the other variant's step
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
    """Peak bytes of the device or of this process (VmHWM: a child inherits ru_maxrss from its parent)."""
    import torch

    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return 1024 * int(status["VmHWM"].split()[0])


def reset_peak_memory(device: str) -> None:
    """Starts the count of `peak_memory` anew. A kernel that cannot do so keeps the peak of the whole process."""
    import torch

    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def loader_of(variant: str) -> str:
    return "baseline" if variant.startswith("baseline") else "ours"


def make_loaders(config, bench, device: str, folder: Path) -> dict:
    """Maps a loader's name to a function that starts an epoch: the plain loader and ours."""
    from training.data.faces import image_faces

    faces = image_faces([folder / "faces"])
    return {
        "baseline": lambda: plain_batches(faces, config, bench),
        "ours": lambda: our_batches(faces, config, bench, device),
    }


def plain_batches(faces, config, bench):
    from modeling_simfle import SimFLEImageProcessor
    from training.benchmarks.baseline import plain_loader

    processor = SimFLEImageProcessor()
    yield from plain_loader(faces, processor, config, bench.view_size, bench.batch_size, bench.num_workers)


def our_batches(faces, config, bench, device: str):
    import torch
    from accelerate import Accelerator

    from modeling_simfle import SimFLEImageProcessor
    from training.pretraining.arguments import PretrainingArguments
    from training.pretraining.batches import make_feeder, make_sampler

    run = PretrainingArguments(view_size=bench.view_size, per_device_train_batch_size=bench.batch_size)
    run.num_train_epochs = 1
    accelerator = Accelerator(cpu=device == "cpu")
    sampler = make_sampler(accelerator, faces, run)
    feeder = make_feeder(accelerator, config, SimFLEImageProcessor(), faces, sampler, run, bench.num_workers)
    assert feeder.device.type == torch.device(device).type
    group_ids = make_batch(config, bench, device)["group_ids"]  # those of the timed step: no second compilation
    for _ in range(sampler.last_step):
        batch = feeder.next()
        yield batch["inputs"] | {"group_ids": group_ids}
        feeder.prefetch()


def run_whole(make_batches, step, bench, device: str) -> dict:
    """
    Runs an epoch, or its first steps (two a round). Returns images a second after the uncounted steps, and the share
    of time spent waiting for batches.
    """
    batches, waited, done, started = iter(make_batches()), 0.0, 0, 0.0
    while done < UNCOUNTED + 2 * bench.rounds:
        asked = time.perf_counter()
        batch = next(batches, None)
        if batch is None:
            break
        if done >= UNCOUNTED:
            waited += time.perf_counter() - asked
        step(batch)
        done += 1
        if done == UNCOUNTED:
            synchronize(device)
            started = time.perf_counter()
    synchronize(device)
    seconds = time.perf_counter() - started
    return {"images_per_second": bench.batch_size * (done - UNCOUNTED) / seconds, "data_wait": waited / seconds}

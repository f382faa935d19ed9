"""What all processes of a run must agree on at every step: whether to go on, and what to say when something breaks."""

import os
import signal
import sys
import time
from collections.abc import Iterable
from contextlib import contextmanager

import torch
from accelerate.utils import gather_object
from safetensors import SafetensorError

from training.data.images import BadImages
from training.runtime.errors import InputError


class StopRequest:
    """
    SIGTERM and SIGINT ask for a checkpoint and an orderly end; a second one ends at once.

    One that follows within SAME_REQUEST seconds is the same request: a launcher that gets the signal with its processes
    sends it on to them.
    """

    SAME_REQUEST = 10.0

    def __init__(self) -> None:
        self.signal: int | None = None
        self.since = 0.0
        self.previous: dict = {}

    def __enter__(self) -> "StopRequest":
        for number in (signal.SIGTERM, signal.SIGINT):
            self.previous[number] = signal.signal(number, self.note)
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, handler)

    def note(self, number: int, _) -> None:
        if self.signal is None:
            self.signal, self.since = number, time.monotonic()
            print(
                f"{signal.Signals(number).name}: saving a checkpoint after this step; another one, after"
                f" {self.SAME_REQUEST:.0f} seconds, ends at once"
            )
        elif time.monotonic() - self.since > self.SAME_REQUEST:
            os._exit(128 + number)


def gather_problems(problems: dict) -> dict:
    """The problems of all processes in each of them; every process must call it."""
    return {key: problem for part in gather_object([problems]) for key, problem in part.items()}


def any_process(accelerator, *flags: bool) -> list[bool]:
    """Of each flag, whether any process raises it: one answer for all, which every process must ask for."""
    if accelerator.num_processes == 1:
        return list(flags)
    raised = torch.tensor(flags, dtype=torch.float32, device=accelerator.device)
    torch.distributed.all_reduce(raised, torch.distributed.ReduceOp.MAX)
    return [value > 0 for value in raised.tolist()]


def check_same_step(accelerator, step: int) -> None:
    """Raises ValueError in every process: they go on from different steps, each from what its own disk has."""
    steps = gather_object([step])
    if len(set(steps)) > 1:
        raise InputError(
            f"the processes would go on from different steps ({', '.join(map(str, steps))}); --output_dir must be a"
            " folder that all machines share."
        )


class StepGuard:
    """
    One small sum over all processes a step: losses that are not finite, stop requests, unreadable pictures.

    On the CPU the answer is there at once. On an accelerator nobody waits for it: the update itself is skipped on the
    device where a loss is not finite (`found_inf` of torch's fused optimisers), and the host learns of it one step
    later, before anything is saved.

    Args:
        accelerator: Accelerate's. optimizer: fused. limit: --max_bad_images. bad_images: known before, see BadImages.
        streamed: whether pictures have no row to be known by; they are by what is said of them.
    """

    def __init__(self, accelerator, optimizer, limit: int, bad_images: Iterable = (), streamed: bool = False):
        self.accelerator, self.optimizer = accelerator, getattr(optimizer, "optimizer", optimizer)
        self.bad_images, self.stop = BadImages(limit, bad_images, accelerator.is_main_process), False
        self.pending: tuple | None = None
        self.streamed = streamed
        self.scales_gradients = accelerator.mixed_precision == "fp16"  # its scaler skips updates itself

    def check(
        self, losses: torch.Tensor, gradient_norm: torch.Tensor, problems: list[str], indices: list[int], stop: bool
    ) -> None:
        """
        Before the update. Raises ValueError in every process: a loss that is not finite, or too many bad images.

        Args:
            losses: of this process's micro-batches, any shape. gradient_norm: of the update, alike in all processes.
            problems: of the pictures, "" if none. indices: the pictures. stop: whether this process was asked to.
        """
        keys = problems if self.streamed else indices
        fresh = self.bad_images.fresh({key: problem for key, problem in zip(keys, problems, strict=True) if problem})
        broken = (~losses.isfinite()).any()
        overflows = gradient_norm.isfinite().logical_not() if not self.scales_gradients else torch.zeros_like(broken)
        known = (float(stop), float(len(fresh)))
        flags = torch.stack([broken.float(), overflows.float(), *(losses.new_full((), x).float() for x in known)])
        if self.accelerator.num_processes > 1:
            torch.distributed.all_reduce(flags)
        if flags.device.type != "cuda":
            self.read(flags, broken, indices, fresh)
            return
        if not self.scales_gradients:
            self.optimizer.found_inf = flags[:2].sum(0, keepdim=True).clamp(max=1)
        self.settle()
        ready = torch.cuda.Event()
        copies = [tensor.to("cpu", non_blocking=True) for tensor in (flags, broken)]
        ready.record()
        self.pending = (ready, *copies, indices, fresh)

    def settle(self) -> None:
        """Reads the last step's answer; called before anything is saved."""
        if self.pending is not None:
            ready, flags, broken, indices, fresh = self.pending
            self.pending = None
            ready.synchronize()
            self.read(flags, broken, indices, fresh)

    def read(self, flags: torch.Tensor, broken: torch.Tensor, indices: list[int], fresh: dict) -> None:
        num_broken, overflows, num_stops, num_bad = (int(value) for value in flags.tolist())
        self.stop = self.stop or num_stops > 0
        if num_broken:
            if broken:
                print(f"the loss of images {indices} is not finite", file=sys.stderr)
            raise InputError(
                f"the loss is not finite in {num_broken} of {self.accelerator.num_processes} processes; nothing was"
                " updated, and the last checkpoint stands. Lower --base_learning_rate, or look at the images named."
            )
        if overflows:
            raise InputError(
                f"the gradient of the loss of images {indices} is not finite; nothing was updated, and the last"
                " checkpoint stands. Lower --base_learning_rate."
            )
        if num_bad:  # in any process, so that all are here
            self.bad_images.add(gather_problems(fresh))


# What fetching a batch raises when its worker dies while handing it over.
WORKER_ERRORS = (ConnectionResetError, ConnectionRefusedError, EOFError)


def describe_breakdown(error: BaseException) -> str | None:
    """One sentence for what breaks a run from outside: a dead worker, another process, a full disk. None: a bug."""
    text = " ".join(str(error).split())
    lost_worker = isinstance(error, WORKER_ERRORS)
    if lost_worker or "DataLoader worker" in text or "DataLoader timed out" in text:
        return f"a data worker died or hung ({text[:200]}); the last checkpoint stands"
    if isinstance(error, SafetensorError):
        return f"a checkpoint could not be written ({text[:200]}); the last one stands"
    words = ("gloo", "Timed out", "timed out", "Connection", "NCCL", "ProcessGroup", "Broken pipe")
    if isinstance(error, RuntimeError) and any(word in text for word in words):
        return f"another process of the run died or did not answer in time ({text[:200]}); the last checkpoint stands"
    return None


@contextmanager
def breakdown_in_a_sentence():
    """What breaks a run from outside becomes a ValueError with `describe_breakdown`'s sentence."""
    try:
        yield
    except (RuntimeError, SafetensorError, *WORKER_ERRORS) as error:
        sentence = describe_breakdown(error)
        if sentence is None:
            raise
        raise InputError(sentence) from error

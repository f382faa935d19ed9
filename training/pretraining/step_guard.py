"""The agreement of all processes before each update of pretraining: go on, stop, or break off."""

import sys
from collections.abc import Iterable

import torch

from training.data.images import BadImages
from training.runtime.errors import RunError
from training.runtime.processes import gather_problems


class StepGuard:
    """
    One small sum over all processes a step: losses that are not finite, stop requests, unreadable images.

    On the CPU the host reads the sum in the same step. On an accelerator it does not wait: the device skips the update
    if a loss is not finite (`found_inf` of torch's fused optimisers), and the host reads the sum one step later, and
    always before anything is saved.

    Args:
        accelerator: Accelerate's. optimizer: fused. limit: --max_bad_images. bad_images: known before, see BadImages.
    """

    def __init__(self, accelerator, optimizer, limit: int, bad_images: Iterable = ()):
        self.accelerator, self.optimizer = accelerator, getattr(optimizer, "optimizer", optimizer)
        self.bad_images, self.stop = BadImages(limit, bad_images, accelerator.is_main_process), False
        self.pending: tuple | None = None
        self.scales_gradients = accelerator.mixed_precision == "fp16"  # its scaler skips updates itself

    def check(
        self, losses: torch.Tensor, gradient_norm: torch.Tensor, problems: list[str], indices: list[int], stop: bool
    ) -> None:
        """
        Called before the update. Raises in every process: RunError for a loss that is not finite, BadImage for too
        many bad images.

        Args:
            losses: of this process's micro-batches, any shape. gradient_norm: of the update, alike in all processes.
            problems: of the images, "" if none. indices: the images. stop: whether this process was asked to.
        """
        fresh = self.bad_images.fresh({key: text for key, text in zip(indices, problems, strict=True) if text})
        broken = (~losses.isfinite()).any()
        overflows = gradient_norm.isfinite().logical_not() if not self.scales_gradients else torch.zeros_like(broken)
        host_flags = (float(stop), float(len(fresh)))
        flags = torch.stack([broken.float(), overflows.float(), *(losses.new_full((), x).float() for x in host_flags)])
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
        if broken:
            print(f"the loss of images {indices} is not finite", file=sys.stderr)
        if num_broken or overflows:
            fault = f"loss is not finite in {num_broken} of {self.accelerator.num_processes} processes"
            if not num_broken:
                fault = f"gradient of the loss of images {indices} is not finite"
            raise RunError(
                f"the {fault}; nothing was updated, and the last checkpoint stands. Lower --base_learning_rate, or look"
                " at the images named."
            )
        if num_bad:  # in any process, so that all are here
            self.bad_images.add(gather_problems(fresh))

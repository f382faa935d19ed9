# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""A process of several: runs training/pretrain.py's main with one fault built in. child.py FAULT FLAGS..."""

import os
import signal
import sys
import time

import psutil
import torch

from training import pretrain
from training.pretraining import loop as pretraining_loop
from training.runtime.arguments import run_main

RANK = int(os.environ["RANK"])
assert int(os.environ["WORLD_SIZE"]) == 2, "this child refuses to pass alone"


def main() -> int | None:
    fault, *flags = sys.argv[1:]
    if fault == "own_disk" and RANK == 1:
        flags[flags.index("--output_dir") + 1] += "_on_another_machine"
    step = pretraining_loop.PretrainingLoop.step

    def faulty_step(self, number, request):
        if RANK == 1 and number == 3:
            if fault == "not_finite":  # one rank alone
                image = self.model.register_forward_hook(lambda m, i, o: o.__setitem__("loss", o.loss * torch.nan))
                self.faulty = image
            elif fault == "hang":
                time.sleep(600)
            elif fault == "die":
                os._exit(9)
            elif fault == "sigterm":
                os.kill(os.getpid(), signal.SIGTERM)
            elif fault.startswith(
                "everybody_"
            ):  # as Slurm and Ctrl-C do: the launcher, which sends it on, and both ranks
                launcher = psutil.Process(os.getppid())
                for process in [*launcher.children(), launcher]:
                    process.send_signal(signal.Signals[fault.removeprefix("everybody_")])
        step(self, number, request)

    pretraining_loop.PretrainingLoop.step = faulty_step
    return pretrain.main(flags)


if __name__ == "__main__":
    run_main("pretrain", main)

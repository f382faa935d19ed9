# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""Runs training/pretrain.py's main with one fault at its third step. child.py FAULT FLAGS..."""

import os
import resource
import shutil
import signal
import sys
import time
from pathlib import Path

from training import pretrain
from training.pretraining import batches as pretraining_data
from training.pretraining import loop as pretraining_loop
from training.runtime.arguments import run_main


def main() -> int | None:
    fault, *flags = sys.argv[1:]
    folder = Path(flags[flags.index("--output_dir") + 1])
    step = pretraining_loop.PretrainingLoop.step

    def faulty_step(self, number, request):
        if number == 3:
            if fault == "full_disk":  # files may grow no further than a checkpoint's weights need
                resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
            elif fault == "full_disk_for_logs":
                resource.setrlimit(resource.RLIMIT_FSIZE, (900, 900))
            elif fault == "vanished":
                shutil.rmtree(folder)
            elif fault == "dead_worker":
                for worker in self.feeder.batches._workers:
                    os.kill(worker.pid, signal.SIGKILL)
            elif fault == "not_finite":
                self.model.register_forward_hook(lambda m, i, o: o.__setitem__("loss", o.loss * float("inf")))
            elif fault == "gradient":
                self.bare_model.projector.output.bias.register_hook(lambda gradient: gradient * float("nan"))
            elif fault == "group_SIGTERM":
                for pid in [worker.pid for worker in self.feeder.batches._workers] + [os.getpid()]:
                    os.kill(pid, signal.SIGTERM)
            elif fault in ("SIGTERM", "SIGINT", "SIGKILL"):
                os.kill(os.getpid(), getattr(signal, fault))
        step(self, number, request)

    fetch = pretraining_data.PretrainingSet.__getitems__

    def stuck_fetch(self, keys):
        self.fetched = getattr(self, "fetched", 0) + 1
        if self.fetched == 3:
            time.sleep(600)
        return fetch(self, keys)

    if fault == "hung_worker":
        pretraining_data.PretrainingSet.__getitems__ = stuck_fetch
    pretraining_loop.PretrainingLoop.step = faulty_step
    return pretrain.main(flags)


if __name__ == "__main__":
    run_main("pretrain", main)

# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""Runs training/finetune.py's main with one fault in its second epoch. finetune_child.py FAULT FLAGS..."""

import itertools
import os
import resource
import signal
import sys

from training import finetune
from training.finetuning import loop as fine_tuning_loop
from training.runtime import training_run
from training.runtime.arguments import run_main


def main() -> int | None:
    fault, *flags = sys.argv[1:]
    make_loader, save = fine_tuning_loop.make_epoch_loader, training_run.save_checkpoint
    loaders, saves = itertools.count(1), itertools.count(1)  # one of each an epoch

    def faulty_loader(*arguments):
        loader, is_second = make_loader(*arguments), next(loaders) == 2
        return dying_batches(iter(loader)) if fault == "dead_worker" and is_second else loader

    def dying_batches(batches):
        yield next(batches)
        for worker in batches._workers:
            os.kill(worker.pid, signal.SIGKILL)
        yield from batches

    def faulty_save(*arguments):
        if next(saves) == 2 and fault == "full_disk":  # files may grow no further than a part of a checkpoint's weights
            resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
        save(*arguments)

    fine_tuning_loop.make_epoch_loader, training_run.save_checkpoint = faulty_loader, faulty_save
    return finetune.main(flags)


if __name__ == "__main__":
    run_main("finetune", main)

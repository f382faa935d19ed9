"""
Signals, data workers, and what all processes of a run must agree on.

Only light imports at the top: a script must answer `--help` and bad flags before torch is imported.
"""

import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from contextlib import suppress

from training.runtime.errors import InputError


class StopRequest:
    """
    SIGTERM and SIGINT ask for a checkpoint and an orderly end; a second signal ends the process at once.

    A signal within SAME_REQUEST seconds of the first is the same request: a launcher that receives a signal together
    with its processes sends it on to them. Outside the main thread no signal can be handled, and none is.
    """

    SAME_REQUEST = 10.0
    STOPPING = (signal.SIGTERM, signal.SIGINT)

    def __init__(self) -> None:
        self.signal: int | None = None
        self.since = 0.0
        self.previous: dict = {}
        self.left = threading.Event()
        self.ends: tuple[socket.socket, ...] = ()

    def __enter__(self) -> "StopRequest":
        with suppress(ValueError):  # not in the main thread
            for number in self.STOPPING:
                self.previous[number] = signal.signal(number, self.note)
            if int(os.environ.get("WORLD_SIZE", 1)) > 1:
                self.ends = socket.socketpair()
                self.ends[1].setblocking(False)
                signal.set_wakeup_fd(self.ends[1].fileno(), warn_on_full_buffer=False)
                self.watcher = threading.Thread(target=self.watch, daemon=True)
                self.watcher.start()
        return self

    def __exit__(self, *_) -> None:
        self.left.set()
        for number, handler in self.previous.items():
            signal.signal(number, handler)
        if self.ends:
            signal.set_wakeup_fd(-1)
            self.ends[1].close()

    def watch(self) -> None:
        """
        Tells in a sentence that a step does not end after a signal, before the launcher kills this process.

        A process that waits in torch's communication cannot run Python's signal handlers. A launcher that was asked to
        stop sends SIGTERM, and SIGKILL at the end of its shutdown time.
        """
        with self.ends[0] as end:
            while (number := end.recv(1)) and number[0] not in self.STOPPING:
                continue
            patience = float(os.environ.get("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", 30)) * 0.8
            if number and not self.left.wait(patience):
                print(
                    f"{signal.Signals(number[0]).name} came {patience:.0f} seconds ago, and the step has not ended;"
                    " does another process not answer? If the launcher ends this process, the last checkpoint stands.",
                    file=sys.stderr,
                )
            self.left.wait()  # further signals are written to the open end

    def note(self, number: int, _) -> None:
        if self.signal is None:
            self.signal, self.since = number, time.monotonic()
            print(
                f"{signal.Signals(number).name}: saving a checkpoint after this step; another one, after"
                f" {self.SAME_REQUEST:.0f} seconds, ends at once"
            )
        elif time.monotonic() - self.since > self.SAME_REQUEST:
            os._exit(128 + number)


def ignore_stop_signals(_) -> None:
    """Makes a data worker ignore stop signals: the training process answers them, and ends its workers."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def end_workers() -> bool:
    """
    Kills the data workers.

    Python would wait for a hung worker at its end. After a worker's death, torch's handler of SIGCHLD would raise an
    error late, inside unrelated code.

    Returns:
        Whether a worker outlives the kill, as in a call of a disk or network that does not return.
    """
    previous = signal.getsignal(signal.SIGCHLD) or signal.SIG_DFL
    with suppress(RuntimeError):  # of a worker whose death the handler has not told yet
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    workers = multiprocessing.active_children()
    for worker in workers:
        worker.kill()
    for worker in workers:
        worker.join(5)
    signal.signal(signal.SIGCHLD, previous)
    return any(worker.is_alive() for worker in workers)


def leave(status: int, at_once: bool = False) -> None:
    """
    Ends this process, which was started as a script, with a status.

    A process of several leaves at once, without Python's clean-up: destroying a gloo group (torch 2.13) holds the GIL
    and waits for a thread that may want it, so a process could wait for ever at its end.

    Args:
        at_once: whether clean-up would wait for something else.
    """
    if at_once or int(os.environ.get("WORLD_SIZE", 1)) > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    if status:
        sys.exit(status)


def gather_problems(problems: dict) -> dict:
    """Returns the problems of all processes in each of them; every process must call it."""
    from accelerate.utils import gather_object

    return {key: problem for part in gather_object([problems]) for key, problem in part.items()}


def from_main_process(make):
    """Returns to every process what `make` returns in the main process alone; its InputError is raised in all."""
    from accelerate import PartialState
    from accelerate.utils import broadcast_object_list

    made: list = [None, None]
    if PartialState().is_main_process:
        try:
            made[0] = make()
        except InputError as error:
            made[1] = error
    made = broadcast_object_list(made)
    if made[1] is not None:
        raise made[1]
    return made[0]


def any_process(accelerator, *flags: bool) -> list[bool]:
    """Returns, for each flag, whether any process raises it; every process must call it."""
    if accelerator.num_processes == 1:
        return list(flags)
    import torch

    raised = torch.tensor(flags, dtype=torch.float32, device=accelerator.device)
    torch.distributed.all_reduce(raised, torch.distributed.ReduceOp.MAX)
    return [value > 0 for value in raised.tolist()]


def check_same_step(step: int) -> None:
    """Raises InputError in every process when the processes would go on from different steps of their own disks."""
    from accelerate.utils import gather_object

    steps = gather_object([step])
    if len(set(steps)) > 1:
        raise InputError(
            f"the processes would go on from different steps ({', '.join(map(str, steps))}); --output_dir must be a"
            " folder that all machines share."
        )

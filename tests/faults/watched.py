# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""
Runs one trial after the other in a forked child that may not take more than 2 GB, not take more than 20 s, run no other
program, unpickle no class, reach no network, and write no file outside of the folders that it is given.

A child that dies or hangs is one fault; a new child goes on with the next trial.
"""

import json
import os
import re
import resource
import select
import signal
import sys
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path

MEMORY = 2 << 30  # bytes
PROCESSOR_SECONDS = 20
ANSWER_SECONDS = 600  # a bound on a child that waits for something
ENDS = {
    -signal.SIGPROF: f"took {PROCESSOR_SECONDS} seconds of the processor",
    -signal.SIGKILL: f"gave no answer in {ANSWER_SECONDS} seconds, or was killed",
}
PROGRAMS = ("os.system", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty", "subprocess.Popen", "os.startfile")
OUTSIDE = ("socket.connect", "socket.getaddrinfo", "socket.sendto", "urllib.Request")
CHANGES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Watch:
    """Notes what a trial does that it must not, by Python's audit events. Such a hook stays until the process ends."""

    def __init__(self, writable: Iterable[Path]):
        self.writable = tuple(os.path.realpath(folder) + os.sep for folder in writable)
        self.is_on, self.seen = False, ""
        sys.addaudithook(self.note)

    def note(self, event: str, arguments: tuple) -> None:
        if not self.is_on or self.seen:
            return
        if event in PROGRAMS or event in OUTSIDE or event == "pickle.find_class":
            self.seen = f"{event} {arguments!r:.300}"
        elif event == "open":
            path, mode, flags = arguments
            if (flags or 0) & WRITING or (isinstance(mode, str) and set(mode) & set("wax+")):
                self.check(event, path)
        elif event in CHANGES:
            for path in arguments[: 2 if event in ("os.rename", "os.link", "os.symlink") else 1]:
                self.check(event, path)

    def check(self, event: str, path) -> None:
        if isinstance(path, str | bytes | os.PathLike):
            name = os.path.realpath(os.fsdecode(path))
            if event in ("os.remove", "os.rmdir") and not os.path.lexists(path):
                return  # datasets 5.2 removes parts of a table from the working folder that it has not written
            if name != os.devnull and not (name + os.sep).startswith(self.writable):
                self.seen = f"{event} {name}"


def run_trials(
    numbers: Iterable[int], prepare: Callable[[], Callable[[int], Callable[[], str]]], writable: list[Path]
) -> list[dict]:
    """
    Args:
        prepare: called in each child. prepare()(number) lays a trial out, prepare()(number)() runs it: "" or the fault.
    Returns:
        {"number", "fault"} of each fault.
    """
    waiting, faults = list(numbers), []
    while waiting:
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            try:
                run_child(waiting, prepare, writable, writing)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(1)
        os.close(writing)
        started, is_done, told = follow(child, reading)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        faults += told
        if is_done:
            break
        if started is None:
            raise RuntimeError("the child ended before its first trial; its traceback is above")
        faults.append({"number": started, "fault": ENDS.get(status, f"the process ended with {status}")})
        waiting = waiting[waiting.index(started) + 1 :]
    return faults


def follow(child: int, reading: int) -> tuple[int | None, bool, list[dict]]:
    """The trial that a child began last, whether it has done all, and the faults that it told, once it has ended."""
    started, is_done, told, text = None, False, [], b""
    while True:
        ready, _, _ = select.select([reading], [], [], ANSWER_SECONDS)
        if not ready:
            os.kill(child, signal.SIGKILL)
        block = os.read(reading, 1 << 16) if ready else b""
        if not block:
            os.close(reading)
            return started, is_done, told
        *lines, text = (text + block).split(b"\n")
        for line in map(json.loads, lines):
            if line == "done":
                is_done = True
            elif isinstance(line, int):
                started = line
            else:
                told.append(line)


def run_child(numbers, prepare, writable, writing: int) -> None:
    """Runs the trials and tells of each through the pipe."""
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    lay, watch = prepare(), Watch(writable)

    def tell(what) -> None:
        os.write(writing, json.dumps(what).encode() + b"\n")

    for number in numbers:
        tell(number)
        trial = lay(number)
        soft = data_size() + MEMORY
        resource.setrlimit(resource.RLIMIT_DATA, (soft, resource.RLIM_INFINITY))
        signal.setitimer(signal.ITIMER_PROF, PROCESSOR_SECONDS)
        watch.is_on, watch.seen = True, ""
        try:
            fault = trial()
        finally:
            watch.is_on = False
            signal.setitimer(signal.ITIMER_PROF, 0)
        if fault or watch.seen:
            tell({"number": number, "fault": watch.seen or fault})
    tell("done")


def data_size() -> int:
    """Bytes of this process that RLIMIT_DATA counts: its heap and private memory."""
    return int(re.search(r"VmData:\s+(\d+)", Path("/proc/self/status").read_text())[1]) << 10

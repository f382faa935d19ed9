# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""
Starts Python programs by a fork of a process that has imported torch, SciPy and their like: seconds less a program.

`forking_python()` gives an executable that is called as python is: with a script, -c or -m, in any environment and
folder. The program is a process of its own. It has neither pytest nor this package, nor any library that reads the
Hub's variables when it is imported (transformers, huggingface_hub, datasets). The executable passes signals on, and
ends as the program does. When the executable is killed, the program is killed soon after: a test that needs to know
when the program is gone starts sys.executable.
"""

import atexit
import functools
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from types import ModuleType

PRELOADED = (
    *("torch", "torch._dynamo.aot_compile", "torch.distributed.run", "torch.distributed.tensor", "torch.utils.data"),
    *("torch.fx.experimental.symbolic_shapes", "torch.nn.parallel", "PIL.Image", "scipy.optimize", "sklearn.metrics"),
    *("pandas", "pyarrow.parquet"),
)
# -I -S: nothing of the caller's environment, no site-packages. Whatever is no script, -c or -m goes to python itself.
EXECUTABLE = """#!/bin/sh
exec '{python}' -I -S '{file}' --client '{address}' "$@"
"""


@functools.cache
def forking_python() -> str:
    """Path of the executable. The server starts at the first call, and ends with this process."""
    folder = tempfile.TemporaryDirectory(prefix="simfle_fork_")
    address, executable = Path(folder.name) / "socket", Path(folder.name) / "python"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(address))
    listener.listen(64)
    command = [sys.executable, __file__, "--server", str(listener.fileno()), str(executable)]
    server = subprocess.Popen(
        command, stdin=subprocess.PIPE, pass_fds=[listener.fileno()], cwd=folder.name, start_new_session=True
    )
    listener.close()
    executable.write_text(EXECUTABLE.format(python=sys.executable, file=__file__, address=address))
    executable.chmod(0o755)

    def end():
        server.terminate()
        server.wait()
        folder.cleanup()

    atexit.register(end)
    return str(executable)


# ---------------------------------------------------------------------------------------------------------------------
# The executable
# ---------------------------------------------------------------------------------------------------------------------


def run_client(address: str, arguments: list[str]) -> None:
    """Has the server fork, passes signals on, and ends as the program does."""
    if not arguments or (arguments[0].startswith("-") and arguments[0] not in ("-c", "-m", "-u")):
        os.execv(sys.executable, [sys.executable, *arguments])
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(address)
    request = json.dumps({"arguments": arguments, "environment": dict(os.environ), "folder": os.getcwd()}).encode()
    socket.send_fds(connection, [len(request).to_bytes(8, "little")], [0, 1, 2])
    connection.sendall(request)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, lambda number, frame: connection.sendall(bytes([number])))
    answer = connection.recv(4)
    status = int.from_bytes(answer, "little", signed=True) if answer else 1  # no answer: the server has died
    if status < 0:  # the program ended by a signal
        if status != -signal.SIGKILL:
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status)


# ---------------------------------------------------------------------------------------------------------------------
# The server
# ---------------------------------------------------------------------------------------------------------------------


def serve(listener: socket.socket) -> dict:
    """Forks for each request. Returns in the forked program alone, with what it is to run."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the watchers
    while True:
        ready, _, _ = select.select([listener, sys.stdin], [], [])
        if sys.stdin in ready:  # closed: the tests have ended
            os._exit(0)
        connection, _ = listener.accept()
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            listener.close()
            return watch(connection)
        connection.close()


def watch(connection: socket.socket) -> dict:
    """Forks the program; in its parent passes signals on until it ends, and reports its status."""
    size, descriptors, _, _ = socket.recv_fds(connection, 8, 3)
    request, missing = b"", int.from_bytes(size, "little")
    while len(request) < missing:
        request += connection.recv(missing - len(request))
    program = os.fork()
    if program == 0:
        connection.close()
        os.setsid()
        for target, descriptor in enumerate(descriptors):
            os.dup2(descriptor, target)
            os.close(descriptor)
        return json.loads(request)
    for descriptor in (*descriptors, 0, 1, 2):
        os.close(descriptor)
    ended = os.pidfd_open(program)
    while True:
        ready, _, _ = select.select([connection, ended], [], [])
        if ended in ready:
            break
        for number in connection.recv(64) or [signal.SIGKILL]:
            os.kill(program, number)
    _, status = os.waitpid(program, 0)
    connection.sendall(os.waitstatus_to_exitcode(status).to_bytes(4, "little", signed=True))
    os._exit(0)


def run_program(request: dict, executable: str) -> None:
    """As python starts one."""
    unbuffered = request["arguments"][0] == "-u"
    arguments = request["arguments"][unbuffered:]
    # The server's own streams were made for other files, some of which can be sought.
    sys.stdin = sys.__stdin__ = open(0, closefd=False)  # noqa: SIM115
    sys.stdout = sys.__stdout__ = open(1, "w", 1 if unbuffered else -1, closefd=False)  # noqa: SIM115
    sys.stderr = sys.__stderr__ = open(2, "w", 1, errors="backslashreplace", closefd=False)  # noqa: SIM115
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.executable = executable  # its own children fork as well
    kind = arguments[0]
    first = "" if kind == "-c" else os.getcwd() if kind == "-m" else str(Path(kind).resolve().parent)
    sys.path[:0] = [first, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    sys.argv = ["-c", *arguments[2:]] if kind == "-c" else arguments[kind == "-m" :]
    if kind == "-c":
        sys.modules["__main__"] = main = ModuleType("__main__")
        exec(compile(arguments[1], "<string>", "exec"), vars(main))
    elif kind == "-m":
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(kind, run_name="__main__")


if __name__ == "__main__":
    if sys.argv[1] == "--client":
        run_client(sys.argv[2], sys.argv[3:])
    server_socket = socket.socket(fileno=int(sys.argv[2]))
    forking_executable = sys.argv[3]
    sys.path.pop(0)  # this file's folder
    for preloaded in PRELOADED:
        importlib.import_module(preloaded)
    gc.freeze()
    run_program(serve(server_socket), forking_executable)

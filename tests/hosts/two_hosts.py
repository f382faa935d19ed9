# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""
Two hosts on one machine: network namespaces that one cable joins, each with a host name of its own.

Both hosts have names and addresses that nothing outside of them sees; the machine's own network stays as it is.
"""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.new_process import ROOT

CABLE = "veth0"  # the name of each host's end
LONGEST_WAIT = 600  # seconds; bounds a hang
ADDRESSES = {"first": "10.77.0.1", "second": "10.77.0.2"}


def wait_for(condition: Callable[[], bool], describe: Callable[[], str]) -> None:
    """Waits for a state; describe: what the failure shows if it never comes."""
    end = time.monotonic() + LONGEST_WAIT
    while not condition():
        assert time.monotonic() < end, describe()
        time.sleep(0.02)


def skip_without_namespaces() -> None:
    """Skips the test where no hosts can be made."""
    if os.geteuid() != 0:
        pytest.skip("not root: network namespaces are root's")
    if subprocess.run(["unshare", "--net", "--uts", "--mount", "true"], capture_output=True).returncode != 0:
        pytest.skip("not root enough: this container allows no network namespaces")
    if not (shutil.which("ip") and shutil.which("tc")):
        pytest.skip("no iproute2: apt-get install iproute2")


def ip(*words) -> str:
    """Output of iproute2's `ip`."""
    return subprocess.run(["ip", *map(str, words)], check=True, capture_output=True, text=True).stdout


class Host:
    """
    A host: its network, its name, and what was started on it.

    Args:
        name: one of ADDRESSES. folder: of its log and of the file of host names.
    """

    def __init__(self, name: str, folder: Path):
        self.name, self.folder, self.log = name, folder, folder / f"{name}.log"
        self.namespace = f"simfle-{os.getpid()}-{name}"
        self.launcher: subprocess.Popen | None = None
        self.log.touch()
        ip("netns", "add", self.namespace)

    def entered(self) -> list[str]:
        """What runs the command after it in the host's network (`ip netns exec` would hide /sys/fs/cgroup too)."""
        return ["nsenter", f"--net=/run/netns/{self.namespace}"]

    def start(self, words: list, folder: Path = ROOT, **environment) -> None:
        """Starts a command in a folder; its output is added to the log."""
        names = self.folder / "hosts"
        names.write_text("127.0.0.1 localhost\n" + "".join(f"{ip} {name}\n" for name, ip in ADDRESSES.items()))
        command = f"hostname {self.name} && mount --bind {shlex.quote(str(names))} /etc/hosts && exec "
        command += shlex.join(map(str, words))
        inside = [*self.entered(), "unshare", "--uts", "--mount", "sh", "-c", command]
        inherited = {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(folder)}
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        with open(self.log, "a") as log:
            self.launcher = subprocess.Popen(
                inside,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=folder,
                env={**os.environ, **inherited, "PATH": path, **environment},
            )

    def printed(self) -> str:
        return self.log.read_text(errors="replace")

    def processes(self) -> list[int]:
        """Of all that runs on the host."""
        return [int(word) for word in ip("netns", "pids", self.namespace).split()]

    def signal_all(self, number: signal.Signals) -> None:
        for process in self.processes():
            try:
                os.kill(process, number)
            except ProcessLookupError:  # it has just ended
                continue

    def kill(self) -> None:
        """As a lost power line: every process at once."""
        while self.processes():
            self.signal_all(signal.SIGKILL)
            time.sleep(0.02)
        if self.launcher is not None:
            self.launcher.wait()

    def ended(self) -> bool:
        return self.launcher.poll() is not None

    def set_cable(self, state: str) -> None:
        """state: "up" or "down"."""
        ip("-n", self.namespace, "link", "set", CABLE, state)

    def limit(self, *discipline: str) -> bool:
        """Makes what the host sends pass through a queueing discipline of `tc`; False where the kernel lacks it."""
        command = ["tc", "-n", self.namespace, "qdisc", "replace", "dev", CABLE, "root", *discipline]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0 or "qdisc kind is unknown" in done.stderr, done.stderr
        return done.returncode == 0


class TwoHosts:
    """Two hosts and the cable between them, for a `with`."""

    def __init__(self, folder: Path):
        self.folder, self.first, self.second = folder, None, None

    def __enter__(self) -> "TwoHosts":
        try:
            self.first, self.second = (Host(name, self.folder) for name in ADDRESSES)
            ends = [("netns", host.namespace) for host in self]
            ip("link", "add", CABLE, *ends[0], "type", "veth", "peer", "name", CABLE, *ends[1])
            for host in self:
                ip("-n", host.namespace, "addr", "add", f"{ADDRESSES[host.name]}/24", "dev", CABLE)
                ip("-n", host.namespace, "link", "set", "lo", "up")
                host.set_cable("up")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __iter__(self):
        return iter([host for host in (self.first, self.second) if host is not None])

    def __exit__(self, *_) -> None:
        for host in self:
            host.kill()
            ip("netns", "del", host.namespace)

    def printed(self) -> str:
        return "\n".join(f"--- {host.name}\n{host.printed()[-6000:]}" for host in self)

    def wait_for(self, condition: Callable[[], bool], describe: Callable[[], str] | None = None) -> None:
        wait_for(condition, describe or self.printed)

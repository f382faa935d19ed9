# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""A Slurm cluster of two nodes, each on a host of its own (two_hosts.py)."""

import os
import shutil
import subprocess

import pytest

from tests.hosts.two_hosts import ADDRESSES, Host, TwoHosts

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol", "scancel")
CONFIG = """
ClusterName=simfle
SlurmctldHost=first(10.77.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
SlurmdParameters=config_overrides
KillWait=120
NodeName=first NodeAddr=10.77.0.1 CPUs=1
NodeName=second NodeAddr=10.77.0.2 CPUs=1
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def skip_without_slurm() -> None:
    os.environ["PATH"] += ":/usr/sbin"
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        pytest.skip(f"no Slurm: apt-get install slurm-wlm munge ({missing[0]} is missing)")


class Cluster(TwoHosts):
    """Two hosts with Slurm's daemons, for a `with`. Its commands run on the first."""

    def __enter__(self) -> "Cluster":
        super().__enter__()
        try:
            self.start_daemons()
        except BaseException:
            self.__exit__()
            raise
        return self

    def start_daemons(self) -> None:
        folder = self.folder
        for name in ("state", *(f"spool-{name}" for name in ADDRESSES)):
            (folder / name).mkdir()
        self.config = folder / "slurm.conf"
        self.config.write_text(CONFIG.format(folder=folder))
        key = folder / "munge.key-file"
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)
        kinds = ("socket", "key-file", "pid-file", "log-file", "seed-file")
        files = [f"--{kind}={folder}/munge.{kind}" for kind in kinds]
        self.start(self.first, "munged", "--foreground", "--force", *files)
        self.wait_for((folder / "munge.socket").exists)
        self.start(self.first, "slurmctld", "-D")
        for host in self:
            self.start(host, "slurmd", "-D", "-N", host.name)
        self.wait_for(lambda: self.command("sinfo", "-h", "-o", "%T %D") == "idle 2", self.daemon_logs)

    def daemon_logs(self) -> str:
        return "\n".join(f"--- {log.name}\n{log.read_text()[-3000:]}" for log in sorted(self.folder.glob("*.log")))

    def start(self, host: Host, *words, **environment) -> None:
        host.start(list(words), self.folder, SLURM_CONF=str(self.config), **environment)

    def command(self, *words) -> str:
        """Output of a command of Slurm on the first host; "" where it fails, as before the daemons are up."""
        inside = [*self.first.entered(), *map(str, words)]
        environment = {**os.environ, "SLURM_CONF": str(self.config)}
        done = subprocess.run(inside, capture_output=True, text=True, cwd=self.folder, env=environment)
        return done.stdout.strip() if done.returncode == 0 else ""

"""A Slurm of one's own on this machine: munge, controller and one node on loopback, in a folder that is thrown away.

Debian has all of it: ``apt-get install --no-install-recommends slurm-wlm munge``. Nothing of an installed Slurm is used or
changed but its programs; no service is started.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import psutil

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue")
_CONF = """\
ClusterName=tried
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CredType=cred/munge
SlurmUser={user}
SlurmdUser={user}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SchedulerType=sched/builtin
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
MinJobAge=3600
SlurmdTimeout=10
KillWait=2
ReturnToService=2
SlurmdParameters=config_overrides
JobRequeue=0
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory} State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE OverTimeLimit=0 State=UP
"""


def missing() -> list[str]:
    """The programs that this machine lacks; Debian keeps those of a server where a person's PATH does not look."""
    return [name for name in PROGRAMS if program(name) is None]


def program(name: str) -> str | None:
    """The path of a program."""
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")


class Slurm:
    """A cluster of one node, as long as the block lasts.

    Parameters
    ----------
    folder : Path
        Receives its configuration, its state and its logs.
    cpus, memory : int
        Processors and MB that the node is said to have.
    """

    def __init__(self, folder: Path, *, cpus: int = 4, memory: int = 16_000) -> None:
        self.folder = folder
        self.conf = folder / "slurm.conf"
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}
        for name in ("munge", "state", "spool"):
            (folder / name).mkdir(parents=True)
            (folder / name).chmod(0o700)
        user, host = pwd.getpwuid(os.getuid()).pw_name, socket.gethostname().split(".")[0]
        text = _CONF.format(host=host, folder=folder, user=user, cpus=cpus, memory=memory, ports=_free_ports())
        self.conf.write_text(text, encoding="utf-8")
        # Snakemake takes the names of Slurm, SLURM_CONF among them, from the environment of srun.
        srun = folder / "bin" / "srun"
        srun.parent.mkdir()
        srun.write_text(f'#!/bin/sh\nSLURM_CONF="{self.conf}" exec "{program("srun")}" "$@"\n', encoding="utf-8")
        srun.chmod(0o755)
        self.names = {"SLURM_CONF": str(self.conf), "PATH": f"{srun.parent}:{os.environ['PATH']}"}
        self.environment = os.environ | self.names

    def __enter__(self) -> Slurm:
        """Start everything."""
        try:
            self._begin_all()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _begin_all(self) -> None:
        """Start munge, the controller and the node."""
        key = self.folder / "munge" / "key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o600)
        names = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        options = [f"--{option}={self.folder / 'munge' / name}" for option, name in names.items()]
        self._begin("munged", "--foreground", "--force", *options)
        self._until("munge socket", lambda: (self.folder / "munge" / "socket").exists())
        self._begin("slurmctld", "-D", "-f", str(self.conf))
        self.begin_node()

    def __exit__(self, *_: object) -> None:
        """End every job and every daemon."""
        try:
            for job in self.say("squeue", "--noheader", "--format=%i").split():
                self.say("scancel", job)
            until = time.monotonic() + 60
            while self.say("squeue", "--noheader", "--format=%i").split() and time.monotonic() < until:
                time.sleep(0.5)
        except subprocess.TimeoutExpired:  # a controller that does not answer is ended with the others
            pass
        finally:
            for daemon in reversed(self._daemons.values()):
                if daemon.poll() is None:
                    daemon.terminate()
                    try:
                        daemon.wait(15)
                    except subprocess.TimeoutExpired:
                        daemon.kill()
                        daemon.wait()

    def begin_node(self) -> None:
        """Start the daemon of the node, and wait until it takes jobs."""
        self._begin("slurmd", "-D", "-f", str(self.conf))
        self._until("idle node", lambda: self.say("sinfo", "--noheader", "--format=%T").strip() in ("idle", "mixed"))

    def kill_node(self) -> None:
        """End the node as a power cut does: its daemon, the steps of jobs, and all that they started."""
        self._daemons["slurmd"].send_signal(signal.SIGKILL)
        self._daemons["slurmd"].wait()
        steps = [one for one in psutil.process_iter(["name"]) if (one.info["name"] or "").startswith("slurmstepd")]
        lost = {*steps, *(child for step in steps for child in step.children(recursive=True))}
        for one in lost:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.suspend()  # whoever stands still tells nobody of the others
        for one in lost:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()

    def say(self, name: str, *arguments: str) -> str:
        """What a program of Slurm answers."""
        command = [program(name) or name, *arguments]
        return subprocess.run(
            command, capture_output=True, encoding="utf-8", env=self.environment, check=False, timeout=60
        ).stdout

    def jobs(self) -> list[tuple[str, str, str]]:
        """Number, state and comment of every job, also of those that are over."""
        lines = self.say("squeue", "--states=all", "--noheader", "--format=%i|%T|%k").splitlines()
        return [tuple(line.split("|", 2)) for line in lines]

    def _begin(self, name: str, *arguments: str) -> None:
        """Start a daemon; its words go to a file."""
        with (self.folder / f"{name}.said").open("ab") as said:
            self._daemons[name] = subprocess.Popen(
                [program(name) or name, *arguments], env=self.environment, stdout=said, stderr=said
            )

    def _until(self, what: str, there) -> None:
        """Wait until something is there; what daemons said is the error where it does not come."""
        until = time.monotonic() + 60
        while not there():
            if time.monotonic() > until:
                said = "\n".join(path.read_text(errors="replace")[-1500:] for path in self.folder.glob("*.said"))
                raise RuntimeError(f"No {what} within a minute.\n{said}")
            time.sleep(0.3)


def _free_ports() -> tuple[int, int]:
    """Two ports that nobody listens to."""
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]

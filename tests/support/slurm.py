"""A two-node Slurm on this machine, each node with 8 'H800', without privileges or munge.

    with Slurm.start(folder) as slurm:
        slurm.sdtui("--run", preset)

Both nodes are slurmd processes of this host under names of their own. When the suite runs as
root, everything runs in a user namespace in which it is an ordinary user: root of the host would
be Slurm's administrator, whom it lets do everything.
"""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import pytest

from support.commands import Answer, procs_of

# GPUs are found by their device files; any character devices do, nobody opens them.
_CONF = """\
ClusterName=t
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/none
AuthInfo=cred_expire=5
CredType=cred/none
MessageTimeout=2
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
GresTypes=gpu
ReturnToService=2
KillWait=20
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName=n[1-2] NodeHostname={host} NodeAddr=127.0.0.1 Port=[{first}-{last}] CPUs=16 \
RealMemory=8000 Gres=gpu:h800:8 State=UNKNOWN
PartitionName=train Nodes=n[1-2] Default=YES MaxTime=INFINITE PriorityTier=1 GraceTime=30
PartitionName=first Nodes=n[1-2] MaxTime=INFINITE PriorityTier=9 PreemptMode=OFF
"""
_GRES = "NodeName=n[1-2] Name=gpu Type=h800 File=/dev/tty[0-7] Flags=nvidia_gpu_env\n"
_DAEMONS = ("slurmctld", "slurmd")
_SBIN = "/usr/sbin"


def missing() -> str | None:
    """Say why there can be no Slurm here; None when there can."""
    path = f"{os.environ.get('PATH', '')}:{_SBIN}"
    absent = [name for name in (*_DAEMONS, "sbatch") if shutil.which(name, path=path) is None]
    if absent:
        told = ", ".join(absent)
        return f"Slurm is not installed ({told}): apt-get install slurmctld slurmd slurm-client"
    if not Path("/dev/tty7").is_char_device():
        return "this host has no /dev/tty0 to 7, which stand in for GPUs"
    if subprocess.run([*_as_user(), "true"], capture_output=True, check=False).returncode:
        return "root can become no ordinary user here: user namespaces are forbidden"
    return None


def _user() -> pwd.struct_passwd:
    if os.getuid():
        return pwd.getpwuid(os.getuid())
    return next(entry for entry in pwd.getpwall() if 0 < entry.pw_uid < 1000)


def _as_user() -> list[str]:
    if os.getuid():
        return []
    user = _user()
    return ["unshare", "--user", f"--map-user={user.pw_uid}", f"--map-group={user.pw_gid}"]


def _free_ports() -> int:
    """Return the first of three ports that nobody has."""
    for first in range(21_000 + os.getpid() * 3 % 9_000, 32_000, 3):
        with contextlib.suppress(OSError), contextlib.ExitStack() as held:
            for port in range(first, first + 3):
                one = held.enter_context(socket.socket())
                one.bind(("127.0.0.1", port))
            return first
    raise AssertionError("no three free ports")


@dataclass
class Slurm:
    """The cluster, and sdtui as its user."""

    folder: Path
    home: Path
    pids: dict[str, int] = field(default_factory=dict)

    @classmethod
    @contextlib.contextmanager
    def start(cls, folder: Path, *, pyxis: bool = False) -> Iterator["Slurm"]:
        """Start it, ready for jobs, and take it down with all that is left of its jobs.

        Args:
            folder: Of all its files.
            pyxis: With the stand-in for pyxis, which keeps its record in ``folder/pyxis``.
        """
        slurm = cls(folder, folder / "home")
        for name in ("state", "n1", "n2", "home"):
            (folder / name).mkdir(parents=True)
        port, host = _free_ports(), socket.gethostname().partition(".")[0]
        (folder / "slurm.conf").write_text(
            _CONF.format(
                host=host, port=port, user=_user().pw_name, folder=folder, first=port + 1,
                last=port + 2,
            )
        )  # fmt: skip
        (folder / "gres.conf").write_text(_GRES)
        if pyxis:
            slurm.add_pyxis()
        try:
            for name in ("slurmctld", "n1", "n2"):
                slurm.daemon(name)
            slurm.until_idle()
            yield slurm
        finally:
            slurm.end()

    def add_pyxis(self) -> None:
        """Build the stand-in for this Slurm and have it loaded."""
        own = self.folder / "pyxis"
        (own / "root").mkdir(parents=True)
        plugin, source = own / "pyxis_stand_in.so", Path(__file__).with_name("pyxis_stand_in.c")
        told = subprocess.check_output([f"{_SBIN}/slurmd", "-V"], text=True).split()[-1]
        major, minor, micro = (int(part) for part in told.split("-")[0].split("."))
        version = f"-DVERSION={major << 16 | minor << 8 | micro}"
        flags = ["-shared", "-fPIC", "-Wall", "-Werror", version]
        subprocess.run(["gcc", *flags, "-o", plugin, source], check=True, timeout=60)
        (self.folder / "plugstack.conf").write_text(f"required {plugin} {own}\n")

    def daemon(self, name: str) -> None:
        """Start a daemon, or start it again: ``slurmctld``, ``n1`` or ``n2``."""
        argv = ["slurmctld"] if name == "slurmctld" else ["slurmd", "-N", name]
        self.run(*argv)
        pid_file = self.folder / f"{name}.pid"
        self.until(lambda: pid_file.exists() and pid_file.read_text().strip().isdecimal())
        self.pids[name] = int(pid_file.read_text())

    def until_idle(self) -> None:
        """Wait until both nodes are free; a drained one is never."""
        self.until(lambda: set(self.run("sinfo", "-h", "-o", "%T").out.split()) == {"idle"}, 20)

    def until_saved(self, job: str) -> None:
        """Wait until slurmctld has written down what it knows: it does so seconds later.

        One that comes back without having written that a job began starts it a second time.
        """
        now, state = time.time(), self.folder / "state" / "job_state"
        assert self.run("scontrol", "update", f"JobId={job}", "Comment=saved").code == 0
        self.until(lambda: state.exists() and state.stat().st_mtime > now)

    def kill(self, name: str) -> None:
        """SIGKILL a daemon."""
        os.kill(self.pids.pop(name), signal.SIGKILL)
        (self.folder / f"{name}.pid").unlink()

    @contextlib.contextmanager
    def hanging(self, name: str) -> Iterator[None]:
        """Have a daemon take connections and answer none."""
        os.kill(self.pids[name], signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.pids[name], signal.SIGCONT)

    def environment(self, changes: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return that of the user."""
        kept = {n: v for n, v in os.environ.items() if not n.startswith(("SLURM_", "SDTUI_"))}
        return {
            **kept, "PATH": f"{kept['PATH']}:{_SBIN}", "SLURM_CONF": f"{self.folder}/slurm.conf",
            "SDTUI_HOME": str(self.home), "HOME": str(self.folder), "USER": _user().pw_name,
            "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", **(changes or {}),
        }  # fmt: skip

    def run(
        self, *argv: object, env: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> Answer:
        """Run a program as the user, to its end."""
        done = subprocess.run(
            [*_as_user(), *map(str, argv)], env=self.environment(env), stdin=subprocess.DEVNULL,
            capture_output=True, text=True, errors="replace", timeout=120, check=False,
            cwd=cwd or self.folder,
        )  # fmt: skip
        return Answer(done.returncode, done.stdout, done.stderr)

    def sdtui(self, *arguments: object, env: Mapping[str, str] | None = None) -> Answer:
        """Run ``sdtui`` as the user."""
        return self.run(sys.executable, "-m", "sdtui", *arguments, env=env)

    def until(self, probe: Callable[[], Any], seconds: float = 60.0) -> Any:
        """Return the first true answer of ``probe``."""
        end = time.monotonic() + seconds
        while not (answer := probe()):
            assert time.monotonic() < end, f"nothing came within {seconds} s"
            time.sleep(0.1)
        return answer

    def end(self) -> None:
        """Kill the daemons and whatever was started with this cluster's configuration."""
        mark = f"SLURM_CONF={self.folder}/slurm.conf\0".encode()
        end = time.monotonic() + 10
        while (left := self._ours(mark)) and time.monotonic() < end:
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)
        assert not left, f"still alive: {left}"

    @staticmethod
    def _ours(mark: bytes) -> list[int]:
        alive = (pid for pid in procs_of(mark) if pid != os.getpid())
        return [pid for pid in alive if not _is_dead(pid)]


def _is_dead(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] in {b"Z", b"X"}
    except OSError:
        return True


def do_without(reason: str) -> NoReturn:
    """Skip a test that cannot be here; ``make test-slurm`` must not pass without having tested."""
    if os.environ.get("SLURM_IS_A_MUST"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)

"""What this host has: facts for ``doctor``, for the checks and for the first screen."""

import os
import platform
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sdcore import units
from sdcore.gpu.nvml import open_nvml
from sdcore.gpu.samples import GpuSample, Unavailable
from sdcore.launch.provenance import versions
from sdcore.runs.paths import home
from sdcore.text import clean_line

_SHM = "/dev/shm"  # noqa: S108 -- looked at, never written


@dataclass(frozen=True, slots=True)
class HostFacts:
    """What a task can count on here. Sizes in bytes."""

    host: str
    system: str
    cpus: int
    memory_total: int
    memory_available: int
    shared_memory: int
    home: str
    disk_free: int
    disk_total: int
    gpus: tuple[GpuSample, ...]
    gpu_reason: str | None
    driver: str | None
    versions: dict[str, str]
    tools: dict[str, str | None]
    kills_user_processes: bool

    def to_record(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return asdict(self)

    def lines(self) -> list[tuple[str, str]]:
        """Return (label, words) for a person, in the order of interest."""
        memory = f"{units.size(self.memory_available)} free of {units.size(self.memory_total)}"
        disk = f"{units.size(self.disk_free)} free of {units.size(self.disk_total)}"
        rows = [
            ("host", f"{self.host}, {self.system}"),
            ("cpu", units.count(self.cpus, "core")),
            ("memory", f"{memory}, {_SHM} {units.size(self.shared_memory)}"),
            ("disk", f"{disk} at {self.home}"),
        ]
        rows += [(f"gpu {gpu.index}", gpu_words(gpu)) for gpu in self.gpus]
        if self.gpu_reason:
            rows.append(("gpu", f"none: {self.gpu_reason}"))
        if self.driver:
            rows.append(("driver", self.driver))
        rows += [("python", " ".join(f"{name} {v}" for name, v in self.versions.items()))]
        rows += [("tools", ", ".join(f"{n} {'yes' if p else 'no'}" for n, p in self.tools.items()))]
        return [(label, clean_line(words)) for label, words in rows]

    def warnings(self) -> list[tuple[str, str, str]]:
        """Return (what, cause, remedy) for what will bite later."""
        found = []
        if self.kills_user_processes:
            found.append((
                "logind ends a user's programs at logout",
                "KillUserProcesses=yes is set; a run would end with the SSH session",
                "run `loginctl enable-linger` once",
            ))  # fmt: skip
        if self.shared_memory < 64 << 20 and len(self.gpus) > 1:
            found.append((
                f"{_SHM} has only {units.size(self.shared_memory)}",
                "NCCL exchanges gradients of several GPUs through it",
                "start the container with --ipc=host or --shm-size=8g",
            ))  # fmt: skip
        return found


def gpu_words(gpu: GpuSample) -> str:
    """Write a device in one line: name, memory, who uses it."""
    if gpu.memory_total is None or gpu.memory_used is None:
        return f"{gpu.name or 'GPU'}: no readings"
    used = f"{units.size(gpu.memory_used)} used of {units.size(gpu.memory_total)}"
    count = len(gpu.processes or ())
    busy = f", {units.count(count, 'program')} on it" if count else ", free"
    return f"{gpu.name or 'GPU'}, {used}{busy}"


def host_facts() -> HostFacts:
    """Ask this host. Takes well under a second; needs no GPU and no driver."""
    gpus, reason, driver = _gpus()
    memory = _meminfo()
    disk = shutil.disk_usage(existing_parent(home()))
    return HostFacts(
        host=platform.node(),
        system=f"{_os_name()}, Linux {platform.release()}",
        cpus=len(os.sched_getaffinity(0)),
        memory_total=memory.get("MemTotal", 0),
        memory_available=memory.get("MemAvailable", 0),
        shared_memory=shutil.disk_usage(_SHM).free if Path(_SHM).exists() else 0,
        home=str(home()),
        disk_free=disk.free,
        disk_total=disk.total,
        gpus=gpus,
        gpu_reason=reason,
        driver=driver,
        versions=versions(),
        tools={name: shutil.which(name) for name in ("tmux", "git", "bwrap", "sbatch", "podman")},
        kills_user_processes=_kills_user_processes(Path("/etc/systemd/logind.conf")),
    )


def existing_parent(path: Path) -> Path:
    """Return ``path`` or the nearest folder above it that exists."""
    while not path.exists():
        path = path.parent
    return path


def _gpus() -> tuple[tuple[GpuSample, ...], str | None, str | None]:
    nvml = open_nvml()
    if isinstance(nvml, Unavailable):
        return (), nvml.detail, None
    try:
        found = nvml.versions()
        return tuple(nvml.read()), None, f"{found.driver}, CUDA {found.cuda}"
    finally:
        nvml.close()


def _meminfo() -> dict[str, int]:
    fields = {}
    for line in Path("/proc/meminfo").read_text("ascii").splitlines():
        name, _, rest = line.partition(":")
        fields[name] = int(rest.split()[0]) * 1024
    return fields


def _os_name() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    except OSError:
        return "Linux"


def _kills_user_processes(conf: Path) -> bool:
    try:
        lines = conf.read_text("utf-8").splitlines()
    except OSError:
        return False
    return any(line.replace(" ", "").lower() == "killuserprocesses=yes" for line in lines)

"""Gives free GPUs to runs, in the order in which the runs were created.

A lock file per device, held for the life of the run, keeps two runs apart; the driver's process
list keeps a run away from programs that know nothing of these locks. The queue is strict: a
later run that would fit does not pass an earlier one, or a run that wants all GPUs never starts.
"""

import os
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sdcore.errors import NotReadyError
from sdcore.gpu.samples import GpuSample, Unavailable
from sdcore.launch.plan import LaunchPlan
from sdcore.runs import locks
from sdcore.runs.files import read_json
from sdcore.runs.paths import RunDir, make_private
from sdcore.supervise import procs
from sdcore.units import count

_DETAILS = 4  # of a wait that are spelled out


@dataclass(frozen=True, slots=True)
class Claim:
    """GPUs that are ours until the descriptors are closed, here and in the guard."""

    uuids: list[str]
    locks: list[int]

    def env(self) -> dict[str, str]:
        """Return the variables that show exactly these devices to CUDA."""
        return {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": ",".join(self.uuids)}

    def release(self) -> None:
        """Give the devices back."""
        while self.locks:
            os.close(self.locks.pop())


def usable(plan: LaunchPlan, samples: Sequence[GpuSample], visible: str | None) -> list[GpuSample]:
    """Return the devices the run may be given, best first.

    Those of the type asked for if the host has enough of them, else all.

    Args:
        plan: What the run wants.
        samples: Every device of the host.
        visible: ``CUDA_VISIBLE_DEVICES`` of the client, which a cluster may have set.

    Raises:
        NotReadyError: The host has fewer devices than the run wants; waiting would not help.
    """
    living = [s for s in samples if s.uuid is not None and not s.lost and is_visible(s, visible)]
    if len(living) < plan.gpu_count:
        raise _too_few(plan, len(living), samples, visible)
    matching = [s for s in living if is_type(plan.gpu_type, s.name)]
    return matching if len(matching) >= plan.gpu_count else living


def no_readings(reason: Unavailable) -> NotReadyError:
    """Return the error for a host whose GPUs cannot be read."""
    remedies = {
        "no_module": "pip install nvidia-ml-py",
        "no_permission": "ask for access to /dev/nvidia*, or set gpu.count = 0 to train on the CPU",
        "stalled": "run nvidia-smi; if it hangs too, the host needs a reboot",
        "lost": "run nvidia-smi; the host needs a GPU reset or a reboot",
    }
    return NotReadyError(
        "the GPUs of this host cannot be used",
        cause=reason.detail,
        remedy=remedies.get(reason.reason, "set gpu.count = 0 to train on the CPU"),
    )


def is_type(wanted: str | None, name: str) -> bool:
    """Say whether a device called ``name`` is of the type a person wrote.

    ``NVIDIA-H800`` means ``NVIDIA H800 PCIe`` and ``RTX4090`` means ``NVIDIA GeForce RTX 4090``,
    but ``A10`` does not mean ``NVIDIA A100``.
    """
    asked, have = _words(wanted or ""), _words(name)
    return bool(asked) and (set(asked) <= set(have) or "".join(asked) == "".join(have))


def other_type(wanted: str | None, names: Collection[str]) -> str | None:
    """Say that the run got GPUs of another type than it asked for."""
    others = sorted(name for name in names if wanted and not is_type(wanted, name))
    return f"this host has too few {wanted}; using {', '.join(others)}" if others else None


def _words(name: str) -> list[str]:
    plain = "".join(c if c.isalnum() else " " for c in name.lower()).split()
    return [word for word in plain if word not in {"nvidia", "tesla", "geforce"}]


def is_visible(sample: GpuSample, visible: str | None) -> bool:
    """Say whether ``CUDA_VISIBLE_DEVICES``, where it is set, names a device."""
    if visible is None:
        return True
    uuid = sample.uuid or ""
    names = [name.strip() for name in visible.split(",")]
    return any(
        name == str(sample.index) or (name.startswith(("GPU-", "MIG-")) and uuid.startswith(name))
        for name in names
    )


def _too_few(
    plan: LaunchPlan, have: int, samples: Sequence[GpuSample], visible: str | None
) -> NotReadyError:
    lost = sum(sample.lost for sample in samples)
    causes = [f"this host has {count(have, 'usable GPU')}"]
    if lost:
        causes.append(f"{lost} fell off the bus")
    if visible is not None:
        causes.append(f"CUDA_VISIBLE_DEVICES is {visible!r}")
    return NotReadyError(
        f"the run wants {count(plan.gpu_count, 'GPU')}",
        cause="; ".join(causes),
        remedy=f"set gpu.count to {have} or less" if have else "set gpu.count = 0 for the CPU",
    )


def try_claim(
    run: RunDir, plan: LaunchPlan, devices: Sequence[GpuSample], folder: Path
) -> Claim | str:
    """Take the GPUs of the run, or say in words what it waits for.

    Args:
        run: Who asks; its own state has to say ``queued`` already.
        plan: What it wants.
        devices: From ``usable``, just read.
        folder: Of the lock files, one for all runs of this user.
    """
    make_private(folder)
    gate = locks.take(folder / "queue.lock", patience=0.2)
    if gate is None:
        return "its turn: another run is choosing its GPUs"
    try:
        ahead = earlier(run)
        if ahead:
            return f"its turn: run {ahead[-1].id} was created earlier"
        return _take_free(run, plan, devices, folder)
    finally:
        os.close(gate)


def _take_free(
    run: RunDir, plan: LaunchPlan, devices: Sequence[GpuSample], folder: Path
) -> Claim | str:
    claim = Claim([], [])
    in_use: list[str] = []
    # Shared devices only where there are not enough of our own.
    for device in sorted(devices, key=lambda each: bool(each.processes)):
        assert device.uuid is not None, "usable() leaves these out"
        if device.processes and not plan.gpu_share:
            in_use.append(f"GPU {device.index} is used by {_names(device)}")
            continue
        lock = _take_device(folder, device.uuid, run)
        if isinstance(lock, str):
            in_use.append(f"GPU {device.index} is used by run {lock}")
            continue
        claim.locks.append(lock)
        claim.uuids.append(device.uuid)
        if len(claim.uuids) == plan.gpu_count:
            return claim
    free = len(claim.uuids)
    claim.release()
    more = [f"and {len(in_use) - _DETAILS} more"] if len(in_use) > _DETAILS else []
    missing = count(plan.gpu_count - free, "free GPU" if not free else "more free GPU")
    return "; ".join([missing, *in_use[:_DETAILS], *more])


def _names(device: GpuSample) -> str:
    known = [(each.pid, procs.read(each.pid)) for each in device.processes or ()]
    return ", ".join(f"process {pid}" + (f" ({p.name})" if p else "") for pid, p in known[:2])


def _take_device(folder: Path, uuid: str, run: RunDir) -> int | str:
    """Lock a device and leave our name; or return the id of the run that has it."""
    path = folder / f"{uuid.replace('/', '_')}.lock"
    lock = locks.take(path)
    if lock is None:
        with suppress(OSError):
            return path.read_text("utf-8", errors="replace").strip() or "that is just starting"
        return "that is just ending"
    os.ftruncate(lock, 0)
    os.pwrite(lock, run.id.encode(), 0)
    return lock


def earlier(run: RunDir) -> list[RunDir]:
    """Return the runs created before ``run`` that live on this host and still want GPUs."""
    root = run.root.parent
    names = sorted(e.name for e in os.scandir(root) if e.name < run.id and e.is_dir())
    return [other for name in names if _wants(other := RunDir(root / name))]


def _wants(other: RunDir) -> bool:
    if other.exit.exists() or not locks.is_held(other.lock):
        return False
    holder = read_json(other.supervisor)
    if holder is not None and holder.get("boot_id") != procs.boot_id():
        return False  # another host of a shared home, whose GPUs are not these
    state = read_json(other.state)
    if state is None:  # its supervisor is just starting
        return bool((read_json(other.launch) or {}).get("gpu_count"))
    return state.get("phase") == "queued"

"""Checkpoints: whole or absent, checked before use.

``checkpoints/step-N/`` holds ``unet/`` and ``unet_ema/`` (diffusers folders, fp32 safetensors),
``optimizer.pt``, ``trainer.json`` and ``manifest.json`` with the size and SHA-256 of every other
file. It is written as ``step-N.partial``, synced and renamed; old ones are deleted only after
that. A folder without a manifest is not a checkpoint.

There is no state of random generators: see ``randomness``.
"""

import hashlib
import importlib.metadata
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import MISSING, asdict, dataclass
from dataclasses import fields as fields_of
from pathlib import Path
from typing import Any, Self

from safetensors import SafetensorError

from sdcore.errors import NotReadyError, SdError
from sdcore.runs.files import is_full, read_json, sync_folder, write_json
from sdcore.runs.paths import make_private, step_folders, step_of
from sdcore.text import clean_line
from sdcore.train.parts import Write
from sdcore.units import size

FORMAT = 1
_PARTIAL = ".partial"
_HASHERS = 4  # a checkpoint has three large files: weights, their average, and the optimizer
_SIGNS = ("No space left", "os error 28", "quota exceeded", "os error 122")
_PACKAGES = ("torch", "diffusers", "transformers", "accelerate", "numpy", "peft")


class DiskFullError(NotReadyError):
    """A checkpoint has no room; it can be written once there is some."""


@dataclass(frozen=True, slots=True)
class Progress:
    """What ``trainer.json`` holds: where the training is, and what it was made of.

    Attributes:
        step: Optimizer updates made.
        window: Accumulation windows run; more than ``step`` where fp16 skipped updates.
        samples: Images consumed: the global position of the next one. This and the next three
            are None where the reference script wrote the checkpoint, which does not tell.
        seed: Of all randomness; rules over the flag on a resume.
        images: Usable rows.
        fingerprint: Of the data.
        world_size: Processes.
        skipped: Updates left out by loss scaling.
        scaler: State of the loss scaling; empty without.
        ema_updates: Updates of the average; None without one.
        lr: Learning rate of the last update; the schedule is a function of ``step``.
        device: Kind of device, ``cpu`` or ``cuda``.
        precision: ``no``, ``fp16`` or ``bf16``.
        spec: The settings, as flags.
        block: Images that come one after another in one size; None where there is one size.
        sizes: The mark of the order of sizes.
        bad_rows: Of the images left out during training, rising.
        timestep_loss: Sums by part of the schedule that were not told yet; see ``BucketMeans``.
    """

    step: int
    window: int
    samples: int | None
    seed: int | None
    images: int | None
    fingerprint: str | None
    world_size: int
    skipped: int
    scaler: dict[str, Any]
    ema_updates: int | None
    lr: float
    device: str
    precision: str
    spec: dict[str, Any]
    block: int | None = None
    sizes: str | None = None
    bad_rows: list[int] | None = None
    timestep_loss: dict[str, Any] | None = None

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read ``trainer.json`` of a checkpoint that validates."""
        record = read_json(folder / "trainer.json") or {}
        later = {field.name for field in fields_of(cls) if field.default is not MISSING}
        names = cls.__dataclass_fields__.keys() - (later - record.keys())
        return cls(**{name: record[name] for name in names})


@dataclass(frozen=True, slots=True)
class Contents:
    """What is saved.

    Attributes:
        progress: Goes into ``trainer.json``.
        size: About the bytes on disk.
        writes: Each writes one part; see ``parts``.
        begun: When the copy began, monotonic s.
    """

    progress: Progress
    size: int
    writes: Sequence[Write]
    begun: float

    @property
    def step(self) -> int:
        """The step that is saved."""
        return self.progress.step


@dataclass(frozen=True, slots=True)
class Saved:
    """A checkpoint that is whole on disk.

    Attributes:
        size: Bytes.
        seconds: From the beginning of the copy to the rename.
    """

    path: Path
    size: int
    seconds: float


def save(parent: Path, contents: Contents, keep: int | None) -> Saved:
    """Write ``step-N``, then delete the oldest beyond ``keep``.

    Args:
        parent: The folder of checkpoints.
        contents: What to write.
        keep: Newest checkpoints kept; None keeps all.

    Raises:
        DiskFullError: The disk has not the space.
        NotReadyError: It cannot be written for another reason.
    """
    final = parent / f"step-{contents.step}"
    partial = parent / f"{final.name}{_PARTIAL}"
    check_space(parent, contents.size)
    try:
        write_parts(partial, contents)
        total = seal(partial, contents.step)
        _publish(partial, final)
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        shutil.rmtree(partial, ignore_errors=True)  # else it holds the space a retry needs
        raise _failed(parent, contents, error) from error
    rotate(parent, keep, contents.step)
    return Saved(final, total, time.monotonic() - contents.begun)


def write_parts(partial: Path, contents: Contents) -> None:
    """Write everything but the manifest."""
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for write in contents.writes:
        write(partial)
    write_json(partial / "trainer.json", {"format": FORMAT, **asdict(contents.progress)})


def seal(partial: Path, step: int) -> int:
    """Sync every file, write the manifest last, and return the bytes of all."""
    paths = list(_files(partial))
    with hashers() as pool:  # a process that torchrun ends has 30 s from SIGTERM to SIGKILL
        entries = pool.map(_synced, paths)
        files = {str(p.relative_to(partial)): e for p, e in zip(paths, entries, strict=True)}
    for folder in {path.parent for path in paths}:
        sync_folder(folder)
    manifest = {"format": FORMAT, "step": step, "at": time.time(), "versions": versions(),
                "files": files}  # fmt: skip
    write_json(partial / "manifest.json", manifest)
    return sum(entry["size"] for entry in files.values())


def rotate(parent: Path, keep: int | None, newest: int) -> None:
    """Delete the oldest checkpoints beyond ``keep``.

    Args:
        parent: The folder of checkpoints.
        keep: Of those up to ``newest``, how many stay; None keeps all.
        newest: The step just saved. What has a higher number is damaged, or was left behind by
            a resume from an earlier one: counted, it would push out the good ones.
    """
    if keep is None:
        return
    older = [folder for folder in step_folders(parent) if (step_of(folder) or 0) <= newest]
    for old in older[:-keep]:
        _delete(old)


def set_aside(parent: Path, step: int) -> tuple[Path, list[str]]:
    """Move the checkpoints after ``step`` into a new folder ``aside-N`` beside them.

    Args:
        parent: The folder of checkpoints.
        step: Where training goes on.

    Returns:
        That folder, and the names of what was moved; without any there is no folder.
    """
    taken = (path.name.removeprefix("aside-") for path in parent.glob("aside-*"))
    number = 1 + max((int(name) for name in taken if name.isdecimal()), default=0)
    aside = parent / f"aside-{number}"
    later = [folder for folder in step_folders(parent) if (step_of(folder) or 0) > step]
    for folder in later:
        make_private(aside)
        folder.rename(aside / folder.name)
    if later:
        sync_folder(aside)
        sync_folder(parent)
    return aside, [folder.name for folder in later]


def remove_partials(parent: Path) -> None:
    """Delete what killed writers left; nothing else has this name."""
    if parent.is_dir():
        for path in parent.glob(f"step-*{_PARTIAL}"):
            shutil.rmtree(path, ignore_errors=True)


def versions() -> dict[str, str]:
    """Return the versions that the bits of a run can depend on."""
    return {name: importlib.metadata.version(name) for name in _PACKAGES}


def check_space(parent: Path, needed: int) -> None:
    """Refuse what cannot fit, before a byte is written.

    Raises:
        DiskFullError: Fewer than ``needed`` bytes and a reserve of 5 % are free.
    """
    free = free_bytes(parent)
    if free < needed * 1.05:
        raise DiskFullError(
            f"no space for a checkpoint in {parent}",
            cause=f"it takes about {size(needed)}, {size(free)} are free",
            remedy="free space there, or lower checkpoints_total_limit",
        )


def free_bytes(folder: Path) -> int:
    """Return the bytes this user can still write in ``folder``."""
    return shutil.disk_usage(folder).free


def _failed(parent: Path, contents: Contents, error: Exception) -> SdError:
    what = f"the checkpoint of step {contents.step} could not be written"
    if means_full(error) or free_bytes(parent) < contents.size * 1.05:
        # A full disk can show as RuntimeError of torch with no word about space.
        return DiskFullError(what, cause="the disk is full", remedy=f"free space in {parent}")
    return NotReadyError(what, cause=clean_line(str(error)), remedy=f"look at the disk of {parent}")


def means_full(error: Exception) -> bool:
    """Say whether a write failed for want of space, by its number or its words."""
    return is_full(error) or any(
        sign in str(error) for sign in _SIGNS
    )  # safetensors has words alone


def unpublished(what: str, folder: Path, error: Exception) -> SdError:
    """Return what to raise when ``what``, a run's result, could not be written to ``folder``."""
    kind = DiskFullError if means_full(error) else NotReadyError
    return kind(
        f"the {what} could not be written to {folder}",
        cause=str(error),
        remedy="make room there, then resume: the last checkpoint holds the trained weights",
    )


def _publish(partial: Path, final: Path) -> None:
    if final.exists():
        _delete(final)  # of the same step, from an attempt whose copy did not validate
    partial.rename(final)
    sync_folder(final.parent)


def _delete(folder: Path) -> None:
    """Take the name away first: a kill in the middle must not leave half a checkpoint."""
    doomed = folder.with_name(f"{folder.name}.old{_PARTIAL}")
    shutil.rmtree(doomed, ignore_errors=True)
    folder.rename(doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _synced(path: Path) -> dict[str, Any]:
    """Put a file on the disk and return its entry in the manifest."""
    _sync(path)
    return {"size": path.stat().st_size, "sha256": digest(path)}


def hashers() -> ThreadPoolExecutor:
    """Return threads to hash files in, side by side: hashlib holds no lock while it computes."""
    return ThreadPoolExecutor(_HASHERS, "hash")


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

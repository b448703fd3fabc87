"""Checkpoints: whole or absent, checked before use.

``checkpoints/step-N/`` holds ``unet/`` and ``unet_ema/`` (diffusers folders, fp32 safetensors),
``optimizer.pt``, ``trainer.json`` and ``manifest.json`` with the size and SHA-256 of every other
file. It is written as ``step-N.partial``, synced and renamed; old ones are deleted only after
that. A folder without a manifest is not a checkpoint.

There is no state of random generators: see ``randomness``.
"""

import hashlib
import importlib.metadata
import json
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import SafetensorError

from sdcore.errors import NotReadyError, SdError
from sdcore.runs.files import read_json, sync_folder, write_json
from sdcore.runs.paths import step_folders, step_of
from sdcore.units import size

FORMAT = 1
_PARTIAL = ".partial"
_PACKAGES = ("torch", "diffusers", "transformers", "accelerate", "numpy")


@dataclass(frozen=True, slots=True)
class Progress:
    """What ``trainer.json`` holds: where the training is, and what it was made of.

    Attributes:
        step: Optimizer updates made.
        window: Accumulation windows run; more than ``step`` where fp16 skipped updates.
        samples: Images consumed: the global position of the next one.
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
    """

    step: int
    window: int
    samples: int
    seed: int
    images: int
    fingerprint: str
    world_size: int
    skipped: int
    scaler: dict[str, Any]
    ema_updates: int | None
    lr: float
    device: str
    precision: str
    spec: dict[str, Any]

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read ``trainer.json`` of a checkpoint that validates."""
        record = read_json(folder / "trainer.json") or {}
        return cls(**{name: record[name] for name in cls.__dataclass_fields__})


@dataclass(frozen=True, slots=True)
class Contents:
    """What is saved: weights and optimizer, by reference.

    Attributes:
        unet: A diffusers model.
        ema: The averaged one; None without.
        optimizer: State by parameter.
        progress: See there.
    """

    unet: Any
    ema: Any | None
    optimizer: torch.optim.Optimizer
    progress: Progress

    @property
    def step(self) -> int:
        """The step that is saved."""
        return self.progress.step

    @property
    def size(self) -> int:
        """About the bytes on disk."""
        return bytes_of(self.unet, self.ema, self.optimizer)


@dataclass(frozen=True, slots=True)
class Saved:
    """A checkpoint that is whole on disk."""

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
        NotReadyError: The disk has not the space.
    """
    begun = time.monotonic()
    final = parent / f"step-{contents.step}"
    partial = parent / f"{final.name}{_PARTIAL}"
    check_space(parent, contents.size)
    try:
        write_parts(partial, contents)
        total = seal(partial, contents.step)
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        shutil.rmtree(partial, ignore_errors=True)  # else it holds the space a retry needs
        raise _failed(parent, contents, error) from error
    _publish(partial, final)
    rotate(parent, keep)
    return Saved(final, total, time.monotonic() - begun)


def write_parts(partial: Path, contents: Contents) -> None:
    """Write everything but the manifest."""
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    contents.unet.save_pretrained(partial / "unet")
    if contents.ema is not None:
        contents.ema.save_pretrained(partial / "unet_ema")
    torch.save(contents.optimizer.state_dict(), partial / "optimizer.pt")
    write_json(partial / "trainer.json", {"format": FORMAT, **asdict(contents.progress)})


def seal(partial: Path, step: int) -> int:
    """Sync every file, write the manifest last, and return the bytes of all."""
    files = {}
    for path in _files(partial):
        _sync(path)
        files[str(path.relative_to(partial))] = {
            "size": path.stat().st_size,
            "sha256": _digest(path),
        }
    for folder in {path.parent for path in _files(partial)}:
        sync_folder(folder)
    manifest = {"format": FORMAT, "step": step, "at": time.time(), "versions": versions(),
                "files": files}  # fmt: skip
    write_json(partial / "manifest.json", manifest)
    return sum(entry["size"] for entry in files.values())  # type: ignore[misc]


def rotate(parent: Path, keep: int | None) -> None:
    """Delete the oldest checkpoints beyond ``keep``."""
    if keep is None:
        return
    for old in step_folders(parent)[:-keep]:
        _delete(old)


def remove_partials(parent: Path) -> None:
    """Delete what killed writers left; nothing else has this name."""
    if parent.is_dir():
        for path in parent.glob(f"step-*{_PARTIAL}"):
            shutil.rmtree(path, ignore_errors=True)


def fault_of(folder: Path) -> str | None:
    """Say why ``folder`` is no valid checkpoint, or None if every file is as it was written."""
    manifest = read_json(folder / "manifest.json")
    if manifest is None:
        return "no readable manifest.json"
    files = manifest.get("files")
    if manifest.get("format") != FORMAT or not isinstance(files, dict):
        return f"manifest.json is not of format {FORMAT}"
    for name, entry in files.items():
        path = folder / name
        if Path(name).is_absolute() or ".." in Path(name).parts:
            return f"manifest.json names {name!r}"
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != entry["size"]:
            return f"{name} has {path.stat().st_size} bytes, not {entry['size']}"
        if _digest(path) != entry["sha256"]:
            return f"{name} has another content than was written"
    missing = {"trainer.json", "optimizer.pt"} - files.keys()
    return f"{min(missing)} is missing" if missing else None


def find(parent: Path, wish: str) -> tuple[Path | None, list[str]]:
    """Find the checkpoint to go on from.

    Args:
        parent: The folder of checkpoints.
        wish: ``latest``, ``step-N`` or a path.

    Returns:
        The folder, None when ``latest`` finds none, and the newer ones that do not validate,
        each with its reason.

    Raises:
        NotReadyError: A checkpoint asked for by name does not validate, or every one is broken.
    """
    if wish != "latest":
        return _named(parent, wish), []
    passed_over: list[str] = []
    for folder in reversed(step_folders(parent)):
        fault = fault_of(folder)
        if fault is None:
            return folder, passed_over
        passed_over.append(f"{folder.name}: {fault}")
    if passed_over:
        raise NotReadyError(
            f"no checkpoint in {parent} can be used",
            cause="; ".join(passed_over),
            remedy="move that folder away to train from the start",
        )
    return None, []


def load_optimizer(folder: Path, optimizer: torch.optim.Optimizer) -> None:
    """Restore the optimizer. ``weights_only``: a checkpoint must not be able to run code."""
    state = torch.load(folder / "optimizer.pt", map_location="cpu", weights_only=True)
    optimizer.load_state_dict(state)
    for parameter, moments in optimizer.state.items():
        for name, value in moments.items():
            alike = value.shape == parameter.shape and value.dtype == parameter.dtype
            if alike and value.stride() != parameter.stride():
                # Weights are channels-last on a GPU alone, and the fused update walks raw memory:
                # a CPU's would pair each weight with another one's moments, without a word.
                moments[name] = torch.empty_like(parameter).copy_(value)


def versions() -> dict[str, str]:
    """Return the versions that the bits of a run can depend on."""
    return {name: importlib.metadata.version(name) for name in _PACKAGES}


def versions_of(folder: Path) -> dict[str, str]:
    """Return the versions that wrote a checkpoint."""
    found = (read_json(folder / "manifest.json") or {}).get("versions")
    return found if isinstance(found, dict) else {}


def bytes_of(unet: Any, ema: Any | None, optimizer: torch.optim.Optimizer) -> int:
    """Return about how many bytes a checkpoint takes, before the optimizer has a state."""
    moments = 2 if optimizer.defaults.get("fused") else 1  # else 8-bit, and its scales
    total = _model_bytes(unet) * (1 + moments)
    return total + (_model_bytes(ema) if ema is not None else 0)


def check_space(parent: Path, needed: int) -> None:
    """Refuse what cannot fit, before a byte is written.

    Raises:
        NotReadyError: Fewer than ``needed`` bytes and a reserve of 5 % are free.
    """
    free = free_bytes(parent)
    if free < needed * 1.05:
        raise NotReadyError(
            f"no space for a checkpoint in {parent}",
            cause=f"it takes about {size(needed)}, {size(free)} are free",
            remedy="free space there, or lower checkpoints_total_limit",
        )


def free_bytes(folder: Path) -> int:
    """Return the bytes this user can still write in ``folder``."""
    return shutil.disk_usage(folder).free


def _model_bytes(model: Any) -> int:
    return sum(p.numel() * p.element_size() for p in model.parameters())


def _failed(parent: Path, contents: Contents, error: Exception) -> SdError:
    # A full disk shows as RuntimeError or SafetensorError with no word about space.
    full = free_bytes(parent) < contents.size
    return NotReadyError(
        f"the checkpoint of step {contents.step} could not be written",
        cause="the disk is full" if full else str(error),
        remedy=f"free space in {parent}",
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


def _named(parent: Path, wish: str) -> Path:
    named = "/" not in wish and step_of(Path(wish)) is not None
    folder = parent / wish if named else Path(wish).expanduser().absolute()
    fault = fault_of(folder) if folder.is_dir() else "there is no such folder"
    if fault is None:
        return folder
    raise NotReadyError(
        f"the checkpoint {folder}",
        cause=fault,
        remedy="use resume_from_checkpoint latest, which takes the newest that is whole",
    )


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Say which settings changed: ``learning_rate 0.0001 -> 1e-05``."""
    return [
        f"{name} {json.dumps(old.get(name))} -> {json.dumps(value)}"
        for name, value in new.items()
        if old.get(name) != value
    ]

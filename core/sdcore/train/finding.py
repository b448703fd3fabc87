"""Finding the checkpoint to go on from: only one whose every file is as it was written."""

import json
from pathlib import Path
from typing import Any

import torch

from sdcore.errors import NotReadyError
from sdcore.runs.files import read_json
from sdcore.runs.paths import step_folders, step_of
from sdcore.train import reference
from sdcore.train.checkpoint import FORMAT, Progress, digest, hashers


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
    pool = hashers()
    try:
        found = pool.map(digest, [folder / name for name in files])
        for (name, entry), sha256 in zip(files.items(), found, strict=True):
            if sha256 != entry["sha256"]:
                return f"{name} has another content than was written"
    finally:
        pool.shutdown(cancel_futures=True)
    missing = {"trainer.json", "optimizer.pt"} - files.keys()
    return f"{min(missing)} is missing" if missing else None


def find(parent: Path, wish: str, output: Path) -> tuple[Path | None, list[str]]:
    """Find the checkpoint to go on from.

    Args:
        parent: The folder of checkpoints.
        wish: ``latest``, ``step-N``, ``checkpoint-N`` or a path.
        output: Where the reference script, if it began this training, left its own.

    Returns:
        The folder, None when ``latest`` finds none, and the newer ones that do not validate,
        each with its reason.

    Raises:
        NotReadyError: A checkpoint asked for by name does not validate, or every one is broken.
    """
    if wish != "latest":
        return _named(parent, wish, output), []
    passed_over: list[str] = []
    for folder in reversed(_by_step(parent, output)):
        fault = _fault_of_either(folder)
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


def _by_step(parent: Path, output: Path) -> list[Path]:
    """Return all checkpoints by rising step; of one step the reference's before ours."""
    theirs = [(reference.step_of(folder), 0, folder) for folder in reference.folders(output)]
    ours = [(step_of(folder), 1, folder) for folder in step_folders(parent)]
    return [folder for _, _, folder in sorted([*theirs, *ours])]


def _fault_of_either(folder: Path) -> str | None:
    theirs = reference.step_of(folder) is not None
    return reference.fault_of(folder) if theirs else fault_of(folder)


# Of a group, what the settings of this attempt say; the rest is state, such as Prodigy's estimate.
_SETTINGS = ("betas", "eps", "weight_decay", "foreach", "fused")


def load_optimizer(folder: Path, optimizer: torch.optim.Optimizer) -> None:
    """Restore the optimizer's state; its settings stay as they are.

    ``weights_only``: a checkpoint must not be able to run code.
    """
    if reference.step_of(folder) is not None:
        reference.load_optimizer(folder, optimizer)
    else:
        state = torch.load(folder / "optimizer.pt", map_location="cpu", weights_only=True)
        for saved, now in zip(state["param_groups"], optimizer.param_groups, strict=False):
            saved.update({name: now[name] for name in _SETTINGS if name in now})
        optimizer.load_state_dict(state)
    for parameter, moments in optimizer.state.items():
        for name, value in moments.items():
            if not isinstance(value, torch.Tensor):
                continue
            alike = value.shape == parameter.shape and value.dtype == parameter.dtype
            if alike and value.stride() != parameter.stride():
                # Weights may be channels-last in one attempt alone, and the fused update walks raw
                # memory: it would pair each weight with another one's moments, without a word.
                moments[name] = torch.empty_like(parameter).copy_(value)


def progress_of(folder: Path) -> Progress:
    """Return where a checkpoint that validates was made."""
    theirs = reference.step_of(folder) is not None
    return reference.progress(folder) if theirs else Progress.read(folder)


def versions_of(folder: Path) -> dict[str, str]:
    """Return the versions that wrote a checkpoint."""
    found = (read_json(folder / "manifest.json") or {}).get("versions")
    return found if isinstance(found, dict) else {}


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Say which settings changed: ``learning_rate 0.0001 -> 1e-05``."""
    return [
        f"{name} {json.dumps(old.get(name))} -> {json.dumps(value)}"
        for name, value in new.items()
        if old.get(name) != value
    ]


def _named(parent: Path, wish: str, output: Path) -> Path:
    folder = Path(wish).expanduser().absolute()
    if "/" not in wish and step_of(Path(wish)) is not None:
        folder = parent / wish
    elif "/" not in wish and reference.step_of(output / wish) is not None:
        folder = output / wish
    fault = _fault_of_either(folder) if folder.is_dir() else "there is no such folder"
    if fault is None:
        return folder
    raise NotReadyError(
        f"the checkpoint {folder}",
        cause=fault,
        remedy="use resume_from_checkpoint latest, which takes the newest that is whole",
    )

"""Writes the final pipeline: the trained U-Net in fp32, everything else as it was loaded."""

import inspect
import json
import shutil
from pathlib import Path

import torch
from diffusers import DiffusionPipeline, UNet2DConditionModel
from safetensors import SafetensorError

from sdcore.errors import NotReadyError
from sdcore.runs.files import read_json, sync_folder, write_json
from sdcore.train.checkpoint import unpublished
from sdcore.train.models import Models
from sdcore.train.sources import Source

_PARTIAL = ".partial"
_OLD = ".old"
_INDEX = "model_index.json"
_PURE_NOISE = ("rescale_betas_zero_snr", "timestep_spacing")


def save(target: Path, unet: UNet2DConditionModel, models: Models) -> int:
    """Write the pipeline aside, then move its parts into ``target``.

    Nothing in ``target`` that is no part of a pipeline is touched: a drop-in's ``output_dir``
    holds checkpoints, and may be a folder the user has other things in.

    Args:
        target: The pipeline folder.
        unet: The weights to publish.
        models: The other parts; back in fp32 here, as they were read.

    Returns:
        Bytes written.

    Raises:
        DiskFullError: There is no room for it now.
        NotReadyError: It cannot be written.
    """
    # Inside, where there is a folder: it may be a mount, and nothing is renamed into another disk.
    beside = target.with_name(f".{target.name}{_PARTIAL}")
    aside = target / f".pipeline{_PARTIAL}" if target.exists() else beside
    shutil.rmtree(aside, ignore_errors=True)
    try:
        aside.parent.mkdir(parents=True, exist_ok=True)
        _write(aside, unet, models)
        total = sum(path.stat().st_size for path in aside.rglob("*") if path.is_file())
        _move_in(aside, target)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(aside, ignore_errors=True)  # else it holds the space a retry needs
        raise unpublished("pipeline", target, error) from error
    return total


def check_target(target: Path, source: Source) -> None:
    """Refuse to replace the model that is trained from.

    Raises:
        NotReadyError: ``target`` is that model's folder.
    """
    if source.folder is not None and source.folder.resolve() == target.resolve():
        raise NotReadyError(
            f"the output folder {target}",
            cause="it is the folder of the model that is trained, which would be overwritten",
            remedy="set output_dir to another folder",
        )


def _write(aside: Path, unet: UNet2DConditionModel, models: Models) -> None:
    source = _local(models.source)
    index = read_json(source / _INDEX) or {}
    scheduler = _scheduler(source, models)
    for part in (models.vae, *models.text_encoders.values()):
        part.to(dtype=torch.float32)
    models.pipeline(unet, scheduler).save_pretrained(aside)
    _copy_others(source, aside, index)


def _scheduler(source: Path, models: Models) -> object:
    """Return the source's scheduler, of its own class, with the prediction type of training.

    The reference publishes the untouched one: trained with another prediction type, its pipeline
    draws noise. After training to zero-terminal SNR a class that cannot sample from there (PNDM,
    for one, which most Stable Diffusion 1.x have) gives way to DDIM.
    """
    import diffusers  # noqa: PLC0415 - by name below

    config = json.loads((source / "scheduler" / "scheduler_config.json").read_bytes())
    name = str(config.get("_class_name", ""))
    kind = getattr(diffusers, name, None) if name.endswith("Scheduler") else None
    trained = {
        name: models.schedule.config[name]
        for name in ("prediction_type", *(_PURE_NOISE if _ends_in_noise(models) else ()))
    }
    if kind is None or not trained.keys() <= inspect.signature(kind).parameters.keys():
        return models.sampler
    return kind.from_config({**config, **trained})


def _ends_in_noise(models: Models) -> bool:
    return bool(models.schedule.config.get("rescale_betas_zero_snr"))


def _copy_others(source: Path, aside: Path, index: dict[str, object]) -> None:
    """Carry over parts we never load, such as the safety checker, byte for byte."""
    written = json.loads((aside / _INDEX).read_bytes())
    for name, entry in index.items():
        if written.get(name) not in (None, [None, None]) or not (source / name).is_dir():
            continue
        if Path(name).name != name or name == "..":
            continue  # a downloaded index must not lead out of the folder
        shutil.copytree(source / name, aside / name)
        written[name] = entry
    if "requires_safety_checker" in written:
        written["requires_safety_checker"] = bool(
            index.get("requires_safety_checker") and (aside / "safety_checker").is_dir()
        )
    write_json(aside / _INDEX, written)


def _local(source: Source) -> Path:
    """Return the folder of the source; of a hub model, its copy in the hub's cache."""
    if source.folder is not None:
        return source.folder
    return Path(DiffusionPipeline.download(source.name, **source.options))


def _move_in(aside: Path, target: Path) -> None:
    """Replace part by part; the index goes first and comes last, so half a swap does not load."""
    if not target.exists():
        aside.rename(target)
        sync_folder(target.parent)
        return
    (target / _INDEX).unlink(missing_ok=True)
    for part in sorted(aside.iterdir()):
        if part.name == _INDEX:
            continue
        place, old = target / part.name, target / f".{part.name}{_OLD}"
        shutil.rmtree(old, ignore_errors=True)
        if place.exists():
            place.rename(old)
        part.rename(place)
        shutil.rmtree(old, ignore_errors=True)
    (aside / _INDEX).rename(target / _INDEX)
    aside.rmdir()
    sync_folder(target)

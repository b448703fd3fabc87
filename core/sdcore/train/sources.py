"""Where a model comes from, and of which family it is; looked at before any weight is read."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffusers import DiffusionPipeline

from sdcore.errors import NotReadyError, SdError, UsageError
from sdcore.task.train_spec import TrainSpec
from sdcore.text import clean_line
from sdcore.train.families import FAMILIES, Family, family_of

OWN_VAE = "the VAE of pretrained_vae_model_name_or_path"


@dataclass(frozen=True, slots=True)
class Source:
    """Where the parts come from.

    Attributes:
        name: Folder or hub id.
        options: Revision, variant and cache folder, for ``from_pretrained``.
        vae: Folder or hub id of another VAE than the model's; None for the model's own.
    """

    name: str
    options: dict[str, Any]
    vae: str | None = None

    @property
    def folder(self) -> Path | None:
        """The local folder; None for a hub id."""
        return folder_of(self.name)


def folder_of(name: str) -> Path | None:
    """Return the folder that ``name`` means, or None: a hub id, or nothing that is there."""
    path = Path(name).expanduser()
    return path if path.is_dir() else None


def find_source(spec: TrainSpec, environ: Mapping[str, str]) -> Source:
    """Decide where the model comes from, and look at a local folder without reading weights.

    Raises:
        UsageError: No model is given.
        NotReadyError: The folder is not a Stable Diffusion pipeline.
    """
    name = spec.pretrained_model_name_or_path or _mounted(environ, "MODEL_DIR", "/mnt/model")
    if name is None:
        raise UsageError(
            "no model",
            cause="--pretrained_model_name_or_path is not given and no model is mounted",
            remedy="pass a pipeline folder or a hub id",
        )
    options = {"revision": spec.revision, "variant": spec.variant, "cache_dir": spec.cache_dir}
    source = Source(name, options, spec.pretrained_vae_model_name_or_path)
    if source.folder is not None:
        family_of_source(source, index_of(source))
    elif _means_folder(name):
        raise NotReadyError(
            f"the model folder {name}",
            cause="there is no such folder",
            remedy="correct pretrained_model_name_or_path",
        )
    if source.vae is not None:
        _check_vae(source.vae)
    return source


def _means_folder(name: str) -> bool:
    return name.startswith(("/", ".", "~"))


def _check_vae(name: str) -> None:
    """Look at another VAE than the model's, where it is a folder."""
    folder = folder_of(name)
    if folder is None and not _means_folder(name):
        return
    cause = "it holds no config.json" if folder else "there is no such folder"
    if folder is None or not (folder / "config.json").is_file():
        raise NotReadyError(
            f"{OWN_VAE}, {name}",
            cause=cause,
            remedy="give the folder of a VAE alone, such as the folder vae/ of a pipeline",
        )


def _mounted(environ: Mapping[str, str], variable: str, target: str) -> str | None:
    """Return a mount of the run's, by its host path or its path in a container."""
    if "SDTUI_RUN_DIR" not in environ:
        return None
    return environ.get(variable) or (target if Path(target).is_dir() else None)


def _local_index(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / "model_index.json").read_bytes())
        if isinstance(found, dict):
            return found
        cause = f"model_index.json is a {type(found).__name__}, not an object"
    except FileNotFoundError:
        cause = "it holds no model_index.json"
    except (OSError, ValueError) as error:
        cause = f"model_index.json cannot be read: {error}"
    raise NotReadyError(
        f"the model folder {folder}",
        cause=cause,
        remedy="give the folder of a whole Stable Diffusion pipeline",
    )


def index_of(source: Source) -> dict[str, Any]:
    """Return what a model's ``model_index.json`` says.

    Raises:
        NotReadyError: There is none, or it cannot be read.
    """
    return _local_index(source.folder) if source.folder else _hub_index(source)


def _hub_index(source: Source) -> dict[str, Any]:
    options = {name: source.options[name] for name in ("revision", "cache_dir")}
    try:
        index: dict[str, Any] = DiffusionPipeline.load_config(source.name, **options)
    except (OSError, ValueError) as error:
        raise broken(source, "model_index.json", error) from error
    return index


def family_of_source(source: Source, index: Mapping[str, Any]) -> Family:
    """Return the family of a model.

    Raises:
        NotReadyError: It is of none that can be trained.
    """
    family = family_of(index)
    if family is not None:
        return family
    known = " or ".join(family.pipeline.__name__ for family in FAMILIES)
    where = "folder" if source.folder else "hub model"
    raise NotReadyError(
        f"the model {where} {source.name}",
        cause=f"it is a {clean_line(str(index.get('_class_name')), 60)}, and the trainer takes a "
        f"{known}",
        remedy="give a text-to-image pipeline of Stable Diffusion 1.x, 2.x or XL",
    )


def broken(source: Source, name: str, error: Exception) -> SdError:
    """Build the error for a part that cannot be loaded."""
    where = "folder" if source.folder else "hub model"
    remedy = (
        f"complete the folder {name}/, or give another model"
        if source.folder
        else "check the name, the revision and the network, or give a local folder"
    )
    return NotReadyError(
        f"the {name} of the {where} {source.name}",
        cause=clean_line(str(error).strip().split("\n")[0], 300),
        remedy=remedy,
    )

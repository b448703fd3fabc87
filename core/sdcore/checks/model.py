"""Looks at a model before a run, from its configuration and file headers; loads no weight."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdcore.checks.weights import broken, count_parameters, is_pointer, weight_files
from sdcore.data.wording import shown, why
from sdcore.errors import NotReadyError
from sdcore.text import from_home

SDXL = "SDXL"
_FAMILIES = {768: "SD 1.x", 1024: "SD 2.x"}
# Of each pipeline that can be trained: tokenizers and text encoders.
_TEXT_PARTS = {
    "StableDiffusionPipeline": (("tokenizer",), ("text_encoder",)),
    "StableDiffusionXLPipeline": (
        ("tokenizer", "tokenizer_2"),
        ("text_encoder", "text_encoder_2"),
    ),
}
PIPELINES = tuple(_TEXT_PARTS)
_SHIFTS = ("latents_mean", "latents_std", "shift_factor")


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What a pipeline folder says of itself.

    Attributes:
        source: The folder or hub id that was asked for.
        folder: Where it lies; None for a model of the hub that is not on this machine.
        pipeline: Class named in model_index.json; None where there is none.
        family: Of the U-Net: ``SD 1.x``, ``SD 2.x``, ``SDXL``, or ``tiny`` for other text widths.
        parameters: Of the U-Net, from the headers of its safetensors; None if not readable.
        dtype: Precision of the stored U-Net weights.
        vae: Another VAE that is used instead of the model's own.
        vae_factor: Pixels per latent pixel, along a side.
        side: Of the squares the U-Net was made for, px.
        unet_factor: How often the U-Net halves its input, as a factor.
        latent_channels: Channels of the latents.
        unet_channels: Channels the U-Net takes.
        prediction_type: Of the scheduler.
        scheduler: Its class.
        vae_shifts: Whether the VAE's latents are scaled by more than one factor.
        missing: Parts or files that are not there.
        pointers: Files that are Git LFS pointers, or empty.
        pickled: Weight files in ``.bin`` form with no safetensors beside them.
        variants: Variants found beside missing weights, e.g. ``fp16``.
        variant: The one asked for.
    """

    source: str
    folder: str | None
    pipeline: str | None = None
    family: str | None = None
    parameters: int | None = None
    dtype: str | None = None
    vae: str | None = None
    side: int | None = None
    vae_factor: int | None = None
    unet_factor: int | None = None
    latent_channels: int | None = None
    unet_channels: int | None = None
    prediction_type: str | None = None
    scheduler: str | None = None
    vae_shifts: bool = False
    missing: tuple[str, ...] = ()
    pointers: tuple[str, ...] = ()
    pickled: tuple[str, ...] = ()
    variants: tuple[str, ...] = ()
    variant: str | None = None

    def words(self) -> str:
        """Describe the model in one line."""
        if self.folder is None:
            return f"{shown(self.source)}, not on this machine yet"
        number = self.parameters or 0
        size = (
            f"{number / 1e6:,.3g} M parameters" if number >= 100_000 else f"{number:,} parameters"
        )
        if not number:
            size = "size unknown"
        parts = [shown(self.source, 300), self.family, f"U-Net of {size}", self.dtype]
        return ", ".join(part for part in [*parts, self.prediction_type] if part)


def model_facts(
    source: str,
    revision: str | None,
    variant: str | None,
    cache_dir: str | None,
    vae: str | None = None,
) -> ModelFacts:
    """Read what a pipeline folder, or a copy of a hub model on this machine, says of itself.

    Args:
        source: A folder, or an id on the hub.
        revision: Of the hub model.
        variant: Of the weight files, e.g. ``fp16``.
        cache_dir: Where hub downloads are kept.
        vae: Folder or hub id of a VAE to use instead of the model's own.

    Raises:
        NotReadyError: No such folder; a single file; or a configuration that cannot be read.
    """
    folder = _find(source, revision, cache_dir)
    if folder is None:
        return ModelFacts(source, None, variant=variant)
    index = _config(folder / "model_index.json")
    if index is None:
        return ModelFacts(source, str(folder), variant=variant)
    vae_folder = _vae_folder(folder, vae, cache_dir)
    unet = _config(folder / "unet" / "config.json") or {}
    vae_config = (_config(vae_folder / "config.json") or {}) if vae_folder else {}
    scheduler = _config(folder / "scheduler" / "scheduler_config.json") or {}
    name = index.get("_class_name")
    files = _Files(folder, variant, vae_folder, *_TEXT_PARTS.get(str(name), ((), ())))
    missing, pointers, pickled, variants = files.faults()
    parameters, dtype = count_parameters(weight_files(folder / "unet", variant))
    factor = _factor(vae_config)
    return ModelFacts(
        source=source,
        folder=str(folder),
        pipeline=name if isinstance(name, str) else None,
        family=_family(unet) if unet else None,
        parameters=parameters,
        dtype=dtype,
        vae=vae,
        side=_side(unet, factor),
        vae_factor=factor,
        unet_factor=_factor(unet),
        latent_channels=_integer(vae_config.get("latent_channels")),
        unet_channels=_integer(unet.get("in_channels")),
        prediction_type=str(scheduler.get("prediction_type", "epsilon")) if scheduler else None,
        scheduler=str(scheduler["_class_name"]) if "_class_name" in scheduler else None,
        vae_shifts=any(vae_config.get(name) for name in _SHIFTS),
        missing=missing,
        pointers=pointers,
        pickled=pickled,
        variants=variants,
        variant=variant,
    )


def _find(source: str, revision: str | None, cache_dir: str | None) -> Path | None:
    path = Path(from_home(source))
    if source and path.is_dir():
        return path.absolute()
    if path.is_file():
        raise NotReadyError(
            f"the model {shown(source, 300)} is a single file",
            cause="the trainer reads a pipeline folder, with unet/, vae/, text_encoder/, …",
            remedy="convert it once: StableDiffusionPipeline.from_single_file(FILE)"
            ".save_pretrained(FOLDER)",
        )
    if _is_path(source):
        raise NotReadyError(
            f"the model folder {shown(source, 300)} does not exist",
            cause="there is no folder of that name on this machine",
            remedy="check the path, or give the id of a model on the hub",
        )
    return _in_hub_cache(source, "model_index.json", revision, cache_dir)


def _vae_folder(folder: Path, vae: str | None, cache_dir: str | None) -> Path | None:
    """Return where the VAE lies; None for one on the hub that is not on this machine.

    Raises:
        NotReadyError: It is no VAE's folder.
    """
    if vae is None:
        return folder / "vae"
    path = Path(from_home(vae))
    if not path.exists() and not _is_path(vae):
        return _in_hub_cache(vae, "config.json", None, cache_dir)
    if (path / "config.json").is_file():
        return path.absolute()
    cause = "there is no such folder"
    if path.exists():
        cause = "it is a single file" if path.is_file() else "its folder holds no config.json"
    raise NotReadyError(
        f"the VAE {shown(vae, 300)} cannot be used",
        cause=cause,
        remedy="give the folder of a VAE alone, such as the folder vae/ of a pipeline; a file is "
        "converted by AutoencoderKL.from_single_file(FILE).save_pretrained(FOLDER)",
    )


def _is_path(source: str) -> bool:
    """Say whether this can be no name of a model on the hub."""
    return source.startswith(("/", ".", "~")) or source.count("/") > 1 or not source


def _in_hub_cache(
    source: str, file: str, revision: str | None, cache_dir: str | None
) -> Path | None:
    from huggingface_hub import try_to_load_from_cache  # noqa: PLC0415 -- 0.2 s, hub ids only
    from huggingface_hub.errors import HFValidationError  # noqa: PLC0415

    try:
        found = try_to_load_from_cache(source, file, cache_dir=cache_dir, revision=revision)
    except HFValidationError as error:
        raise NotReadyError(
            f"the model {shown(source, 300)} does not exist",
            cause="there is no such folder, and it cannot be the name of a model on the hub",
            remedy="check the path, or give the id of a model on the hub",
        ) from error
    return Path(found).parent if isinstance(found, str) else None


def _config(path: Path) -> dict[str, Any] | None:
    """Return a configuration; None when there is none.

    Raises:
        NotReadyError: It is no JSON object.
    """
    if not path.is_file():
        return None
    try:
        record = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise broken(path, why(error)) from error
    if not isinstance(record, dict):
        raise broken(path, f"it is a {type(record).__name__}, not an object")
    return record


def _family(unet: dict[str, Any]) -> str:
    width = unet.get("cross_attention_dim")
    if unet.get("addition_embed_type") == "text_time":
        return SDXL
    return _FAMILIES.get(width, "tiny") if isinstance(width, int) else "tiny"


def _factor(config: dict[str, Any]) -> int | None:
    """Return 2 to the number of halvings: one less than there are blocks."""
    blocks = config.get("block_out_channels")
    return int(2 ** (len(blocks) - 1)) if isinstance(blocks, list) and blocks else None


def _side(unet: dict[str, Any], factor: int | None) -> int | None:
    size = _integer(unet.get("sample_size"))
    return size * factor if size and factor else None


def _integer(value: object) -> int | None:
    return value if isinstance(value, int) else None


@dataclass(frozen=True, slots=True)
class _Files:
    """The files of a pipeline.

    Attributes:
        folder: Of the pipeline.
        variant: Of the weights.
        vae: Folder of the VAE; None where it cannot be looked at.
        tokenizers: Names of the parts.
        text_encoders: Names of the parts.
    """

    folder: Path
    variant: str | None
    vae: Path | None
    tokenizers: tuple[str, ...]
    text_encoders: tuple[str, ...]

    def faults(
        self,
    ) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
        """Return what is missing, what is a pointer, what is pickled only, and other variants."""
        needed = [path for path in self._needed() if path.parent.is_dir()]
        missing = [self._name(part) + "/" for part in self._parts() if not part.is_dir()]
        missing += [self._name(path) for path in needed if not path.is_file()]
        pickled, variants = [], set()
        for part in self._weighty():
            variant = self.variant if part.parent == self.folder else None
            files = weight_files(part, variant)
            if not files and weight_files(part, variant, "bin"):
                pickled.append(self._name(part))
            elif not files:
                missing.append(f"{self._name(part)}/*.safetensors")
                variants |= set(_variants(part))
            needed += files
        pointers = [self._name(path) for path in needed if path.is_file() and is_pointer(path)]
        return tuple(missing), tuple(pointers), tuple(pickled), tuple(sorted(variants))

    def _name(self, path: Path) -> str:
        inside = path.is_relative_to(self.folder)
        return (path.relative_to(self.folder) if inside else path).as_posix()

    def _parts(self) -> list[Path]:
        names = (*self.text_encoders, *self.tokenizers, "scheduler")
        vae = [] if self.vae is None else [self.vae]
        return [self.folder / "unet", *vae, *(self.folder / name for name in names)]

    def _weighty(self) -> list[Path]:
        """Return the folders that hold weights."""
        parts = [self.folder / "unet", self.vae, *(self.folder / n for n in self.text_encoders)]
        return [part for part in parts if part is not None and part.is_dir()]

    def _needed(self) -> Iterator[Path]:
        yield from (part / "config.json" for part in self._weighty())
        yield self.folder / "scheduler" / "scheduler_config.json"
        for name in self.tokenizers:
            part = self.folder / name
            if not (part / "tokenizer.json").is_file():
                yield from (part / "vocab.json", part / "merges.txt")


def _variants(folder: Path) -> Iterator[str]:
    for path in folder.glob("*.*.safetensors"):
        yield path.name.split(".")[1].split("-")[0]
    if weight_files(folder, None):
        yield ""

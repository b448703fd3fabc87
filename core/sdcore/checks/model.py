"""Looks at a model before a run, from its configuration and file headers; loads no weight."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdcore.checks.findings import Finding
from sdcore.checks.weights import broken, count_parameters, is_pointer, weight_files
from sdcore.data.wording import listed, shown
from sdcore.errors import NotReadyError
from sdcore.text import from_home

_PIPELINE = "StableDiffusionPipeline"
_PARTS = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
_FAMILIES = {768: "SD 1.x", 1024: "SD 2.x", 2048: "SDXL"}


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What a pipeline folder says of itself.

    Attributes:
        source: The folder or hub id that was asked for.
        folder: Where it lies; None for a model of the hub that is not on this machine.
        pipeline: Class named in model_index.json; None where there is none.
        family: ``SD 1.x``, ``SD 2.x``, ``SDXL``, or ``tiny`` for other text widths.
        parameters: Of the U-Net, from the headers of its safetensors; None if not readable.
        dtype: Precision of the stored U-Net weights.
        vae_factor: Pixels per latent pixel, along a side.
        unet_factor: How often the U-Net halves its input, as a factor.
        latent_channels: Channels of the latents.
        unet_channels: Channels the U-Net takes.
        prediction_type: Of the scheduler.
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
    vae_factor: int | None = None
    unet_factor: int | None = None
    latent_channels: int | None = None
    unet_channels: int | None = None
    prediction_type: str | None = None
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
    source: str, revision: str | None, variant: str | None, cache_dir: str | None
) -> ModelFacts:
    """Read what a pipeline folder, or a copy of a hub model on this machine, says of itself.

    Args:
        source: A folder, or an id on the hub.
        revision: Of the hub model.
        variant: Of the weight files, e.g. ``fp16``.
        cache_dir: Where hub downloads are kept.

    Raises:
        NotReadyError: No such folder; a single file; or a configuration that cannot be read.
    """
    folder = _find(source, revision, cache_dir)
    if folder is None:
        return ModelFacts(source, None, variant=variant)
    index = _config(folder / "model_index.json")
    if index is None:
        return ModelFacts(source, str(folder), variant=variant)
    unet = _config(folder / "unet" / "config.json") or {}
    vae = _config(folder / "vae" / "config.json") or {}
    scheduler = _config(folder / "scheduler" / "scheduler_config.json") or {}
    missing, pointers, pickled, variants = _files(folder, variant)
    parameters, dtype = count_parameters(weight_files(folder / "unet", variant))
    name = index.get("_class_name")
    return ModelFacts(
        source=source,
        folder=str(folder),
        pipeline=name if isinstance(name, str) else None,
        family=_family(unet) if unet else None,
        parameters=parameters,
        dtype=dtype,
        vae_factor=_factor(vae),
        unet_factor=_factor(unet),
        latent_channels=_integer(vae.get("latent_channels")),
        unet_channels=_integer(unet.get("in_channels")),
        prediction_type=str(scheduler.get("prediction_type", "epsilon")) if scheduler else None,
        missing=missing,
        pointers=pointers,
        pickled=pickled,
        variants=variants,
        variant=variant,
    )


def model_findings(facts: ModelFacts, *, resolution: int) -> list[Finding]:
    """Judge the facts. Pure.

    Args:
        facts: From ``model_facts``.
        resolution: Side of the training square, px.
    """
    name = shown(facts.source, 300)
    if facts.folder is None:
        return [
            Finding(
                "warning",
                f"the model {name} cannot be checked",
                cause="it is not on this machine; it is looked for on the hub when the run starts",
                remedy="check the name and the network, or give a local pipeline folder",
            )
        ]
    if facts.pipeline is None:
        return [_no_pipeline(facts)]
    if facts.pipeline != _PIPELINE or facts.family == "SDXL":
        return [_other_pipeline(facts)]
    return [*_file_findings(facts), *_shape_findings(facts, resolution)]


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
    if source.startswith(("/", ".", "~")) or source.count("/") > 1 or not source:
        raise NotReadyError(
            f"the model folder {shown(source, 300)} does not exist",
            cause="there is no folder of that name on this machine",
            remedy="check the path, or give the id of a model on the hub",
        )
    return _in_hub_cache(source, revision, cache_dir)


def _in_hub_cache(source: str, revision: str | None, cache_dir: str | None) -> Path | None:
    from huggingface_hub import try_to_load_from_cache  # noqa: PLC0415 -- 0.2 s, hub ids only
    from huggingface_hub.errors import HFValidationError  # noqa: PLC0415

    try:
        found = try_to_load_from_cache(
            source, "model_index.json", cache_dir=cache_dir, revision=revision
        )
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
        raise broken(path, str(error)) from error
    if not isinstance(record, dict):
        raise broken(path, f"it is a {type(record).__name__}, not an object")
    return record


def _family(unet: dict[str, Any]) -> str:
    width = unet.get("cross_attention_dim")
    if unet.get("addition_embed_type") == "text_time":
        return "SDXL"
    return _FAMILIES.get(width, "tiny") if isinstance(width, int) else "tiny"


def _factor(config: dict[str, Any]) -> int | None:
    """Return 2 to the number of halvings: one less than there are blocks."""
    blocks = config.get("block_out_channels")
    return int(2 ** (len(blocks) - 1)) if isinstance(blocks, list) and blocks else None


def _integer(value: object) -> int | None:
    return value if isinstance(value, int) else None


def _files(
    folder: Path, variant: str | None
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Return what is missing, what is a pointer, what is pickled only, and other variants."""
    missing = [f"{part}/" for part in _PARTS if not (folder / part).is_dir()]
    pointers, pickled, variants = [], [], set()
    needed = [path for path in _needed(folder) if path.parent.is_dir()]
    missing += [path.relative_to(folder).as_posix() for path in needed if not path.is_file()]
    for part in ("unet", "vae", "text_encoder"):
        if not (folder / part).is_dir():
            continue
        files = weight_files(folder / part, variant)
        if not files and weight_files(folder / part, variant, "bin"):
            pickled.append(part)
        elif not files:
            missing.append(f"{part}/*.safetensors")
            variants |= set(_variants(folder / part))
        needed += files
    pointers = [p.relative_to(folder).as_posix() for p in needed if p.is_file() and is_pointer(p)]
    return tuple(missing), tuple(pointers), tuple(pickled), tuple(sorted(variants))


def _needed(folder: Path) -> Iterator[Path]:
    yield from (folder / part / "config.json" for part in ("unet", "vae", "text_encoder"))
    yield folder / "scheduler" / "scheduler_config.json"
    if not (folder / "tokenizer" / "tokenizer.json").is_file():
        yield from (folder / "tokenizer" / name for name in ("vocab.json", "merges.txt"))


def _variants(folder: Path) -> Iterator[str]:
    for path in folder.glob("*.*.safetensors"):
        yield path.name.split(".")[1].split("-")[0]
    if weight_files(folder, None):
        yield ""


def _no_pipeline(facts: ModelFacts) -> Finding:
    return Finding(
        "error",
        f"{shown(facts.source, 300)} is not a pipeline folder",
        cause="it has no model_index.json that names a pipeline class",
        remedy="give the folder that holds model_index.json, unet/, vae/ and text_encoder/, as "
        "save_pretrained writes it",
    )


def _other_pipeline(facts: ModelFacts) -> Finding:
    sdxl = facts.family == "SDXL" or "XL" in (facts.pipeline or "")
    kind = (
        "SDXL cannot be trained yet" if sdxl else "only text-to-image Stable Diffusion 1.x and 2.x"
    )
    return Finding(
        "error",
        f"{shown(facts.source, 300)} is of class {shown(facts.pipeline or '')}",
        cause=f"{kind}; the trainer takes a {_PIPELINE}",
        remedy="give a Stable Diffusion 1.x or 2.x pipeline, for example "
        "stable-diffusion-v1-5/stable-diffusion-v1-5",
    )


def _file_findings(facts: ModelFacts) -> Iterator[Finding]:
    name = shown(facts.source, 300)
    if facts.missing:
        yield Finding(
            "error",
            f"the model {name} is not whole",
            cause=f"missing: {listed(facts.missing)}",
            remedy=_variant_hint(facts) or "copy the missing parts, or download the model again",
        )
    if facts.pointers:
        yield Finding(
            "error",
            f"files of the model {name} were never downloaded",
            cause=f"empty, or a Git LFS pointer: {listed(facts.pointers)}",
            remedy="run `git lfs pull` in the model folder, or copy it again",
        )
    if facts.pickled:
        yield Finding(
            "warning",
            f"the model {name} has weights only as .bin",
            cause=f"in {listed(facts.pickled)}: pickle files, which can run code when loaded",
            remedy="use a copy with .safetensors if there is one",
        )


def _variant_hint(facts: ModelFacts) -> str | None:
    if not facts.variants:
        return None
    if facts.variants[0] == "":
        return "leave train.variant out: the weights are there without a variant"
    return f'set train.variant = "{shown(facts.variants[0])}": those weights are there'


def _shape_findings(facts: ModelFacts, resolution: int) -> Iterator[Finding]:
    factor = facts.vae_factor
    if factor and resolution % factor:
        yield Finding(
            "error",
            f"train.resolution = {resolution} does not fit the model",
            cause=f"it is no multiple of {factor}, the VAE's factor",
            remedy=f"set it to {_multiple(resolution, factor)}",
        )
    elif factor and facts.unet_factor and resolution % (factor * facts.unet_factor):
        whole = factor * facts.unet_factor
        yield Finding(
            "warning",
            f"train.resolution = {resolution} does not fit the U-Net evenly",
            cause=f"it is no multiple of {whole}; the U-Net pads and cuts at each of its levels",
            remedy=f"set it to {_multiple(resolution, whole)}",
        )
    channels = facts.latent_channels, facts.unet_channels
    if None not in channels and channels[0] != channels[1]:
        yield Finding(
            "error",
            f"the U-Net of {shown(facts.source, 300)} does not fit its VAE",
            cause=f"it takes {channels[1]} channels, the VAE gives {channels[0]}; 9 is a model "
            "for inpainting",
            remedy="give a text-to-image model",
        )


def _multiple(resolution: int, factor: int) -> int:
    return max(factor, round(resolution / factor) * factor)

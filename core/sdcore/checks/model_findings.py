"""Judges what a model says of itself. Pure."""

from collections.abc import Iterator

from sdcore.checks.findings import Finding
from sdcore.checks.model import PIPELINES, SDXL, ModelFacts
from sdcore.data.wording import listed, shown

_OTHER_NOISE = ("EDM", "FlowMatch")  # how the names of such schedulers begin
_LEAST = 0.7  # of the side a model was made for: below it SDXL is known to lose what it knows


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
    if facts.pipeline not in PIPELINES:
        return [_other_pipeline(facts)]
    if _is_xl(facts) != (facts.family == SDXL) and facts.family is not None:
        return [_other_unet(facts)]
    return [*_file_findings(facts), *_kind_findings(facts), *_shape_findings(facts, resolution)]


def _no_pipeline(facts: ModelFacts) -> Finding:
    return Finding(
        "error",
        f"{shown(facts.source, 300)} is not a pipeline folder",
        cause="it has no model_index.json that names a pipeline class",
        remedy="give the folder that holds model_index.json, unet/, vae/ and text_encoder/, as "
        "save_pretrained writes it",
    )


def _is_xl(facts: ModelFacts) -> bool:
    return facts.pipeline == "StableDiffusionXLPipeline"


def _other_pipeline(facts: ModelFacts) -> Finding:
    return Finding(
        "error",
        f"{shown(facts.source, 300)} is of class {shown(facts.pipeline or '')}",
        cause=f"the trainer takes text-to-image models alone: {' and '.join(PIPELINES)}",
        remedy="give a pipeline of Stable Diffusion 1.x, 2.x or XL, for example "
        "stable-diffusion-v1-5/stable-diffusion-v1-5",
    )


def _other_unet(facts: ModelFacts) -> Finding:
    has = "is" if facts.family == SDXL else "is not"
    return Finding(
        "error",
        f"the parts of {shown(facts.source, 300)} do not belong together",
        cause=f"model_index.json says {facts.pipeline}, and the U-Net {has} one of SDXL",
        remedy="copy the model folder again, whole",
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


def _kind_findings(facts: ModelFacts) -> Iterator[Finding]:
    """Judge what would be trained without a fault, and be spoilt; the trainer refuses it, too."""
    if facts.scheduler is not None and facts.scheduler.startswith(_OTHER_NOISE):
        yield Finding(
            "error",
            f"{shown(facts.source, 300)} was made for another kind of noise",
            cause=f"its scheduler is {shown(facts.scheduler)}, and the trainer trains with a "
            "DDPM's noise",
            remedy="give a model whose scheduler is one of DDPM's kind, such as DDIM or Euler",
        )
    if facts.vae_shifts:
        yield Finding(
            "error",
            f"the VAE of {shown(facts.source, 300)} cannot be trained with",
            cause="its latents are shifted, or scaled channel by channel, and those of Stable "
            "Diffusion 1.x, 2.x and XL are scaled by one factor alone",
            remedy="give another model",
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
    if facts.family == SDXL and facts.side and resolution < _LEAST * facts.side:
        yield Finding(
            "warning",
            f"train.resolution = {resolution} is small for this model",
            cause=f"it was made for {facts.side} px and forgets how to draw them on smaller images",
            remedy=f"set it to {facts.side}, or use gradient_checkpointing and a smaller "
            "train_batch_size if that does not fit",
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

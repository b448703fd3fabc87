"""Loads the parts of a Stable Diffusion pipeline, each by its one class.

The class names in a downloaded ``model_index.json`` are never followed: a model folder must not
choose which code runs. It says of which family the model is (``families``), and no more.
"""

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DDPMScheduler,
    UNet2DConditionModel,
)
from safetensors import SafetensorError
from torch import nn
from transformers import CLIPTokenizer

from sdcore.errors import NotReadyError, UsageError
from sdcore.task.train_spec import TrainSpec
from sdcore.text import clean_line
from sdcore.train.families import Family
from sdcore.train.sources import OWN_VAE, Source, broken, family_of_source, folder_of, index_of


@dataclass(slots=True)
class Models:
    """The parts, on the CPU; the U-Net in fp32, the frozen ones in their own precision.

    Attributes:
        family: Says what the parts are and how text is encoded.
        index: The model's ``model_index.json``.
        tokenizers: By name of the part.
        text_encoders: By name of the part, in the order of the tokenizers.
        schedule: Noise schedule of training.
        sampler: DDIM over the same schedule, for samples.
    """

    source: Source
    family: Family
    index: Mapping[str, Any]
    tokenizers: dict[str, CLIPTokenizer]
    text_encoders: dict[str, nn.Module]
    vae: AutoencoderKL
    unet: UNet2DConditionModel
    schedule: DDPMScheduler
    sampler: DDIMScheduler

    @property
    def weights(self) -> dict[str, Any]:
        """The parts that have weights, by name."""
        return {"unet": self.unet, "vae": self.vae, **self.text_encoders}

    def pipeline(self, unet: UNet2DConditionModel, scheduler: object) -> Any:
        """Return a pipeline of these parts with another U-Net and scheduler; nothing is copied."""
        parts = {**self.weights, **self.tokenizers, "unet": unet, "scheduler": scheduler}
        return self.family.assemble(parts, self.index)

    def reload_frozen(self) -> None:
        """Read the parts that are not trained again: half precision has rounded them."""
        self.text_encoders, self.vae = _load_frozen(self.source, self.family)


def load(spec: TrainSpec, source: Source, unet_folder: Path | None) -> Models:
    """Load all parts; the small ones first, so that a wrong model fails early.

    Args:
        spec: Prediction type and the U-Net's revision.
        source: See ``find_source``.
        unet_folder: Of a checkpoint: the weights to go on from instead of the source's.

    Raises:
        NotReadyError: A part is missing or broken, or cannot be trained as the spec says.
    """
    index = index_of(source)
    family = family_of_source(source, index)
    schedule = _load_schedule(source)
    if spec.prediction_type is not None:
        schedule.register_to_config(prediction_type=spec.prediction_type)
    schedule = _to_pure_noise(schedule, spec)
    _check_prediction(schedule.config.prediction_type, spec)
    tokenizers = {name: _load_tokenizer(source, name) for name in family.tokenizers}
    text_encoders, vae = _load_frozen(source, family)
    if unet_folder is not None:
        unet = load_unet(unet_folder)
    else:
        unet = _weights(
            source, "unet", UNet2DConditionModel.from_pretrained, torch_dtype=torch.float32,
            revision=spec.non_ema_revision or source.options["revision"],
        )  # fmt: skip
    _check_sizes(family, unet, vae, text_encoders)
    return Models(
        source, family, index, tokenizers, text_encoders, vae, unet, schedule,
        DDIMScheduler.from_config(schedule.config, clip_sample=False),
    )  # fmt: skip


def _to_pure_noise(schedule: DDPMScheduler, spec: TrainSpec) -> DDPMScheduler:
    """Let the schedule end at a signal-to-noise ratio of 0, if the spec or the model says so.

    Lin et al. 2023, arXiv:2305.08891, sections 3.1 to 3.3: the last timestep is pure noise, the
    model predicts v, and sampling begins at that timestep (spacing "trailing").

    Raises:
        UsageError: The model predicts the noise: the last timestep would be its own answer.
    """
    if not (spec.rescale_betas_zero_snr or schedule.config.get("rescale_betas_zero_snr")):
        return schedule
    if schedule.config.prediction_type == "epsilon":
        raise UsageError(
            "a schedule of zero-terminal SNR with a model that predicts epsilon",
            cause="at the last timestep the input is the noise itself: nothing is learned there, "
            "and sampling from it divides by zero",
            remedy="set prediction_type v_prediction, or leave rescale_betas_zero_snr out",
        )
    changed: DDPMScheduler = DDPMScheduler.from_config(
        schedule.config, rescale_betas_zero_snr=True, timestep_spacing="trailing"
    )
    return changed


def load_unet(folder: Path) -> UNet2DConditionModel:
    """Load a U-Net that a checkpoint holds, in fp32."""
    return UNet2DConditionModel.from_pretrained(
        folder, use_safetensors=True, torch_dtype=torch.float32
    )


def _load_frozen(source: Source, family: Family) -> tuple[dict[str, nn.Module], AutoencoderKL]:
    """Load the parts that are not trained, in fp32."""
    texts = {
        name: _weights(source, name, kind.from_pretrained, dtype=torch.float32)
        for name, kind in family.text_encoders.items()
    }
    vae = _load_vae(source)
    for part in (*texts.values(), vae):
        part.requires_grad_(False).eval()
    return texts, vae


def _load_vae(source: Source) -> AutoencoderKL:
    if source.vae is None:
        return _weights(source, "vae", AutoencoderKL.from_pretrained, torch_dtype=torch.float32)
    # Revision and variant are the model's, and mean nothing for another repository.
    options = {"cache_dir": source.options["cache_dir"], "torch_dtype": torch.float32}
    try:
        place = folder_of(source.vae) or source.vae
        return _whole(AutoencoderKL.from_pretrained(place, output_loading_info=True, **options))
    except _UNREADABLE as error:
        raise NotReadyError(
            f"{OWN_VAE}, {source.vae}",
            cause=clean_line(str(error).strip().split("\n")[0], 300),
            remedy="check the name and the network, or give the folder of a VAE alone",
        ) from error


# A TypeError: a configuration that names a size null.
_UNREADABLE = (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError)
# Of other noise than the one that is trained with here: their models would be spoilt unseen.
_OTHER_NOISE = ("EDM", "FlowMatch")


def _load_schedule(source: Source) -> DDPMScheduler:
    """Return the noise schedule.

    Raises:
        NotReadyError: It is of a model that removes noise of another kind.
    """
    config = _part(source, "scheduler", DDPMScheduler.load_config)
    kind = str(config.get("_class_name"))
    if kind.startswith(_OTHER_NOISE):
        raise NotReadyError(
            f"the scheduler of {source.name}, {clean_line(kind, 60)}",
            cause="the model was made for another kind of noise than a DDPM's, which is all that "
            "the trainer trains with",
            remedy="give a model whose scheduler is one of DDPM's kind, such as DDIM or Euler",
        )
    schedule: DDPMScheduler = DDPMScheduler.from_config(config)
    return schedule


def _load_tokenizer(source: Source, name: str) -> CLIPTokenizer:
    """Return a tokenizer.

    Raises:
        NotReadyError: It is not there: transformers makes one that knows no word, and every
            caption would read the same.
    """
    tokenizer: CLIPTokenizer = _part(source, name, CLIPTokenizer.from_pretrained)
    if len(tokenizer) <= len(tokenizer.all_special_tokens):
        raise broken(source, name, ValueError("it holds no vocab.json with merges.txt"))
    return tokenizer


def _weights(source: Source, name: str, load_it: Callable[..., Any], **options: Any) -> Any:
    """Return a part with all its weights."""
    try:
        return _whole(_part(source, name, load_it, output_loading_info=True, **options))
    except ValueError as error:
        raise broken(source, name, error) from error


def _whole(loaded: tuple[Any, Mapping[str, Any]]) -> Any:
    """Return a network whose weights were all in its files; others would be random numbers."""
    network, told = loaded
    missing = sorted(told["missing_keys"])
    if missing:
        raise ValueError(f"its files lack {len(missing)} of its weights, such as {missing[0]}")
    return network


def _part(source: Source, name: str, load_it: Callable[..., Any], **options: Any) -> Any:
    settings = {**source.options, **options}
    if name.startswith(("scheduler", "tokenizer")):
        settings.pop("variant")
    try:
        return load_it(source.folder or source.name, subfolder=name, **settings)
    except _UNREADABLE as error:
        raise broken(source, name, error) from error


def _check_prediction(prediction: str, spec: TrainSpec) -> None:
    if prediction not in {"epsilon", "v_prediction"}:
        raise NotReadyError(
            f"the model predicts {prediction}",
            cause="the trainer knows epsilon and v_prediction",
            remedy="give another model, or set prediction_type",
        )
    if spec.dream_training and prediction != "epsilon":
        raise UsageError(
            "dream_training with v_prediction",
            cause="DREAM is defined for models that predict epsilon",
            remedy="leave dream_training out",
        )


def _check_sizes(
    family: Family,
    unet: UNet2DConditionModel,
    vae: AutoencoderKL,
    text_encoders: Mapping[str, nn.Module],
) -> None:
    """Refuse parts that do not fit together, which would fail in the middle of the first step."""
    widths = family.widths(list(text_encoders.values()))
    pairs = {
        "latent channels": (unet.config.in_channels, vae.config.latent_channels),
        "text width": (unet.config.cross_attention_dim, widths.states),
    }
    if any(vae.config.get(name) for name in ("latents_mean", "latents_std", "shift_factor")):
        raise NotReadyError(
            "the model's VAE",
            cause="its latents are shifted, or scaled channel by channel, and those of Stable "
            "Diffusion 1.x, 2.x and XL are scaled by one factor alone",
            remedy="give another model",
        )
    for what, (wanted, got) in pairs.items():
        if wanted != got:
            raise NotReadyError(
                f"the model's {what}",
                cause=f"the U-Net takes {wanted}, the model gives {got}",
                remedy="give a model for text-to-image; inpainting models cannot be trained here",
            )
    fault = family.unet_fault(unet.config, widths)
    if fault is not None:
        raise NotReadyError(
            f"the U-Net in a {family.pipeline.__name__}",
            cause=fault,
            remedy="give a text-to-image pipeline of Stable Diffusion 1.x, 2.x or XL",
        )


def check_xformers(device: torch.device) -> None:
    """See that xformers can be used, before weights are loaded and images encoded.

    Raises:
        NotReadyError: It is not installed, or the device is no GPU.
    """
    if importlib.util.find_spec("xformers") is None:
        raise _no_xformers("the package xformers is not installed")
    if device.type != "cuda":
        raise _no_xformers("xformers' attention needs a GPU")


def use_xformers(unet: UNet2DConditionModel) -> None:
    """Switch attention to xformers.

    Raises:
        NotReadyError: It is not installed, or does not work here.
    """
    try:
        unet.enable_xformers_memory_efficient_attention()
    except (ImportError, ValueError, RuntimeError) as error:
        raise _no_xformers(clean_line(str(error), 300)) from error


def _no_xformers(cause: str) -> NotReadyError:
    return NotReadyError(
        "enable_xformers_memory_efficient_attention",
        cause=cause,
        remedy="pip install xformers, or leave the flag out: torch's own attention is as good",
    )

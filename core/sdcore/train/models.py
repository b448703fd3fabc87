"""Loads the parts of a Stable Diffusion pipeline, each by its one class.

The class names in a downloaded ``model_index.json`` are never followed: a model folder must not
choose which code runs.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, DDPMScheduler, UNet2DConditionModel
from safetensors import SafetensorError
from transformers import CLIPTextModel, CLIPTokenizer

from sdcore.errors import NotReadyError, SdError, UsageError
from sdcore.task.train_spec import TrainSpec
from sdcore.text import clean_line

_PIPELINE = "StableDiffusionPipeline"


@dataclass(frozen=True, slots=True)
class Source:
    """Where the parts come from.

    Attributes:
        name: Folder or hub id.
        options: Revision, variant and cache folder, for ``from_pretrained``.
    """

    name: str
    options: dict[str, Any]

    @property
    def folder(self) -> Path | None:
        """The local folder; None for a hub id."""
        path = Path(self.name).expanduser()
        return path if path.is_dir() else None


@dataclass(slots=True)
class Models:
    """The parts, on the CPU; the U-Net in fp32, the frozen ones in their own precision.

    Attributes:
        schedule: Noise schedule of training.
        sampler: DDIM over the same schedule, for samples.
    """

    source: Source
    tokenizer: CLIPTokenizer
    text_encoder: CLIPTextModel
    vae: AutoencoderKL
    unet: UNet2DConditionModel
    schedule: DDPMScheduler
    sampler: DDIMScheduler


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
    source = Source(name, options)
    if source.folder is not None:
        _check_folder(source.folder)
    elif name.startswith(("/", ".", "~")):
        raise NotReadyError(
            f"the model folder {name}",
            cause="there is no such folder",
            remedy="correct pretrained_model_name_or_path",
        )
    return source


def _mounted(environ: Mapping[str, str], variable: str, target: str) -> str | None:
    """Return a mount of the run's, by its host path or its path in a container."""
    if "SDTUI_RUN_DIR" not in environ:
        return None
    return environ.get(variable) or (target if Path(target).is_dir() else None)


def _check_folder(folder: Path) -> None:
    index = folder / "model_index.json"
    try:
        kind = json.loads(index.read_bytes()).get("_class_name")
    except FileNotFoundError:
        cause = "it holds no model_index.json"
    except (OSError, ValueError, AttributeError) as error:
        cause = f"model_index.json cannot be read: {error}"
    else:
        if kind == _PIPELINE:
            return
        cause = f"it is a {clean_line(str(kind), 60)}, and the trainer takes a {_PIPELINE}"
    raise NotReadyError(
        f"the model folder {folder}",
        cause=cause,
        remedy="give the folder of a whole Stable Diffusion 1.x or 2.x pipeline",
    )


def load(spec: TrainSpec, source: Source, unet_folder: Path | None) -> Models:
    """Load all parts; the small ones first, so that a wrong model fails early.

    Args:
        spec: Prediction type and the U-Net's revision.
        source: See ``find_source``.
        unet_folder: Of a checkpoint: the weights to go on from instead of the source's.

    Raises:
        NotReadyError: A part is missing or broken, or cannot be trained as the spec says.
    """
    schedule = _part(source, "scheduler", DDPMScheduler.from_pretrained)
    if spec.prediction_type is not None:
        schedule.register_to_config(prediction_type=spec.prediction_type)
    schedule = _to_pure_noise(schedule, spec)
    _check_prediction(schedule.config.prediction_type, spec)
    if unet_folder is not None:
        unet = load_unet(unet_folder)
    else:
        unet = _part(
            source, "unet", UNet2DConditionModel.from_pretrained, torch_dtype=torch.float32,
            revision=spec.non_ema_revision or source.options["revision"],
        )  # fmt: skip
    tokenizer = _part(source, "tokenizer", CLIPTokenizer.from_pretrained)
    text_encoder, vae = load_frozen(source)
    _check_sizes(unet, vae, text_encoder)
    return Models(
        source, tokenizer, text_encoder, vae, unet, schedule,
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


def load_frozen(source: Source) -> tuple[CLIPTextModel, AutoencoderKL]:
    """Load the parts that are not trained, in fp32."""
    text = _part(source, "text_encoder", CLIPTextModel.from_pretrained, dtype=torch.float32)
    vae = _part(source, "vae", AutoencoderKL.from_pretrained, torch_dtype=torch.float32)
    return text.requires_grad_(False).eval(), vae.requires_grad_(False).eval()


def _part(source: Source, name: str, load_it: Callable[..., Any], **options: Any) -> Any:
    settings = {**source.options, **options}
    if name in {"scheduler", "tokenizer"}:
        settings.pop("variant")
    try:
        return load_it(source.folder or source.name, subfolder=name, **settings)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise _broken(source, name, error) from error


def _broken(source: Source, name: str, error: Exception) -> SdError:
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
    unet: UNet2DConditionModel, vae: AutoencoderKL, text_encoder: CLIPTextModel
) -> None:
    """Refuse parts that do not fit together, which would fail in the middle of the first step."""
    channels = (unet.config.in_channels, vae.config.latent_channels)
    widths = (unet.config.cross_attention_dim, text_encoder.config.hidden_size)
    for what, (wanted, got) in (("latent channels", channels), ("text width", widths)):
        if wanted != got:
            raise NotReadyError(
                f"the model's {what}",
                cause=f"the U-Net takes {wanted}, the model gives {got}",
                remedy="give a model for text-to-image; inpainting models cannot be trained here",
            )


def use_xformers(unet: UNet2DConditionModel) -> None:
    """Switch attention to xformers.

    Raises:
        NotReadyError: It is not installed, or does not work here.
    """
    try:
        unet.enable_xformers_memory_efficient_attention()
    except (ImportError, ValueError, RuntimeError) as error:
        raise NotReadyError(
            "enable_xformers_memory_efficient_attention",
            cause=clean_line(str(error), 300),
            remedy="pip install xformers, or leave the flag out: torch's own attention is as good",
        ) from error

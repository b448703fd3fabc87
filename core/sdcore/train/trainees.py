"""What a run trains: a whole U-Net, or adapters beside frozen weights.

The loop, the optimizer and the average do not know which of the two it is; what differs is here.
"""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Protocol

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from sdcore.errors import NotReadyError
from sdcore.runs.paths import LORA_WEIGHTS
from sdcore.task.agreement import LORA_FIELDS
from sdcore.task.train_spec import TrainSpec
from sdcore.train import adapters, models, pipeline
from sdcore.train.adapters import Adapters, AdaptersPart
from sdcore.train.encoder import freeze
from sdcore.train.families import Added, Family, pooled_condition
from sdcore.train.models import Models
from sdcore.train.parts import ModelPart, Part
from sdcore.train.session import Job

_NAMES = {
    adapters.UNET: "U-Net", "text_encoder": "text encoder", "text_encoder_2": "second text encoder",
}  # fmt: skip


class Trainee(Protocol):
    """What a run trains.

    Attributes:
        net: Predicts: called with noisy latents, timesteps and text.
        weights: What gets gradients and a state in the optimizer.
        averaged: Holds these weights and no others; the average is a deep copy of it.
        unet: The U-Net that draws.
    """

    net: nn.Module
    weights: list[Tensor]
    averaged: nn.Module
    unet: UNet2DConditionModel

    def parts(self, average: Any | None) -> tuple[Part, ...]:
        """Return what a checkpoint holds of the weights and, where there is one, their average."""

    def load_average(self, average: Any, folder: Path) -> None:
        """Take the average that a checkpoint in ``folder`` holds."""

    def with_average(self, average: Any) -> AbstractContextManager[UNet2DConditionModel]:
        """Give a U-Net that computes with the average; on the way out all is as before."""

    def publish(self, target: Path, average: Any | None) -> int:
        """Write what users load into the folder ``target`` and return the bytes written."""


class WholeUnet:
    """Every weight of the U-Net. Implements ``Trainee``."""

    def __init__(self, job: Job, parts: Models) -> None:
        unet = _prepared(job, parts)
        unet.to(job.world.device)
        unet.requires_grad_(True)
        self.unet = unet
        self.net: nn.Module = unet
        self.averaged: nn.Module = unet
        self.weights: list[Tensor] = list(unet.parameters())
        self._parts, self._dtype = parts, job.precision.frozen_dtype(job.world.device)

    def parts(self, average: Any | None) -> tuple[Part, ...]:
        """See ``Trainee``."""
        averaged = (ModelPart("unet_ema", average),) if average is not None else ()
        return ModelPart("unet", self.unet), *averaged

    def load_average(self, average: Any, folder: Path) -> None:
        """See ``Trainee``."""
        average.load_state_dict(models.load_unet(folder / "unet_ema").state_dict())

    def with_average(self, average: Any) -> AbstractContextManager[UNet2DConditionModel]:
        """See ``Trainee``."""
        return nullcontext(average)

    def publish(self, target: Path, average: Any | None) -> int:
        """See ``Trainee``."""
        parts = self._parts
        if self._dtype != torch.float32:
            parts.reload_frozen()
        return pipeline.save(target, self.unet if average is None else average, parts)


class Lora:
    """Adapters in the U-Net and, if asked for, in the text encoders. Implements ``Trainee``.

    The models stay frozen, on the GPU in half precision under mixed precision.
    """

    def __init__(self, job: Job, parts: Models) -> None:
        self._spec, device = job.spec, job.world.device
        dtype = job.precision.frozen_dtype(device)
        self.unet = _prepared(job, parts)
        freeze(self.unet, device, dtype)
        hosts: dict[str, nn.Module] = {adapters.UNET: self.unet}
        self.net: nn.Module = self.unet
        if job.spec.train_text_encoder:
            texts = {n: _prepared_text(job, t, dtype) for n, t in parts.text_encoders.items()}
            hosts |= texts
            self.net = Captioned(parts.family, texts, self.unet)
        self.adapters = adapters.attach(hosts, job.spec, job.seed, parts.family)
        self.averaged: nn.Module = self.adapters
        for host in hosts.values():
            host.train()  # dropout of adapters, and recomputed activations, are for training
        if job.resumption is not None:
            self.adapters.load(job.resumption.folder / "lora" / LORA_WEIGHTS)
        self.weights: list[Tensor] = list(self.adapters.weights)
        job.report.say(self._words(hosts))

    def _words(self, hosts: Mapping[str, nn.Module]) -> str:
        total = sum(weight.numel() for weight in self.weights)
        where = " and the ".join(_NAMES[host] for host in hosts)
        return (
            f"adapters: {total:,} weights to train, of rank {self._spec.rank}, beside "
            f"{len(self.weights) // 2} layers of the {where}"
        )

    def parts(self, average: Adapters | None) -> tuple[Part, ...]:
        """See ``Trainee``."""
        averaged = (AdaptersPart("lora_ema", average, self._spec),) if average is not None else ()
        return AdaptersPart("lora", self.adapters, self._spec), *averaged

    def load_average(self, average: Adapters, folder: Path) -> None:
        """See ``Trainee``."""
        average.load(folder / "lora_ema" / LORA_WEIGHTS)

    @contextmanager
    def with_average(self, average: Adapters) -> Iterator[UNet2DConditionModel]:
        """See ``Trainee``."""
        with self.adapters.swapped(average):
            yield self.unet

    def publish(self, target: Path, average: Adapters | None) -> int:
        """See ``Trainee``."""
        return adapters.publish(target, self.adapters if average is None else average)


class Captioned(nn.Module):
    """A U-Net that encodes its captions itself: for text encoders that train.

    One module, so that the gradients of all travel between processes together.
    """

    def __init__(self, family: Family, texts: Mapping[str, nn.Module], unet: nn.Module) -> None:
        super().__init__()
        self._family, self.text_encoders, self.unet = family, nn.ModuleDict(texts), unet

    def forward(
        self,
        noisy_BCHW: Tensor,
        timesteps_B: Tensor,
        ids_BEL: Tensor,
        *,
        added_cond_kwargs: Added | None,
        **options: Any,
    ) -> Any:
        """Return what the U-Net returns for captions given as token ids, (B, E, L)."""
        text = self._family.encode(list(self.text_encoders.values()), ids_BEL)
        if added_cond_kwargs is not None:
            added_cond_kwargs = {**added_cond_kwargs, **pooled_condition(text)}
        return self.unet(
            noisy_BCHW, timesteps_B, text.states, added_cond_kwargs=added_cond_kwargs, **options
        )


def trainee_of(job: Job, parts: Models) -> Trainee:
    """Bring what the spec trains to the device, with the weights to begin from."""
    return Lora(job, parts) if job.spec.train_lora else WholeUnet(job, parts)


def unet_folder(job: Job) -> Path | None:
    """Return where the U-Net comes from, on a resume of it; None: from the source."""
    if job.resumption is None or job.spec.train_lora:
        return None
    return job.resumption.folder / "unet"


def check_layers(job: Job, parts: Models) -> None:
    """Refuse adapters for layers that are not there, before images are encoded for an hour.

    Raises:
        UsageError: A name in ``lora_target_modules`` is no layer's.
    """
    if job.spec.train_lora:
        adapters.check_targets(parts.unet, job.spec.lora_target_modules)


def check_kind(job: Job) -> None:
    """Refuse to resume what is another kind of training.

    Raises:
        NotReadyError: The checkpoint is of a whole U-Net, and adapters are to be trained, or the
            other way round; or its adapters have another shape.
    """
    if job.resumption is None:
        return
    new = job.spec.model_dump(mode="json")
    # The checkpoint may be older than these settings.
    before = TrainSpec().model_dump(mode="json") | job.resumption.progress.spec
    changed = [
        f"{name} was {before[name]} and is {new[name]}"
        for name in ("train_lora", *LORA_FIELDS)
        if before[name] != new[name] and name != "lora_dropout"
    ]
    if changed:
        raise NotReadyError(
            f"the checkpoint {job.resumption.folder.name} is of another kind of training",
            cause="; ".join(changed),
            remedy="resume with the LoRA settings the run began with, or start a new run",
        )


def _prepared(job: Job, parts: Models) -> UNet2DConditionModel:
    """Bring the U-Net into its training mode."""
    unet = parts.unet
    if job.spec.memory_format == "channels_last":
        unet.to(memory_format=torch.channels_last)
    if job.spec.enable_xformers_memory_efficient_attention:
        models.use_xformers(unet)
    if job.spec.gradient_checkpointing:
        unet.enable_gradient_checkpointing()
    return unet.train()


def _prepared_text(job: Job, text_encoder: Any, dtype: torch.dtype) -> nn.Module:
    freeze(text_encoder, job.world.device, dtype)
    if job.spec.gradient_checkpointing:
        text_encoder.gradient_checkpointing_enable({"use_reentrant": False})
    return text_encoder  # type: ignore[no-any-return]

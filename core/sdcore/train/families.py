"""What differs between the families of Stable Diffusion: 1.x and 2.x are one here, SDXL another.

Which family a model is of follows from its ``model_index.json``. Everything else of the trainer
asks the family and does not look which one it is.

B samples, E text encoders, L tokens (77), D text width, P width of the pooled text.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from torch import Tensor
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from sdcore.task.estimate import FamilyName
from sdcore.train.framing import Frame

# What a U-Net is told beside text and timestep, by diffusers' names; None: nothing.
Added = dict[str, Tensor]


class Text(NamedTuple):
    """Captions as a network takes them.

    Attributes:
        states: Of the text encoders, (B, L, D); token ids, (B, E, L), where those train, too.
        pooled: One vector for a whole caption, (B, P); None for a family without one.
    """

    states: Tensor
    pooled: Tensor | None


class Widths(NamedTuple):
    """Numbers for each token, D, and for a whole caption, P; 0 for a family without those."""

    states: int
    pooled: int


@dataclass(frozen=True, slots=True)
class Family:
    """One family.

    Attributes:
        name: As estimates and messages say it.
        pipeline: The class that ``model_index.json`` names.
        tokenizers: Names of the parts.
        text_encoders: Their names, in the order of the tokenizers, and the class of each.
        encode: Encodes token ids, (B, E, L), with these encoders, on their device.
        idle: How many of its last layers a text encoder has without an effect, where it has any.
        resolution: Side of the squares it was made for, px: what its own script defaults to.
        sized: Whether the U-Net is told sizes, crop and the pooled text.
        vae_overflows: Whether the model's own VAE is useless in fp16.
        beside: What its pipeline is built with beside the parts.
        told: Names in ``model_index.json`` that it is built with, too.
    """

    name: FamilyName
    pipeline: type[Any]
    tokenizers: tuple[str, ...]
    text_encoders: Mapping[str, type[Any]]
    encode: Callable[[Sequence[Any], Tensor], Text]
    idle: Mapping[str, int]
    resolution: int
    sized: bool
    vae_overflows: bool
    beside: Mapping[str, Any]
    told: tuple[str, ...]

    def widths(self, encoders: Sequence[Any]) -> Widths:
        """Return what these text encoders give."""
        configs = [encoder.config for encoder in encoders]
        states = sum(int(config.hidden_size) for config in configs)
        return Widths(states, int(configs[-1].projection_dim) if self.sized else 0)

    def unet_fault(self, config: Mapping[str, Any], widths: Widths) -> str | None:
        """Say what of a U-Net's configuration does not fit beside the text encoders, or None."""
        kind = config.get("addition_embed_type")
        if not self.sized:
            return kind and f"it wants conditions of the kind {kind} beside the text"
        if kind != "text_time":
            return "it takes no sizes and no pooled text"
        wanted = config.get("projection_class_embeddings_input_dim")
        given = widths.pooled + len(_SIZES) * int(config.get("addition_time_embed_dim") or 0)
        if wanted == given:
            return None
        return (
            f"it takes {wanted} numbers of sizes and pooled text, and these parts give {given}; "
            "the refiner is such a model"
        )

    def assemble(self, parts: Mapping[str, Any], index: Mapping[str, Any]) -> Any:
        """Build a pipeline of loaded parts, with what the model's index says beside them."""
        told = {name: index[name] for name in self.told if name in index}
        return self.pipeline(**parts, **self.beside, **told)


def _last_states(encoders: Sequence[Any], ids_BEL: Tensor) -> Text:
    return Text(encoders[0](ids_BEL[:, 0], return_dict=False)[0], None)


def _states_before_the_last(encoders: Sequence[Any], ids_BEL: Tensor) -> Text:
    """Encode as SDXL does: both encoders side by side, and the pooled text of the second."""
    outputs = [
        encoder(ids_BL, output_hidden_states=True)
        for encoder, ids_BL in zip(encoders, ids_BEL.unbind(1), strict=True)
    ]
    states_BLD = torch.cat([output.hidden_states[-2] for output in outputs], dim=-1)
    return Text(states_BLD, outputs[-1].text_embeds)


SD = Family(
    name="SD",
    pipeline=StableDiffusionPipeline,
    tokenizers=("tokenizer",),
    text_encoders={"text_encoder": CLIPTextModel},
    encode=_last_states,
    idle={},
    resolution=512,
    sized=False,
    vae_overflows=False,
    beside={"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False},
    told=(),
)
# Podell et al. 2023, arXiv:2307.01952. Nothing is read of the first encoder's last layer, and the
# pooled text comes from the second's.
SDXL = Family(
    name="SDXL",
    pipeline=StableDiffusionXLPipeline,
    tokenizers=("tokenizer", "tokenizer_2"),
    text_encoders={"text_encoder": CLIPTextModel, "text_encoder_2": CLIPTextModelWithProjection},
    encode=_states_before_the_last,
    idle={"text_encoder": 1},
    resolution=1024,
    sized=True,
    vae_overflows=True,
    beside={"add_watermarker": False},
    told=("force_zeros_for_empty_prompt",),
)
FAMILIES = (SD, SDXL)


def family_of(index: Mapping[str, Any]) -> Family | None:
    """Return the family of a pipeline by its ``model_index.json``; None for one we do not train."""
    named = index.get("_class_name")
    return next((family for family in FAMILIES if family.pipeline.__name__ == named), None)


_SIZES = ("original height", "original width", "top", "left", "target height", "target width")


def time_ids(frames: Sequence[Frame]) -> Tensor:
    """Return what SDXL is told of sizes and crop, (B, 6), float32, in px.

    In the order of ``_SIZES``, height first, as in section 2.2 of the paper and in diffusers. A
    mirrored picture is told its crop in the mirrored image.

    Args:
        frames: Of the pictures as they are shown.
    """
    rows = [
        (*reversed(frame.original), *reversed(frame.corner), *reversed(frame.size))
        for frame in frames
    ]
    return torch.tensor(rows, dtype=torch.float32)


def conditions(text: Text, frames: Sequence[Frame] | None) -> Added | None:
    """Return what the U-Net is told beside text and timestep.

    Args:
        text: The pooled one counts.
        frames: Of the pictures; None for a family that is told no sizes.
    """
    if frames is None:
        return None
    return {"time_ids": time_ids(frames), **pooled_condition(text)}


def pooled_condition(text: Text) -> Added:
    """Return the pooled text under the name that the U-Net takes it by, if there is one."""
    return {} if text.pooled is None else {"text_embeds": text.pooled}

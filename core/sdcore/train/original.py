"""The names of Stable Diffusion 1.x, 2.x and XL in the layout of the original checkpoints.

Image programs read that layout: one flat list of tensors, named by CompVis' latent-diffusion and,
for the text encoder of 2.x and the second of XL, by OpenCLIP. All names here follow from the
configurations and names of a pipeline's parts, so any depth will do. Nothing here reads a file or
imports torch.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from itertools import accumulate
from typing import Any, NamedTuple

Config = Mapping[str, Any]


class UnknownLayoutError(ValueError):
    """The original layout has no place for a part; the text says for which and why."""


class Place(NamedTuple):
    """Where a tensor goes.

    Attributes:
        name: Of the tensor in the file.
        order: Where it stands among the tensors that are joined under that name, along their
            first axis.
        kernel: Whether a matrix, (out, in), is written as the kernel of a 1x1 convolution,
            (out, in, 1, 1).
        turned: Whether a matrix is written as its transpose, (in, out).
    """

    name: str
    order: int = 0
    kernel: bool = False
    turned: bool = False


class Names(NamedTuple):
    """How the names of each part are found; a second text encoder is XL's alone."""

    unet: Callable[[str], Place]
    vae: Callable[[str], Place]
    text_encoder: Callable[[str], Place]
    text_encoder_2: Callable[[str], Place] | None = None

    @property
    def parts(self) -> dict[str, Callable[[str], Place]]:
        """By name of the part."""
        return {part: place for part, place in self._asdict().items() if place is not None}


def names_of(
    unet: Config, vae: Config, text_encoder: Config, text_encoder_2: Config | None = None
) -> Names:
    """Return the naming that these configurations ask for.

    Args:
        unet: Of the part's ``config.json``; so the others.
        vae: See there.
        text_encoder: See there.
        text_encoder_2: XL's; None makes it 1.x or 2.x.

    Raises:
        UnknownLayoutError: A part is of a kind that Stable Diffusion does not have.
    """
    if text_encoder_2 is None:
        return Names(_unet_names(unet, None), _vae_names(vae), _text_names(text_encoder))
    for part, config, known in (
        ("first", text_encoder, "quick_gelu"), ("second", text_encoder_2, "gelu"),
    ):  # fmt: skip
        if (found := config.get("hidden_act", "quick_gelu")) != known:
            raise UnknownLayoutError(f"its {part} text encoder computes with {found}, not {known}")
    return Names(
        _unet_names(unet, "text_time"),
        _vae_names(vae),
        lambda name: Place(f"conditioner.embedders.0.transformer.text_model.{_bare(name)}"),
        lambda name: _open_clip(_bare(name), "conditioner.embedders.1.model"),
    )


_BLOCK = re.compile(
    r"(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.+)"
)
_UNET_KINDS: dict[str, set[Any]] = {
    "down_block_types": {"DownBlock2D", "CrossAttnDownBlock2D"},
    "mid_block_type": {"UNetMidBlock2DCrossAttn"},
    "up_block_types": {"UpBlock2D", "CrossAttnUpBlock2D"},
    "class_embed_type": {None},
}
_UNET_LAYERS = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0",
    "mid_block.attentions.0": "middle_block.1",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}


def _unet_names(config: Config, added: str | None) -> Callable[[str], Place]:
    """Count blocks as the original does: layer by layer, and each downsampler as one of its own.

    Args:
        config: Of the U-Net.
        added: The kind of conditions beside the text that its family has.
    """
    _check(config, {**_UNET_KINDS, "addition_embed_type": {added}}, "U-Net")
    blocks = len(config["down_block_types"])
    layers = config["layers_per_block"]
    deep = [layers] * blocks if isinstance(layers, int) else list(layers)
    # Each level of the way down ends in a downsampler; each of the way up has a layer more.
    starts = {
        "down": list(accumulate((n + 1 for n in deep), initial=1)),
        "up": list(accumulate((n + 1 for n in reversed(deep)), initial=0)),
    }
    crossed = [kind.startswith("CrossAttn") for kind in config["up_block_types"]]

    def place(name: str) -> Place:
        found = _BLOCK.fullmatch(name)
        if found is None and added is None and name.startswith("add_embedding."):
            raise _homeless(name)
        if found is None:
            return Place(f"model.diffusion_model.{_outside_blocks(name)}")
        way, block, kind, layer, rest = found.groups()
        i, j = int(block), int(layer)
        if kind == "downsamplers":
            inner, j = f"0.{_swapped(rest, {'conv': 'op'}, name)}", deep[i]
        elif kind == "upsamplers":  # the last of its level, after the attention if there is one
            inner, j = f"{1 + crossed[i]}.{rest}", deep[blocks - 1 - i]
        else:
            inner = f"1.{rest}" if kind == "attentions" else f"0.{_swapped(rest, _RESNET, name)}"
        side = "input" if way == "down" else "output"
        return Place(f"model.diffusion_model.{side}_blocks.{starts[way][i] + j}.{inner}")

    return place


def _outside_blocks(name: str) -> str:
    resnet = re.fullmatch(r"mid_block\.resnets\.([01])\.(.+)", name)
    if resnet is None:
        return _swapped(name, _UNET_LAYERS, name)
    return f"middle_block.{2 * int(resnet[1])}.{_swapped(resnet[2], _RESNET, name)}"


_VAE_KINDS: dict[str, set[Any]] = {
    "down_block_types": {"DownEncoderBlock2D"},
    "up_block_types": {"UpDecoderBlock2D"},
}
_VAE_BLOCK = re.compile(
    r"(encoder\.down|decoder\.up)_blocks\.(\d+)\.(resnets\.(\d+)|(down|up)samplers\.0)\.(.+)"
)
_VAE_MID = re.compile(r"(encoder|decoder)\.mid_block\.(resnets|attentions)\.([01])\.(.+)")
_VAE_ENDS = re.compile(
    r"((encoder|decoder)\.conv_(in|out|norm_out)|quant_conv|post_quant_conv)\.(weight|bias)"
)
_SHORTCUT = {"conv_shortcut": "nin_shortcut"}
_VAE_RESNET = {name: name for name in ("norm1", "conv1", "norm2", "conv2")} | _SHORTCUT
_VAE_ATTENTION = {
    "group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out",
}  # fmt: skip


def _vae_names(config: Config) -> Callable[[str], Place]:
    _check(config, _VAE_KINDS, "VAE")
    last = len(config["up_block_types"]) - 1

    def place(name: str) -> Place:
        block, mid = _VAE_BLOCK.fullmatch(name), _VAE_MID.fullmatch(name)
        if block is not None:
            side, level, _, layer, way, rest = block.groups()
            # The original counts levels by their resolution, on the way up as well.
            i = int(level) if side == "encoder.down" else last - int(level)
            inner = (
                f"{way}sample.{rest}" if way
                else f"block.{layer}.{_swapped(rest, _VAE_RESNET, name)}"
            )  # fmt: skip
            return Place(f"first_stage_model.{side}.{i}.{inner}")
        if mid is not None:
            return _vae_middle(name, mid)
        if _VAE_ENDS.fullmatch(name) is None:
            raise _homeless(name)
        return Place(f"first_stage_model.{name.replace('conv_norm_out', 'norm_out')}")

    return place


def _vae_middle(name: str, found: re.Match[str]) -> Place:
    side, kind, number, rest = found.groups()
    middle = f"first_stage_model.{side}.mid"
    if kind == "resnets":
        return Place(f"{middle}.block_{int(number) + 1}.{_swapped(rest, _VAE_RESNET, name)}")
    inner = _swapped(rest, _VAE_ATTENTION, name)
    kernel = inner.endswith(".weight") and not inner.startswith("norm.")
    return Place(f"{middle}.attn_{int(number) + 1}.{inner}", kernel=kernel)


_OPEN_CLIP = {
    "embeddings.token_embedding": "token_embedding",
    "final_layer_norm": "ln_final",
}
_OPEN_CLIP_LAYER = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}


def _text_names(config: Config) -> Callable[[str], Place]:
    """Tell the two families of text encoders apart, by what no size can blur.

    OpenAI's CLIP, of 1.x, was trained with a quick approximation of GELU, OpenCLIP's, of 2.x, with
    GELU itself; image programs choose the function by the layout.
    """
    activation = config.get("hidden_act", "quick_gelu")
    if activation == "quick_gelu":
        return lambda name: Place(f"cond_stage_model.transformer.text_model.{_bare(name)}")
    if activation == "gelu":
        return lambda name: _open_clip(_bare(name), "cond_stage_model.model")
    raise UnknownLayoutError(
        f"its text encoder computes with {activation}, and those of Stable Diffusion 1.x and 2.x "
        "with quick_gelu and gelu"
    )


def _bare(name: str) -> str:
    """Leave out the level that files of transformers before 5 have."""
    return name.removeprefix("text_model.")


def _open_clip(name: str, stem: str) -> Place:
    layer = re.fullmatch(r"encoder\.layers\.(\d+)\.(.+)", name)
    if layer is None:
        if name == "embeddings.position_embedding.weight":  # a bare tensor there, and no layer
            return Place(f"{stem}.positional_embedding")
        if name == "text_projection.weight":  # a bare tensor, too, and multiplied from the right
            return Place(f"{stem}.text_projection", turned=True)
        return Place(f"{stem}.{_swapped(name, _OPEN_CLIP, name)}")
    block = f"{stem}.transformer.resblocks.{layer[1]}"
    joined = re.fullmatch(r"self_attn\.([qkv])_proj\.(weight|bias)", layer[2])
    if joined is not None:
        return Place(f"{block}.attn.in_proj_{joined[2]}", order="qkv".index(joined[1]))
    return Place(f"{block}.{_swapped(layer[2], _OPEN_CLIP_LAYER, name)}")


def _swapped(name: str, table: Mapping[str, str], whole: str) -> str:
    """Replace the layer that ``name`` begins with; ``whole`` is for the error alone."""
    for ours, theirs in table.items():
        if name.startswith(f"{ours}."):
            return theirs + name.removeprefix(ours)
    raise _homeless(whole)


def _check(config: Config, kinds: Mapping[str, set[Any]], part: str) -> None:
    for key, known in kinds.items():
        value = config.get(key)
        strange = set(value if isinstance(value, list | tuple) else [value]) - known
        if strange:
            found = ", ".join(sorted(map(str, strange)))
            raise UnknownLayoutError(f"its {part} has {key} {found}")


def _homeless(name: str) -> UnknownLayoutError:
    return UnknownLayoutError(f"there is no place for its tensor {name}")


def check_names(names: Names, parts: Mapping[str, Iterable[str]]) -> None:
    """Find a place for every tensor, given by part.

    Raises:
        UnknownLayoutError: One has none.
    """
    for part, tensors in parts.items():
        for name in tensors:
            names.parts[part](name)

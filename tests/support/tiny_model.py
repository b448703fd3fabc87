"""A Stable Diffusion of 60,000 weights and a data set of coloured squares, made in a second.

    make_pipeline(tmp_path / "model")
    make_dataset(tmp_path / "data", count=10, size=32)
    python -m sdcore.train --pretrained_model_name_or_path model --train_data_dir data \
        --resolution 32 --train_batch_size 2 --max_train_steps 4 --report_to none

The VAE halves the side (32 px become 16 latents), the text encoder takes 77 tokens of 8 numbers.
``make_sdxl`` writes one with two text encoders, of 8 and 12 numbers, that is told sizes.
"""

# ruff: noqa: PLC0415 - tests of the console must be able to import this without torch
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

COLOURS = {"red": (200, 30, 30), "green": (30, 180, 40), "blue": (40, 60, 210)}


@dataclass(frozen=True)
class Sizes:
    """How large the networks are. The defaults are the smallest that work."""

    channels: tuple[int, int] = (4, 8)
    layers: int = 1
    groups: int = 2
    text: int = 8
    text_layers: int = 2


# Those of the tiny model that diffusers' own tests train: 1,427,012 weights in the U-Net.
PLATFORM = Sizes((32, 64), layers=2, groups=32, text=32, text_layers=5)


def _byte_vocabulary() -> dict[str, int]:
    """Return the 512 byte symbols of CLIP's tokenizer, plus its two marks at 512 and 513."""
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    spare = iter(range(256, 512))
    symbols = [chr(b) if b in kept else chr(next(spare)) for b in range(256)]
    words = [*symbols, *(symbol + "</w>" for symbol in symbols)]
    return {word: i for i, word in enumerate([*words, "<|startoftext|>", "<|endoftext|>"])}


def make_pipeline(
    folder: Path, *, seed: int = 0, prediction_type: str = "epsilon", sizes: Sizes | None = None
) -> Path:
    """Write a complete pipeline with random weights.

    Args:
        folder: Where to; must not exist.
        seed: Of the weights.
        prediction_type: Of the scheduler: ``epsilon`` or ``v_prediction``.
        sizes: Of the networks; left out, the smallest.
    """
    import torch
    from diffusers import (
        AutoencoderKL,
        DDIMScheduler,
        StableDiffusionPipeline,
        UNet2DConditionModel,
    )
    from transformers import CLIPTextConfig, CLIPTextModel

    some = sizes or Sizes()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet = UNet2DConditionModel(
            block_out_channels=some.channels, layers_per_block=some.layers, sample_size=16,
            in_channels=4, out_channels=4,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), cross_attention_dim=some.text,
            norm_num_groups=some.groups,
        )  # fmt: skip
        vae = AutoencoderKL(
            block_out_channels=some.channels, in_channels=3, out_channels=3, latent_channels=4,
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2, norm_num_groups=some.groups, sample_size=32,
        )  # fmt: skip
        text = CLIPTextModel(
            CLIPTextConfig(
                hidden_size=some.text, intermediate_size=2 * some.text,
                num_hidden_layers=some.text_layers, num_attention_heads=2,
                vocab_size=514, bos_token_id=512, eos_token_id=513, pad_token_id=513,
            )
        )  # fmt: skip
    scheduler = DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False,
        set_alpha_to_one=False, steps_offset=1, prediction_type=prediction_type,
    )  # fmt: skip
    StableDiffusionPipeline(
        vae=vae, text_encoder=text, tokenizer=_tokenizer(), unet=unet, scheduler=scheduler,
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    ).save_pretrained(folder)  # fmt: skip
    return folder


def make_sdxl(folder: Path, *, seed: int = 0, **index: Any) -> Path:
    """Write a complete SDXL pipeline with random weights.

    Args:
        folder: Where to; must not exist.
        seed: Of the weights.
        index: What ``model_index.json`` says beside the parts.
    """
    import torch
    from diffusers import AutoencoderKL, EulerDiscreteScheduler, StableDiffusionXLPipeline

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        parts = {
            "unet": _sdxl_unet(),
            "vae": AutoencoderKL(
                block_out_channels=(4, 8), in_channels=3, out_channels=3, latent_channels=4,
                down_block_types=("DownEncoderBlock2D",) * 2,
                up_block_types=("UpDecoderBlock2D",) * 2, norm_num_groups=2, sample_size=32,
                scaling_factor=0.13025,
            ),
            "text_encoder": _clip(8, pooled=None),
            "text_encoder_2": _clip(12, pooled=6, hidden_act="gelu"),
        }  # fmt: skip
    scheduler = EulerDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1,
        timestep_spacing="leading",
    )  # fmt: skip
    StableDiffusionXLPipeline(
        **parts, scheduler=scheduler, tokenizer=_tokenizer(), tokenizer_2=_tokenizer("!"), **index
    ).save_pretrained(folder)
    return folder


def _sdxl_unet() -> Any:
    """A U-Net told 6 pooled numbers and 6 sizes of 4 numbers each, with transformers of 1 and 2."""
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        block_out_channels=(4, 8), layers_per_block=1, sample_size=16, in_channels=4,
        out_channels=4, down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), cross_attention_dim=20,
        norm_num_groups=2, attention_head_dim=[1, 2], transformer_layers_per_block=[1, 2],
        use_linear_projection=True, addition_embed_type="text_time", addition_time_embed_dim=4,
        projection_class_embeddings_input_dim=6 + 6 * 4,
    )  # fmt: skip


def _clip(width: int, *, pooled: int | None, **options: Any) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    config = CLIPTextConfig(
        hidden_size=width, intermediate_size=2 * width, num_hidden_layers=3,
        num_attention_heads=2, vocab_size=514, bos_token_id=512, eos_token_id=513,
        pad_token_id=513, projection_dim=pooled or 512, **options,
    )  # fmt: skip
    return CLIPTextModel(config) if pooled is None else CLIPTextModelWithProjection(config)


def _tokenizer(pad: str = "<|endoftext|>") -> Any:
    from transformers import CLIPTokenizer

    return CLIPTokenizer(vocab=_byte_vocabulary(), merges=[], model_max_length=77, pad_token=pad)


def make_dataset(
    folder: Path, count: int = 10, size: int = 32, *, captions: Sequence[Any] | None = None
) -> Path:
    """Write an imagefolder with ``metadata.jsonl``.

    Args:
        folder: Where to; made.
        count: Images, each of its own content.
        size: Side of the images, px.
        captions: One per image, strings or lists of strings; left out, ``a red square 0`` ….
    """
    from PIL import Image

    folder.mkdir(parents=True)
    rng = random.Random(0)
    lines = []
    for i in range(count):
        name, colour = list(COLOURS.items())[i % len(COLOURS)]
        image = Image.new("RGB", (size, size), (rng.randrange(256),) * 3)
        image.paste(colour, (i % 8, 2, size // 2 + i % 5, size - 4))
        image.save(folder / f"{i:04d}.png")
        text = captions[i] if captions is not None else f"a {name} square {i}"
        lines.append(json.dumps({"file_name": f"{i:04d}.png", "text": text}) + "\n")
    (folder / "metadata.jsonl").write_text("".join(lines), encoding="utf-8")
    return folder


def make_shapes(folder: Path, shapes: Sequence[tuple[int, int]]) -> Path:
    """Write an image of noise for each (width, height), each with two captions."""
    import numpy as np
    from PIL import Image

    folder.mkdir()
    lines = []
    for i, (width, height) in enumerate(shapes):
        pixels = np.random.default_rng(i).integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
        lines.append(json.dumps({"file_name": f"{i}.png", "text": [f"one {i}", f"two {i}"]}))
    (folder / "metadata.jsonl").write_text("\n".join(lines) + "\n")
    return folder

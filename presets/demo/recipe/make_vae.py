"""Trains the demo's VAE and writes a whole pipeline folder around it.

The text encoder stays random: its embeddings are drawn at unit variance, far enough apart for
a U-Net to tell the words, and it is frozen in fine-tuning anyway. The U-Net is left untrained;
``base.toml`` trains it.
"""

import argparse
import random
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 -- as everyone calls it
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from words import make_tokenizer
from world import NEW_COLOURS, OLD_COLOURS, SIDE, draw, draw_any_colours, scenes

TEXT_WIDTH = 64  # hidden size of the text encoder
PICTURES = 6000  # drawn once; half of the world, half in colours of any kind
PEAK_RATE = 2e-3  # 4e-3 leaves the colours off
COLOUR_WEIGHT = 4.0  # of the squared errors, per pixel and over 4 px squares, against |error|
KL_WEIGHT = 5e-6  # per picture, summed over the latents


def draw_pictures(count: int, seed: int) -> Tensor:
    """Draw training pictures.

    Returns:
        (count, 3, SIDE, SIDE), uint8.
    """
    rng = random.Random(seed)
    known = list(scenes(OLD_COLOURS + NEW_COLOURS))
    pictures = [
        np.asarray(draw(rng.choice(known), rng) if i % 2 else draw_any_colours(rng))
        for i in range(count)
    ]
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()


def make_vae() -> AutoencoderKL:
    """Build the VAE: a quarter of the side, 4 channels, 0.65 M parameters."""
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(16, 32, 64),
        layers_per_block=1,
        latent_channels=4,
        # Few groups: each one normalises away the level of its channels, and that level is the
        # colour of a plain ground.
        norm_num_groups=4,
        mid_block_add_attention=False,
        sample_size=SIDE,
    )
    return vae.to(memory_format=torch.channels_last)


def vae_loss(vae: AutoencoderKL, batch_BCHW: Tensor) -> Tensor:
    """Compare a batch with its reconstruction.

    Absolute error alone stays at grey for long, since most pixels are; the squared errors pull
    the figures' colours out first.
    """
    posterior = vae.encode(batch_BCHW).latent_dist
    error = vae.decode(posterior.sample()).sample - batch_BCHW
    squared = error.square().mean() + F.avg_pool2d(error, 4).square().mean()
    loss: Tensor = error.abs().mean() + COLOUR_WEIGHT * squared + KL_WEIGHT * posterior.kl().mean()
    return loss


def train_vae(vae: AutoencoderKL, pictures: Tensor, steps: int, batch: int) -> None:
    """Train in place; prints the loss every 100 steps."""
    optimizer = torch.optim.AdamW(vae.parameters(), lr=PEAK_RATE, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, PEAK_RATE, total_steps=steps, pct_start=0.1, cycle_momentum=False
    )
    begin = time.monotonic()
    for step in range(1, steps + 1):
        chosen = torch.randint(len(pictures), (batch,))
        loss = vae_loss(vae, to_signed(pictures[chosen]))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it bare
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 0:
            print(
                f"step {step}  loss {loss.item():.4f}  {time.monotonic() - begin:.0f} s", flush=True
            )


def to_signed(pictures_BCHW: Tensor) -> Tensor:
    """Map uint8 to the VAE's range, [-1, 1]."""
    return (pictures_BCHW.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def latent_scale(vae: AutoencoderKL, pictures: Tensor) -> float:
    """Return the factor that brings the latents to unit variance."""
    latents = [vae.encode(to_signed(part)).latent_dist.mean for part in torch.split(pictures, 64)]
    return 1.0 / torch.cat(latents).std().item()


def make_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """Build the random text encoder; one layer, so that each word mostly keeps to its token."""
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=TEXT_WIDTH,
        intermediate_size=2 * TEXT_WIDTH,
        num_hidden_layers=1,
        num_attention_heads=4,
        max_position_embeddings=tokenizer.model_max_length,
        projection_dim=TEXT_WIDTH,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    encoder = CLIPTextModel(config).eval()
    for name, weight in encoder.named_parameters():
        if name.endswith("token_embedding.weight"):
            torch.nn.init.normal_(weight, std=1.0)
        elif name.endswith("position_embedding.weight"):
            torch.nn.init.normal_(weight, std=0.5)
    return encoder


def make_unet() -> UNet2DConditionModel:
    """Build the untrained U-Net for latents of 12 x 12."""
    return UNet2DConditionModel(
        sample_size=SIDE // 4,
        layers_per_block=1,
        block_out_channels=(48, 96),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=4,
        norm_num_groups=16,
    )


def make_scheduler() -> DDIMScheduler:
    """Build the noise schedule, Stable Diffusion's but for its prediction of v.

    At high noise, where the colours are decided, a prediction of the noise hardly depends on
    them; v does.
    """
    return DDIMScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        clip_sample=False,
        steps_offset=1,
        set_alpha_to_one=False,
        prediction_type="v_prediction",
        timestep_spacing="trailing",
    )


def write_pipeline(folder: Path, vae: AutoencoderKL) -> None:
    """Write a pipeline folder in fp16 around a trained VAE."""
    tokenizer = make_tokenizer()
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=make_text_encoder(tokenizer),
        tokenizer=tokenizer,
        unet=make_unet(),
        scheduler=make_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.to(dtype=torch.float16).save_pretrained(folder)


def main() -> None:
    """Train the VAE and write the pipeline folder."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", type=Path, help="where to write the pipeline")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--batch", type=int, default=16, help="pictures")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--vae", type=Path, help="take this trained VAE instead")
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    pictures = draw_pictures(PICTURES, args.seed)
    if args.vae is not None:
        vae = AutoencoderKL.from_pretrained(args.vae)
    else:
        vae = make_vae()
        train_vae(vae, pictures, args.steps, args.batch)
    vae.register_to_config(scaling_factor=latent_scale(vae, pictures[:1024]))
    write_pipeline(args.folder, vae)


if __name__ == "__main__":
    main()

"""The plain training of SDXL: two text encoders, and what the U-Net is told of sizes and crops."""

from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers import CLIPTextModelWithProjection, CLIPTokenizer

from sdcore.task.train_spec import TrainSpec
from sdcore.train.randomness import Stream, generator
from support.plain_training import SEED, Plain


class PlainXl(Plain):
    """As diffusers' SDXL script goes about it: resize, mirror, crop, and tell where."""

    def __init__(self, model: Path, data: Path, spec: TrainSpec) -> None:
        super().__init__(model, data, spec)
        self.text_2 = CLIPTextModelWithProjection.from_pretrained(model, subfolder="text_encoder_2")
        self.tokenizer_2 = CLIPTokenizer.from_pretrained(model, subfolder="tokenizer_2")

    def cut(self, row: dict[str, Any], position: int) -> tuple[Image.Image, list[int]]:
        """Return the picture and the six numbers, height first."""
        side = self.spec.resolution
        image = self.image(row)
        wide, high = image.size
        size = (side, side * high // wide) if wide <= high else (side * wide // high, side)
        image = image.resize(size, Image.Resampling.LANCZOS)
        mirrored = self.flips(position)
        if mirrored:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        spare = size[0] - side, size[1] - side
        left, top = round(spare[0] / 2), round(spare[1] / 2)
        if not self.spec.center_crop:
            u, v = generator(SEED, Stream.CROP, position).random(2)
            left, top = int(u * (spare[0] + 1)), int(v * (spare[1] + 1))
            left = spare[0] - left if mirrored else left  # drawn from the other side
        return (
            image.crop((left, top, left + side, top + side)),
            [high, wide, top, left, side, side],
        )

    def pixels(self, row: dict[str, Any], position: int) -> Tensor:
        return self.values(self.cut(row, position)[0])

    @torch.no_grad()
    def conditions(self, positions: list[int]) -> dict[str, Any]:
        pairs = ((self.tokenizer, self.text), (self.tokenizer_2, self.text_2))
        told = [
            encoder(self.ids(tokenizer, positions), output_hidden_states=True, return_dict=False)
            for tokenizer, encoder in pairs
        ]
        sizes = [self.cut(self.rows[self.order.row(p)], p)[1] for p in positions]
        return {
            "encoder_hidden_states": torch.cat([one[-1][-2] for one in told], dim=-1),
            "added_cond_kwargs": {"text_embeds": told[1][0], "time_ids": torch.tensor(sizes)},
        }

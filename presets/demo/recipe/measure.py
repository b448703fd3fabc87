"""Measures which colours a picture of the little world shows, and scores a model by them.

``colours_of`` is pure and needs no model: the ground is what the border shows, the figure is
what differs most from it. ``python measure.py MODEL`` draws the held-out prompts with a
pipeline folder and prints how many figures and grounds have the colour that was asked for.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image

from world import NEW_COLOURS, PALETTE

BORDER = 3  # px, the frame that no figure reaches
FAINT = 50.0  # RGB distance below which a picture counts as having no figure
BATCH = 30  # pictures per pipeline call


def colours_of(image: Image.Image) -> tuple[str | None, str]:
    """Name the colours of the figure and of its ground.

    Args:
        image: A picture of one plain figure on a plain ground.

    Returns:
        The palette names nearest to the median colour of the figure and of the ground; None
        for the figure where nothing stands out.
    """
    pixels = np.asarray(image.convert("RGB"), dtype=np.float64)
    inner = np.zeros(pixels.shape[:2], dtype=bool)
    inner[BORDER:-BORDER, BORDER:-BORDER] = True
    ground = np.median(pixels[~inner], axis=0)
    distance = np.linalg.norm(pixels - ground, axis=-1)
    # A high quantile, not the maximum: single stray pixels must not decide what the figure is.
    # The smallest figure, a small star, covers 4 % of the picture.
    peak = float(np.quantile(distance, 0.985))
    if peak < FAINT:
        return None, _nearest(ground)
    # Above 0.7 of the peak lies the inside of the figure without its soft edge.
    figure = np.median(pixels[distance > 0.7 * peak], axis=0)
    return _nearest(figure), _nearest(ground)


def _nearest(rgb: np.ndarray) -> str:
    return min(PALETTE, key=lambda name: float(np.linalg.norm(rgb - PALETTE[name])))


def generate(
    pipeline: StableDiffusionPipeline,
    prompts: Sequence[str],
    *,
    guidance: float,
    steps: int,
    seed: int,
) -> list[Image.Image]:
    """Draw one picture per prompt; the noise of each follows from ``seed`` and its place."""
    pictures: list[Image.Image] = []
    for start in range(0, len(prompts), BATCH):
        part = list(prompts[start : start + BATCH])
        dice = [torch.Generator().manual_seed(seed + start + i) for i in range(len(part))]
        result = pipeline(part, guidance_scale=guidance, num_inference_steps=steps, generator=dice)
        pictures += result.images
    return pictures


def contact_sheet(pictures: Sequence[Image.Image], columns: int) -> Image.Image:
    """Lay pictures of one size out in rows."""
    width, height = pictures[0].size
    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (columns * width, rows * height))
    for i, picture in enumerate(pictures):
        sheet.paste(picture, (i % columns * width, i // columns * height))
    return sheet


def score(
    model: Path, rows: Sequence[dict[str, str]], *, guidance: float, steps: int, seed: int
) -> tuple[list[tuple[str | None, str]], list[Image.Image]]:
    """Draw the prompts and measure each picture.

    Args:
        model: A pipeline folder.
        rows: Held-out prompts: ``text`` and the ``colour`` and ``ground`` it asks for.
        guidance: Classifier-free guidance scale.
        steps: Denoising steps.
        seed: Seed of the first picture's noise.

    Returns:
        The colours found, figure and ground, and the pictures, both in the order of ``rows``.
    """
    pipeline = StableDiffusionPipeline.from_pretrained(
        model, dtype=torch.float32, safety_checker=None, requires_safety_checker=False
    )
    pipeline.set_progress_bar_config(disable=True)
    prompts = [row["text"] for row in rows]
    pictures = generate(pipeline, prompts, guidance=guidance, steps=steps, seed=seed)
    return [colours_of(picture) for picture in pictures], pictures


def main() -> None:
    """Print right/total for old and for new colours."""
    home = Path(__file__).resolve().parent.parent
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("model", type=Path, help="a pipeline folder")
    parser.add_argument("--prompts", type=Path, default=home / "heldout.json")
    parser.add_argument("--guidance", type=float, default=3.0, help="guidance scale")
    parser.add_argument("--steps", type=int, default=20, help="denoising steps")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sheet", type=Path, help="also write the pictures into this PNG")
    args = parser.parse_args()
    rows = json.loads(args.prompts.read_text(encoding="utf-8"))
    found, pictures = score(
        args.model, rows, guidance=args.guidance, steps=args.steps, seed=args.seed
    )
    for kind in ("new", "old"):
        chosen = [
            (row, f, g)
            for row, (f, g) in zip(rows, found, strict=True)
            if (row["colour"] in NEW_COLOURS) == (kind == "new")
        ]
        figures = sum(row["colour"] == figure for row, figure, _ground in chosen)
        grounds = sum(row["ground"] == ground for row, _figure, ground in chosen)
        total = len(chosen)
        print(f"{kind} colours: figure {figures}/{total}, ground {grounds}/{total}")
    if args.sheet is not None:
        contact_sheet(pictures, columns=10).save(args.sheet)


if __name__ == "__main__":
    main()

"""Pictures of prompts, as a run leaves them."""

import json
from collections.abc import Sequence
from typing import Any

from PIL import Image, ImageDraw

from sdcore.runs.paths import RunDir, make_private

COLOURS = {"a red circle": "red", "a blue square": "blue", "a green triangle": "green"}


def draw_step(
    run: RunDir,
    step: int,
    prompts: Sequence[str] = tuple(COLOURS),
    weights: Sequence[str] = ("raw", "ema"),
    size: int = 64,
) -> list[dict[str, Any]]:
    """Write one picture per prompt and weights, and ``samples.json``; return its entries."""
    folder = make_private(run.samples / f"step-{step}")
    entries = []
    for way in weights:
        for place, prompt in enumerate(prompts):
            image = Image.new("RGB", (size, size), "white")
            box = [size * share // 8 for share in (1, 1, 7, 7)]
            colour = COLOURS.get(prompt, "black")
            ImageDraw.Draw(image).ellipse([tuple(box[:2]), tuple(box[2:])], fill=colour)
            name = f"{way}-{place:02d}.png"
            image.save(folder / name)
            entries.append({"file": name, "prompt": prompt, "seed": 7 + place, "weights": way})
    record = {"format": 1, "step": step, "images": entries}
    (folder / "samples.json").write_text(json.dumps(record))
    return entries

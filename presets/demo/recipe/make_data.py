"""Draws the two captioned data sets of the demo and the list of held-out prompts.

``base`` teaches the U-Net the old colours. ``demo`` shows it three new ones, and holds back
one shape and size per new colour, so that a right picture of those is not one it has seen.
"""

import argparse
import json
import random
import shutil
from collections.abc import Sequence
from pathlib import Path

from world import NEW_COLOURS, OLD_COLOURS, SHAPES, Scene, draw, scenes

# (colour, shape, size) that no fine-tuning picture shows, on any ground.
HELD_OUT = {
    (colour, shape, size)
    for i, colour in enumerate(NEW_COLOURS)
    for shape, size in ((SHAPES[i], "big"), (SHAPES[i + 2], "small"), (SHAPES[(i + 3) % 5], "big"))
}
OLD_SHARE = 0.25  # of the fine-tuning pictures: keeps the old colours while learning the new
CAPTIONS_PER_EMPTY = 9  # one empty caption among ten: what guidance needs as its other side
OLD_PROMPTS = 30  # held-out prompts with old colours, to see that nothing is forgotten


def is_held_out(scene: Scene) -> bool:
    """Say whether the fine-tuning set must not show this scene."""
    return (scene.colour, scene.shape, scene.size) in HELD_OUT


def write_folder(
    folder: Path, wanted: Sequence[Scene], rng: random.Random, *, with_empty: bool
) -> None:
    """Write an imagefolder: PNGs and ``metadata.jsonl`` with file_name and text.

    Args:
        folder: Where to; replaced if it exists.
        wanted: One scene per picture, in order.
        rng: Source of what the captions leave open.
        with_empty: Write each caption as a list that holds an empty one every tenth time.
    """
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    lines = []
    for i, scene in enumerate(wanted):
        name = f"{i:04d}.png"
        draw(scene, rng).save(folder / name, optimize=True)
        text = [*[scene.caption] * CAPTIONS_PER_EMPTY, ""] if with_empty else scene.caption
        lines.append(json.dumps({"file_name": name, "text": text}) + "\n")
    (folder / "metadata.jsonl").write_text("".join(lines), encoding="utf-8")


def pick(pool: Sequence[Scene], count: int, rng: random.Random) -> list[Scene]:
    """Take ``count`` scenes in random order, each about equally often."""
    picked: list[Scene] = []
    while len(picked) < count:
        picked += rng.sample(list(pool), len(pool))
    return picked[:count]


def demo_scenes(count: int, rng: random.Random) -> list[Scene]:
    """Choose the fine-tuning scenes: mostly new colours, never a held-out one."""
    old = round(OLD_SHARE * count)
    fresh = [scene for scene in scenes(NEW_COLOURS) if not is_held_out(scene)]
    chosen = pick(fresh, count - old, rng) + pick(list(scenes(OLD_COLOURS)), old, rng)
    rng.shuffle(chosen)
    return chosen


def heldout_rows(rng: random.Random) -> list[dict[str, str]]:
    """List every held-out scene twice, and some scenes with old colours."""
    fresh = [scene for scene in scenes(NEW_COLOURS) if is_held_out(scene)] * 2
    old = pick(list(scenes(OLD_COLOURS)), OLD_PROMPTS, rng)
    return [
        {"text": scene.caption, "colour": scene.colour, "ground": scene.ground}
        for scene in [*fresh, *old]
    ]


def main() -> None:
    """Write the base set, the demo set and the held-out prompts."""
    home = Path(__file__).resolve().parent.parent
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--base", type=Path, help="where to write the base set; else left out")
    parser.add_argument("--base-count", type=int, default=4096, help="pictures")
    parser.add_argument("--demo", type=Path, default=home / "dataset")
    parser.add_argument("--demo-count", type=int, default=480, help="pictures")
    args = parser.parse_args()
    if args.base is not None:
        rng = random.Random(1)
        base = pick(list(scenes(OLD_COLOURS)), args.base_count, rng)
        write_folder(args.base, base, rng, with_empty=True)
    rng = random.Random(2)
    write_folder(args.demo, demo_scenes(args.demo_count, rng), rng, with_empty=False)
    rows = heldout_rows(random.Random(3))
    text = "[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n"
    (home / "heldout.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

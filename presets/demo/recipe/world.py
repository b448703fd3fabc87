"""The little world of the demo: one flat figure on a plain ground, and the words for it.

Everything follows from a seed, so the data sets and the model can be made again from these
files alone and no picture of anyone else is needed. Nothing here imports torch.
"""

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass

from PIL import Image, ImageDraw

Rgb = tuple[int, int, int]
Point = tuple[float, float]

PALETTE: dict[str, Rgb] = {
    "red": (214, 30, 50),
    "green": (30, 160, 70),
    "blue": (40, 90, 220),
    "white": (252, 252, 252),
    "grey": (150, 150, 150),
    "black": (20, 20, 20),
    "yellow": (255, 224, 50),
    "purple": (140, 50, 190),
    "orange": (255, 140, 0),
}
OLD_COLOURS = ("red", "green", "blue", "white", "black")
NEW_COLOURS = ("yellow", "purple", "orange")  # the base's U-Net never sees these three
GROUNDS = ("white", "grey", "black")
SHAPES = ("circle", "square", "triangle", "star", "heart")
SIDE = 48  # px
RADII = {"small": 10.0, "big": 16.5}  # px
OFF_MIDDLE = 3.5  # px, at most
OVERSAMPLE = 4  # drawn this much larger and reduced, which gives soft edges


@dataclass(frozen=True)
class Scene:
    """What a caption says of a picture."""

    size: str
    colour: str
    shape: str
    ground: str

    @property
    def caption(self) -> str:
        """The one sentence that names this scene."""
        return f"a {self.size} {self.colour} {self.shape} on a {self.ground} background"


def scenes(colours: tuple[str, ...]) -> Iterator[Scene]:
    """Yield every scene with a figure of these colours that differs from its ground."""
    for colour in colours:
        for ground in GROUNDS:
            if ground != colour:
                for shape in SHAPES:
                    for size in RADII:
                        yield Scene(size, colour, shape, ground)


def draw(scene: Scene, rng: random.Random) -> Image.Image:
    """Draw a scene at a place, a scale and a tint that the caption leaves open.

    Args:
        scene: What to draw.
        rng: Source of the place, scale and tint.

    Returns:
        An RGB picture of ``SIDE`` px a side.
    """
    figure, ground = _tint(scene.colour, rng), _tint(scene.ground, rng)
    return _paint(scene.shape, RADII[scene.size], figure, ground, rng)


def draw_any_colours(rng: random.Random) -> Image.Image:
    """Draw a figure and a ground of any two colours, for the VAE.

    The scenes' grounds are all without hue. A VAE that sees only those first learns to paint
    everything grey, and stays there for long.
    """
    figure, ground = _any_rgb(rng), _any_rgb(rng)
    radius = rng.uniform(min(RADII.values()), max(RADII.values()))
    return _paint(rng.choice(SHAPES), radius, figure, ground, rng)


def _paint(shape: str, radius: float, figure: Rgb, ground: Rgb, rng: random.Random) -> Image.Image:
    """Draw one figure near the middle, large, and reduce it."""
    scale = radius * rng.uniform(0.93, 1.07) * OVERSAMPLE
    left = (SIDE / 2 + rng.uniform(-OFF_MIDDLE, OFF_MIDDLE)) * OVERSAMPLE
    top = (SIDE / 2 + rng.uniform(-OFF_MIDDLE, OFF_MIDDLE)) * OVERSAMPLE
    outline = [(left + scale * x, top + scale * y) for x, y in _outline(shape)]
    image = Image.new("RGB", (SIDE * OVERSAMPLE, SIDE * OVERSAMPLE), ground)
    ImageDraw.Draw(image).polygon(outline, fill=figure)
    return image.resize((SIDE, SIDE), Image.Resampling.BOX)


def _any_rgb(rng: random.Random) -> Rgb:
    return rng.randint(0, 255), rng.randint(0, 255), rng.randint(0, 255)


def _tint(colour: str, rng: random.Random) -> Rgb:
    """Vary a palette colour by a few levels; far less than the gap between two of them."""
    red, green, blue = (min(255, max(0, v + rng.randint(-4, 4))) for v in PALETTE[colour])
    return red, green, blue


def _outline(shape: str) -> list[Point]:
    """Return a polygon around (0, 0), y downwards, about as large as the unit circle."""
    if shape == "circle":
        return [_polar(1.0, 360 * i / 64) for i in range(64)]
    if shape == "square":
        return [(-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)]
    if shape == "triangle":
        return [(0.0, -1.0), (1.0, 0.8), (-1.0, 0.8)]
    if shape == "star":
        return [_polar(1.15 if i % 2 == 0 else 0.48, 36 * i - 90) for i in range(10)]
    if shape == "heart":
        return [_heart(2 * math.pi * i / 64) for i in range(64)]
    raise ValueError(f"no such shape: {shape}")


def _polar(radius: float, degrees: float) -> Point:
    return radius * math.cos(math.radians(degrees)), radius * math.sin(math.radians(degrees))


def _heart(t: float) -> Point:
    """Return the point at ``t`` in [0, 2 pi) of the usual heart curve, scaled to our unit."""
    y = 13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)
    return math.sin(t) ** 3 * 1.05, -(y + 2.5) / 15.5

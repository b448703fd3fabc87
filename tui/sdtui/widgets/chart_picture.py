"""A chart as a picture: SVG by our own hand, PNG by Pillow, both from the same strokes.

Light colours and a white ground, for a report or a message. Strokes are in pixels of ``SIZE``.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from xml.sax.saxutils import escape

import numpy as np

from sdcore.text import clean_line
from sdtui.language import _
from sdtui.live.series import Bands, Column
from sdtui.theme import variables_for
from sdtui.widgets.chart_axes import Tick, ticks, x_ticks
from sdtui.widgets.chart_canvas import DASHES
from sdtui.widgets.chart_marks import Mark
from sdtui.widgets.chart_scene import Scene
from sdtui.widgets.chart_view import X_AXES, ChartState
from sdtui.widgets.chart_words import title

SIZE = (1200, 640)
_LEFT, _TOP, _RIGHT, _BOTTOM = 76, 72, 1176, 580  # of the plot
COLUMNS = _RIGHT - _LEFT  # that a scene for a picture needs
ROWS = 18  # of text that would fit beside the plot; tells how many ticks there are
_X_TICKS = 9
_FINER = 2  # the PNG is drawn so many times larger and made smaller, for smooth lines
_PX_A_DOT = 3
_INK, _FAINT, _GRID, _RAW, _PAPER = "#1f2328", "#59636e", "#e4e9ef", "#b9c6d4", "#ffffff"

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Picture:
    """What a picture shows.

    Attributes:
        title: What is drawn and how.
        x_words: What the x axis counts.
        scene: Worked out for ``COLUMNS`` columns.
        names: Of the runs, in the order of the scene's lines.
        x: Ticks of the x axis.
        y: Ticks of the y axis.
        marks: What happened where.
    """

    title: str
    x_words: str
    scene: Scene
    names: tuple[str, ...]
    x: tuple[Tick, ...]
    y: tuple[Tick, ...]
    marks: tuple[Mark, ...] = ()


def picture_of(
    scene: Scene, state: ChartState, names: Sequence[str], marks: Sequence[Mark]
) -> Picture:
    """Return the picture of a scene, with its words and ticks; the first name is its own run's."""
    return Picture(
        title="  ".join([names[0], title(state, zoomed=False, cut=scene.cut)]),
        x_words=_(X_AXES[state.x]),
        scene=scene,
        names=tuple(names) if len(names) > 1 else (),
        x=tuple(x_ticks(scene.wish.view, _X_TICKS, state.x)),
        y=tuple(ticks(scene.y, ROWS // 2, log=state.log)),
        marks=tuple(marks),
    )


class Pen(Protocol):
    """What draws."""

    def line(self, points: Points, colour: str, width: float, dash: Sequence[float] = ()) -> None:
        """Draw through the points."""

    def words(self, at: tuple[float, float], text: str, colour: str, size: int, side: str) -> None:
        """Write at a base line; ``side`` of ``at`` is left, middle or right of the text."""


def svg(picture: Picture) -> bytes:
    """Return the picture as an SVG file."""
    pen = _SvgPen()
    _draw(picture, pen)
    width, height = SIZE
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" font-family="sans-serif">\n'
        f'<rect width="{width}" height="{height}" fill="{_PAPER}"/>\n'
    )
    return (head + "\n".join(pen.parts) + "\n</svg>\n").encode()


def png(picture: Picture) -> bytes:
    """Return the picture as a PNG file."""
    from PIL import Image  # noqa: PLC0415  # 60 ms that only an export needs

    pen = _PngPen()
    _draw(picture, pen)
    buffer = io.BytesIO()
    small = pen.image.resize(SIZE, Image.Resampling.LANCZOS)
    small.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


class _SvgPen:
    def __init__(self) -> None:
        self.parts: list[str] = []

    def line(self, points: Points, colour: str, width: float, dash: Sequence[float] = ()) -> None:
        places = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        pattern = f' stroke-dasharray="{",".join(f"{part:g}" for part in dash)}"' if dash else ""
        self.parts.append(
            f'<polyline points="{places}" fill="none" stroke="{colour}" stroke-width="{width:g}" '
            f'stroke-linejoin="round"{pattern}/>'
        )

    def words(self, at: tuple[float, float], text: str, colour: str, size: int, side: str) -> None:
        anchor = {"left": "start", "middle": "middle", "right": "end"}[side]
        self.parts.append(
            f'<text x="{at[0]:.1f}" y="{at[1]:.1f}" fill="{colour}" font-size="{size}" '
            f'text-anchor="{anchor}">{escape(text)}</text>'
        )


class _PngPen:
    def __init__(self) -> None:
        from PIL import Image, ImageDraw, ImageFont  # noqa: PLC0415  # see ``png``

        self.image = Image.new("RGB", (SIZE[0] * _FINER, SIZE[1] * _FINER), _PAPER)
        self._draw = ImageDraw.Draw(self.image)
        self._font: Any = ImageFont.load_default

    def line(self, points: Points, colour: str, width: float, dash: Sequence[float] = ()) -> None:
        thick = max(1, round(width * _FINER))
        for piece in _dashed(points, dash) if dash else [points]:
            places = [(x * _FINER, y * _FINER) for x, y in piece]
            self._draw.line(places, fill=colour, width=thick, joint="curve")

    def words(self, at: tuple[float, float], text: str, colour: str, size: int, side: str) -> None:
        anchor = {"left": "ls", "middle": "ms", "right": "rs"}[side]
        place = (at[0] * _FINER, at[1] * _FINER)
        font = self._font(size * _FINER)
        self._draw.text(place, text, fill=colour, font=font, anchor=anchor)


def _dashed(points: Points, dash: Sequence[float]) -> list[list[tuple[float, float]]]:
    """Return the pieces of a line that a pattern of on and off lengths leaves."""
    places = np.array(points, dtype=np.float64)
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(places, axis=0).T))])
    bounds = np.cumsum(np.resize(dash, max(2, 2 * int(along[-1] / sum(dash)) * len(dash))))
    pieces = []
    for begin, end in zip([0.0, *bounds[1::2]], bounds[::2], strict=False):
        if begin >= along[-1]:
            break
        inside = along[(along > begin) & (along < end)]
        at = np.array([begin, *inside, min(end, along[-1])])
        xs, ys = (np.interp(at, along, places[:, axis]) for axis in (0, 1))
        pieces.append(list(zip(xs.tolist(), ys.tolist(), strict=True)))
    return pieces


def _draw(picture: Picture, pen: Pen) -> None:
    colours = variables_for(dark=False)
    series = [colours[f"series-{number}"] for number in range(1, 8)]
    _axes(picture, pen)
    scene = picture.scene
    if scene.raw is not None:
        for points in _strokes(scene.raw, scene):
            pen.line(points, _RAW, 2.0)
    for number in range(len(scene.lines) - 1, -1, -1):
        pattern = DASHES[number % len(DASHES)]
        dash = [part * _PX_A_DOT for part in pattern] if number else []
        for points in _runs(scene.lines[number], scene):
            pen.line(points, series[number % 7], 2.0, dash)
    _marks(picture, pen, colours["mark"], colours["state-failed"])
    _legend(picture, pen, series)


def _axes(picture: Picture, pen: Pen) -> None:
    scene = picture.scene
    pen.words((_LEFT, 30), clean_line(picture.title, 120), _INK, 17, "left")
    for tick in picture.y:
        y = _y(np.array([tick.value]), scene)[0]
        pen.line([(_LEFT, y), (_RIGHT, y)], _GRID, 1.0)
        pen.words((_LEFT - 8, y + 4), tick.words, _FAINT, 13, "right")
    pen.line([(_LEFT, _TOP), (_LEFT, _BOTTOM), (_RIGHT, _BOTTOM)], _FAINT, 1.0)
    for tick in picture.x:
        x = _x(tick.value, scene)
        pen.line([(x, _BOTTOM), (x, _BOTTOM + 5)], _FAINT, 1.0)
        pen.words((x, _BOTTOM + 22), tick.words, _FAINT, 13, "middle")
    middle = (_LEFT + _RIGHT) / 2
    pen.words((middle, _BOTTOM + 44), clean_line(picture.x_words, 40), _FAINT, 13, "middle")


def _marks(picture: Picture, pen: Pen, usual: str, bad: str) -> None:
    """Draw ticks for checkpoints, an upright line for a resume, a cross where the loss is none."""
    scene = picture.scene
    for mark in picture.marks:
        x = _x(mark.place, scene)
        if mark.kind == "resumed":
            pen.line([(x, _TOP), (x, _BOTTOM)], usual, 1.0, [2, 4])
        else:
            pen.line([(x - 4, _BOTTOM), (x, _BOTTOM - 7), (x + 4, _BOTTOM)], usual, 1.5)
    for column in np.flatnonzero(scene.broken):
        x = _LEFT + float(column) + 0.5
        pen.line([(x - 4, _BOTTOM - 4), (x + 4, _BOTTOM + 4)], bad, 2.0)
        pen.line([(x - 4, _BOTTOM + 4), (x + 4, _BOTTOM - 4)], bad, 2.0)


def _legend(picture: Picture, pen: Pen, series: Sequence[str]) -> None:
    left = float(_LEFT)
    for number, name in enumerate(picture.names):
        words = clean_line(name, 24)
        dash = [part * _PX_A_DOT for part in DASHES[number % len(DASHES)]] if number else []
        pen.line([(left, 50), (left + 30, 50)], series[number % 7], 2.0, dash)
        pen.words((left + 36, 54), words, _INK, 13, "left")
        left += 60 + 8 * len(words)


def _x(value: float, scene: Scene) -> float:
    view = scene.wish.view
    return _LEFT + (value - view.low) / view.span * COLUMNS


def _y(values: Column, scene: Scene) -> Column:
    """Return heights in pixels from the top; what is beyond the plot lies on its edge."""
    low, high = scene.y
    if scene.wish.log:
        with np.errstate(divide="ignore", invalid="ignore"):
            values = np.log(values)
        low, high = float(np.log(low)), float(np.log(high))
    share = np.clip((values - low) / (high - low), 0.0, 1.0)
    result: Column = _BOTTOM - share * (_BOTTOM - _TOP)
    return result


def _strokes(of: Bands, scene: Scene) -> list[list[tuple[float, float]]]:
    """Return an upright stroke for each column with raw points."""
    top, bottom = _y(of.high, scene), _y(of.low, scene)
    return [
        [(_LEFT + column + 0.5, float(bottom[column]) + 1.0),
         (_LEFT + column + 0.5, float(top[column]) - 1.0)]
        for column in np.flatnonzero(np.isfinite(of.high))
    ]  # fmt: skip


def _runs(of: Bands, scene: Scene) -> list[list[tuple[float, float]]]:
    """Return the line through the columns' middles, in pieces between gaps."""
    y = (_y(of.high, scene) + _y(of.low, scene)) / 2
    there = np.flatnonzero(np.isfinite(of.high))
    pieces = np.split(there, np.flatnonzero(np.diff(there) > 1) + 1)
    return [
        [(_LEFT + column + 0.5, float(y[column])) for column in piece] or [(_LEFT + 0.0, 0.0)]
        for piece in pieces
        if len(piece)
    ]

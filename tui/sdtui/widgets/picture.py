"""Pictures in cells: two dots in each by a half block, or braille where there are no colours.

Pictures cost bytes, so they are drawn when they change and at no other time. Decoding happens in
a worker thread; what was drawn before stays until all that is new can be shown at once.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

from rich.color import Color
from rich.segment import Segment
from rich.style import Style
from textual import events, work
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget
from textual.worker import get_current_worker

from sdtui.live.pictures import Picture, load
from sdtui.widgets.cells import fit

if TYPE_CHECKING:
    from sdtui.app import SdTui

Segments = tuple[Segment, ...]
_UPPER, _BRAILLE = "▀", 0x2800
_GAP = 1  # cells between two pictures


@dataclass(frozen=True, slots=True)
class Tile:
    """One place of the grid.

    Attributes:
        path: Of the picture; None leaves the place empty.
        caption: Clean words under it.
    """

    path: Path | None
    caption: str = ""


@dataclass(frozen=True, slots=True)
class _Plan:
    """What a worker is asked for; an answer to an older plan is thrown away."""

    tiles: tuple[Tile, ...]
    columns: int
    width: int
    height: int
    dithered: bool
    coarse: int


def half_blocks(picture: Picture, coarse: int = 1) -> tuple[Segments, ...]:
    """Return the rows of a picture.

    Args:
        picture: In the size of its place.
        coarse: Shades of a colour that are taken as one: more of them are fewer bytes.
    """
    if picture.dithered:
        cols = picture.cols
        rows = (picture.pixels[y * cols : (y + 1) * cols] for y in range(picture.rows))
        return tuple((Segment("".join(chr(_BRAILLE + bits) for bits in row)),) for row in rows)
    if coarse > 1:
        level = bytes(min(255, value // coarse * coarse + coarse // 2) for value in range(256))
        pixels = picture.pixels.translate(level)
    else:
        pixels = picture.pixels
    line = 3 * picture.cols
    return tuple(
        _row(pixels[2 * y * line : (2 * y + 1) * line], pixels[(2 * y + 1) * line :][:line])
        for y in range(picture.rows)
    )


def _row(upper: bytes, lower: bytes) -> Segments:
    """Return one row of cells; equal neighbours share their colours."""
    found: list[Segment] = []
    for x in range(0, len(upper), 3):
        style = _style(upper[x : x + 3], lower[x : x + 3])
        if found and found[-1].style is style:
            found[-1] = Segment(found[-1].text + _UPPER, style)
        else:
            found.append(Segment(_UPPER, style))
    return tuple(found)


@lru_cache(maxsize=2048)  # a screen of pictures; more would fill with every new sample
def _style(upper: bytes, lower: bytes) -> Style:
    return Style(color=Color.from_rgb(*upper), bgcolor=Color.from_rgb(*lower))


class PictureGrid(Widget):
    """Pictures side by side, each with a caption under it."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "pictures--caption", "pictures--chosen", "pictures--trouble",
    }  # fmt: skip
    DEFAULT_CSS = """
    PictureGrid {
        height: 1fr; width: 1fr;
        & > .pictures--caption { color: $foreground; }
        & > .pictures--chosen { color: $primary; text-style: bold; }
        & > .pictures--trouble { color: $state-failed; }
    }
    """

    class Resized(Message):
        """It has another place: other pictures may fit."""

    class Chosen(Message):
        """A picture was clicked.

        Attributes:
            place: Of its tile.
        """

        def __init__(self, place: int) -> None:
            super().__init__()
            self.place = place

    class _Loaded(Message):
        def __init__(self, plan: _Plan, drawn: "tuple[_Drawn, ...]") -> None:
            super().__init__()
            self.plan, self.drawn = plan, drawn

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self._tiles: tuple[Tile, ...] = ()
        self._columns, self._chosen = 1, -1
        self._wanted: _Plan | None = None
        self._shown: _Plan | None = None
        self._drawn: tuple[_Drawn, ...] = ()

    def set_tiles(self, tiles: tuple[Tile, ...], columns: int, chosen: int = -1) -> None:
        """Show ``tiles`` in rows of ``columns``; ``chosen`` is marked in its caption."""
        self._tiles, self._columns = tiles, max(1, columns)
        if chosen != self._chosen:
            self._chosen = chosen
            self.refresh()
        self._ask()

    def picture(self, place: int) -> Picture | None:
        """Return the picture that is drawn at ``place``."""
        return self._drawn[place].picture if 0 <= place < len(self._drawn) else None

    def on_resize(self) -> None:
        """Pictures are made for their place."""
        self._ask()
        self.post_message(self.Resized())

    def on_click(self, event: events.Click) -> None:
        """Tell which picture was meant."""
        plan = self._shown
        if plan is None or not plan.tiles:
            return
        wide, high = _box(plan)
        place = event.y // high * plan.columns + event.x // (wide + _GAP)
        if place < len(plan.tiles):
            self.post_message(self.Chosen(place))

    def _ask(self) -> None:
        width, height = self.size
        limit = self.styles.max_height
        if limit is not None and limit.cells is not None:
            height = min(height, limit.cells)  # just set, the size does not know of it yet
        if not width or not height:
            return
        coarse = 8 if cast("SdTui", self.app).settings.slow else 1
        dithered = self.app.no_color or self.app.console.color_system in {None, "standard"}
        plan = _Plan(self._tiles, self._columns, width, height, dithered, coarse)
        if plan != self._wanted:
            self._wanted = plan
            self._load(plan)

    @work(thread=True, exclusive=True, group="pictures")
    def _load(self, plan: _Plan) -> None:
        """Decode what the plan needs; runs in a thread."""
        worker = get_current_worker()
        wide, high = _box(plan)
        drawn = []
        for tile in plan.tiles:
            if worker.is_cancelled:
                return
            picture = None
            if tile.path is not None and wide > 1 and high > 1:
                picture = load(tile.path, wide, high - 1, dithered=plan.dithered)
            rows = half_blocks(picture, plan.coarse) if picture and not picture.trouble else ()
            drawn.append(_Drawn(picture, rows))
        self.post_message(self._Loaded(plan, tuple(drawn)))

    def on_picture_grid__loaded(self, message: _Loaded) -> None:
        """Draw what was decoded, if it is still wanted."""
        if message.plan == self._wanted:
            self._shown, self._drawn = message.plan, message.drawn
            self.refresh()

    def render_line(self, y: int) -> Strip:
        """Return one row of all the pictures in it."""
        base, plan = self.visual_style.rich_style, self._shown
        if plan is None or not plan.tiles:
            return Strip.blank(self.size.width, base)
        wide, high = _box(plan)
        row, line = divmod(y, high)
        segments: list[Segment] = []
        for place in range(row * plan.columns, min(len(plan.tiles), (row + 1) * plan.columns)):
            part = self._part(plan, place, line, wide, high)
            segments += [*part, Segment(" " * _GAP)]
        strip = Strip(segments).apply_style(base)
        return strip.adjust_cell_length(self.size.width, base)

    def _part(self, plan: _Plan, place: int, line: int, wide: int, high: int) -> list[Segment]:
        """Return the cells of one tile in one line, ``wide`` of them."""
        drawn, tile = self._drawn[place], plan.tiles[place]
        picture = drawn.picture
        rows = picture.rows if picture is not None and not picture.trouble else 1
        if line == min(rows, high - 1):
            return [self._caption(tile.caption, wide, chosen=place == self._chosen)]
        if picture is not None and picture.trouble and line == 0:
            trouble = self.get_component_rich_style("pictures--trouble", partial=True)
            return [Segment(fit(f"✗ {picture.trouble}", wide), trouble)]
        if line < len(drawn.rows) and picture is not None:
            return [*drawn.rows[line], Segment(" " * (wide - picture.cols))]
        return [Segment(" " * wide)]

    def _caption(self, words: str, wide: int, *, chosen: bool) -> Segment:
        name = "pictures--chosen" if chosen else "pictures--caption"
        style = self.get_component_rich_style(name, partial=True)
        return Segment(fit(f"▸{words}" if chosen else words, wide), style)


@dataclass(frozen=True, slots=True)
class _Drawn:
    picture: Picture | None
    rows: tuple[Segments, ...]


def _box(plan: _Plan) -> tuple[int, int]:
    """Return width and height of one tile in cells, the caption included."""
    rows = -(-len(plan.tiles) // plan.columns) or 1
    wide = (plan.width - _GAP * (plan.columns - 1)) // plan.columns
    return max(1, wide), max(1, plan.height // rows)

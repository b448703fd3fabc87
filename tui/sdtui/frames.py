"""What stands on the terminal, cell by cell, and the fewest bytes that change it.

Textual sends every dirty widget whole: 5 to 17 KB for one new line of a log. Here each update is
laid over a picture of what was sent before, and only the cells that differ go out; text that moved
up or down over the full width is moved by the terminal itself.

The picture is right as long as the terminal shows what it was sent. Where that is in doubt (another
size, another program in between, a key of the person) ``forget`` makes the next frame whole.
"""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import NamedTuple

from rich.cells import split_graphemes
from rich.color import ColorSystem
from rich.style import Style
from textual._compositor import ChopsUpdate, CompositorUpdate, LayoutUpdate
from textual.strip import Strip

from sdtui.pens import PLAIN, Pen, blank_pen, change, pen_of


class Cell(NamedTuple):
    """One place on the terminal; the second half of a wide character is an empty text."""

    text: str
    pen: Pen


Row = list[Cell | None]  # None: not known what stands there
_UNKNOWN: Cell | None = None
_GAP = 4  # unchanged cells that are cheaper sent again than stepped over
_BLANKS = 8  # at the end of a row that are cheaper erased than sent
_BLOCK = 3  # rows; moving fewer saves nothing
_MOST_PENS, _MOST_SIGNS = 4096, 4096  # that are kept; a picture of many colours has a pen a cell
# Characters known to take one cell and to join with no other: no need to look them up.
_NARROW = frozenset(map(chr, [*range(0x20, 0x7F), *range(0x2500, 0x25FD), *range(0x2800, 0x2900)]))


@lru_cache(maxsize=2048)
def _graphemes(text: str) -> tuple[tuple[str, int], ...]:
    spans, _width = split_graphemes(text)
    return tuple((text[start:end], width) for start, end, width in spans)


class _Cells(dict[str, Cell]):
    """The cells of one pen by their text.

    Nearly always equal cells are so one object, and rows of them are compared fast.
    """

    def __init__(self, pen: Pen) -> None:
        super().__init__({" ": Cell(" ", blank_pen(pen))})
        self._pen = pen

    def __missing__(self, sign: str) -> Cell:
        cell = Cell(sign, self._pen)
        if len(self) < _MOST_SIGNS:
            self[sign] = cell
        return cell


@lru_cache(maxsize=_MOST_PENS)
def _cells_with(style: Style | None, colors: ColorSystem) -> _Cells:
    return _cells_of_pen(pen_of(style, colors))


@lru_cache(maxsize=_MOST_PENS)
def _cells_of_pen(pen: Pen) -> _Cells:
    return _Cells(pen)


def cells_of(strip: Strip, colors: ColorSystem) -> Row:
    """Return the cells of a strip, as many as it is wide."""
    row: Row = []
    for text, style, control in strip:
        if control:
            continue
        cells = _cells_with(style, colors)
        if _NARROW.issuperset(text):
            row += map(cells.__getitem__, text)
            continue
        for sign, width in _graphemes(text):
            if width:
                row.append(cells[sign])
                row += [cells[""]] * (width - 1)
    return row


class Frames:
    """Turns updates into what must be sent.

    Args:
        erases_in_color: The terminal fills what it erases with the current background; may be
            learnt later.
    """

    def __init__(self, *, erases_in_color: bool = False) -> None:
        self._rows: list[Row] = []
        self._size = (0, 0)
        self.erases_in_color = erases_in_color
        self._cursor: tuple[int, int] | None = None  # where the last frame left it

    def forget(self) -> None:
        """Know nothing of the terminal any more; the next frame draws every cell it has."""
        width, height = self._size
        self._rows = [[_UNKNOWN] * width for _ in range(height)]
        self._cursor = None

    def render(
        self,
        update: CompositorUpdate,
        size: tuple[int, int],
        cursor: tuple[int, int],
        colors: ColorSystem,
    ) -> str | None:
        """Return what changes the terminal as ``update`` asks; None for an unknown kind of update.

        Args:
            update: Of Textual's compositor.
            size: Columns and rows of the terminal.
            cursor: Column and row at which the terminal's cursor is to stand afterwards.
            colors: What the terminal can show.
        """
        placed = _placed(update)
        if placed is None:
            return None
        if size != self._size:
            self._size = size
            self.forget()
        new = self._laid_over(placed, colors)
        pieces: list[str] = []
        changed = {y: row for y, row in new.items() if row != self._rows[y]}
        if changed:
            encoder = _Encoder(pieces, self._size, erases=self.erases_in_color)
            self._move_blocks(changed, encoder)
            for y in sorted(changed):
                encoder.row(y, self._rows[y], changed[y])
                self._rows[y] = changed[y]
            encoder.end()
        if changed or cursor != self._cursor:
            self._cursor = cursor
            pieces.append(f"\x1b[{cursor[1] + 1};{cursor[0] + 1}H")
        return "".join(pieces)

    def _laid_over(
        self, placed: Iterable[tuple[int, int, Strip]], colors: ColorSystem
    ) -> dict[int, Row]:
        """Return the rows that the update touches, as they will be."""
        width, height = self._size
        new: dict[int, Row] = {}
        for y, x, strip in placed:
            if not 0 <= y < height:
                continue
            row = new.get(y)
            if row is None:
                row = new[y] = list(self._rows[y])
            first = max(x, 0)
            cells = cells_of(strip, colors)[first - x : max(width - x, 0)]
            row[first : first + len(cells)] = cells
        return new

    def _move_blocks(self, changed: dict[int, Row], encoder: "_Encoder") -> None:
        """Let the terminal move text that stands higher or lower than before."""
        for top, end in _blocks(changed):
            distance = self._distance(changed, top, end)
            if not distance:
                continue
            # What moves into the block from outside it is not there: only rows of the block move.
            encoder.move(top, end, distance)
            block = self._rows[top:end]
            empty: list[Row] = [[_UNKNOWN] * self._size[0] for _ in range(abs(distance))]
            moved = [*block[distance:], *empty] if distance > 0 else [*empty, *block[:distance]]
            self._rows[top:end] = moved

    def _distance(self, changed: dict[int, Row], top: int, end: int) -> int:
        """Return by how many rows the block moved up (down: negative), or 0 if that saves nothing.

        Rows are recognised by their text without the last two columns: a pane may mark its
        position there.
        """
        if all(self._rows[y][0] is _UNKNOWN for y in range(top, end)):
            return 0  # nothing stands there yet
        places: dict[tuple[str, ...], int] = {}
        for y in range(top, end):
            places.setdefault(_text(self._rows[y]), y)
        votes: dict[int, int] = {}
        for y in range(top, end):
            text = _text(changed[y])
            old = places.get(text)
            if old is not None and old != y and any(sign not in {" ", ""} for sign in text):
                votes[old - y] = votes.get(old - y, 0) + 1
        if not votes:
            return 0
        distance = max(votes, key=lambda each: votes[each])
        still = sum(_differing(self._rows[y], changed[y]) for y in range(top, end))
        after = 0
        for y in range(top, end):
            inside = top <= y + distance < end
            source: Row = self._rows[y + distance] if inside else []
            after += _differing(source, changed[y]) if inside else self._size[0]
        return distance if after + 2 * self._size[0] // 3 < still else 0


def _placed(update: CompositorUpdate) -> Iterable[tuple[int, int, Strip]] | None:
    """Return row, column and content of every piece of an update, as Textual would write it."""
    if isinstance(update, LayoutUpdate):
        return _of_layout(update)
    return _of_chops(update) if isinstance(update, ChopsUpdate) else None


def _of_layout(update: LayoutUpdate) -> Iterator[tuple[int, int, Strip]]:
    for y, strips in enumerate(update.strips, update.region.y):
        x = update.region.x
        for strip in strips:
            yield y, x, strip
            x += strip.cell_length


def _of_chops(update: ChopsUpdate) -> Iterator[tuple[int, int, Strip]]:
    for y, begin, stop in update.spans:
        for end, (x, strip) in zip(update.chop_ends[y], update.chops[y].items(), strict=False):
            if strip is None or x > stop or end <= begin:
                continue
            whole = stop > x >= begin and end <= stop
            yield y, x, strip if whole else strip.crop(0, min(end, stop) - x)


def _blocks(rows: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Yield (first, one past the last) of each run of neighbouring rows worth moving."""
    ordered = sorted(rows)
    begin = 0
    for place in range(1, len(ordered) + 1):
        if place == len(ordered) or ordered[place] != ordered[place - 1] + 1:
            if place - begin >= _BLOCK:
                yield ordered[begin], ordered[place - 1] + 1
            begin = place


def _text(row: Row) -> tuple[str, ...]:
    return tuple("" if cell is None else cell.text for cell in row[:-2])


def _differing(old: Row, new: Row) -> int:
    return sum(a != b for a, b in zip(old, new, strict=True))


class _Encoder:
    """Writes changed cells; knows where the terminal's cursor is and what its pen is."""

    def __init__(self, pieces: list[str], size: tuple[int, int], *, erases: bool) -> None:
        self._out, (self._width, self._height), self._erases = pieces, size, erases
        self._x = self._y = -1  # -1: not known
        self._pen = PLAIN

    def move(self, top: int, end: int, distance: int) -> None:
        """Move the rows ``top`` to ``end`` up by ``distance``, or down where it is negative."""
        self._use(PLAIN)  # some terminals fill the freed rows with the current background
        self._out.append(f"\x1b[{top + 1};{end}r")
        if distance > 0:
            self._out.append(f"\x1b[{end};1H" + "\n" * distance)
        else:
            self._out.append(f"\x1b[{top + 1};1H" + "\x1bM" * -distance)
        self._out.append("\x1b[r")
        self._x = self._y = -1

    def row(self, y: int, old: Row, new: Row) -> None:
        """Write the cells of row ``y`` that differ."""
        tail = self._erased_from(new) if self._erases else self._width
        for begin, end in _runs(old, new):
            if end - max(begin, tail) >= _BLANKS:
                if begin < tail:
                    self._cells(y, begin, tail, new)
                blank = new[tail]
                assert blank is not None, "an erased tail is made of known blanks"
                self._go(y, max(begin, tail))
                self._use_for(blank)
                self._out.append("\x1b[K")
                return
            self._cells(y, begin, end, new)

    def end(self) -> None:
        """Leave the pen as other programs expect it."""
        self._use(PLAIN)

    def _erased_from(self, row: Row) -> int:
        """Return where the blanks of one kind begin that reach to the end of the row."""
        last, place = row[-1], self._width
        if last is None or last.text != " " or last.pen.attributes:
            return self._width
        while place and row[place - 1] == last:
            place -= 1
        return place

    def _cells(self, y: int, begin: int, end: int, row: Row) -> None:
        self._go(y, begin)
        out, place = self._out.append, self._x
        pen, blank = self._pen, blank_pen(self._pen)
        for x in range(begin, end):
            cell = row[x]
            if cell is None or not cell.text:
                continue
            if place != x:
                self._x = place
                self._go(y, x)
            text, wanted = cell
            if wanted is not pen and (text != " " or wanted is not blank):  # seldom
                self._use_for(cell)
                pen, blank = self._pen, blank_pen(self._pen)
            out(text)
            if text in _NARROW:
                place = x + 1
                continue
            wide = x + 1 < self._width and (after := row[x + 1]) is not None and not after.text
            # Terminals disagree about the width of joined characters: look where one is again.
            place = -1 if len(text) > 1 else x + (2 if wide else 1)
        self._x = -1 if place >= self._width else place

    def _go(self, y: int, x: int) -> None:
        if self._y == y and self._x >= 0:
            step = x - self._x
            if step:
                go = f"\x1b[{step if step > 1 else ''}C" if step > 0 else f"\x1b[{x + 1}G"
                self._out.append(go)
        elif self._y == y - 1 and self._y >= 0 and x == 0:
            self._out.append("\r\n")
        else:
            self._out.append(f"\x1b[{y + 1};{x + 1}H")
        self._x, self._y = x, y

    def _use_for(self, cell: Cell) -> None:
        """Change the pen, unless it draws this cell as well as its own would."""
        if cell.text != " " or blank_pen(self._pen) != cell.pen:
            self._use(cell.pen)

    def _use(self, pen: Pen) -> None:
        self._out.append(change(self._pen, pen))
        self._pen = pen


def _runs(old: Row, new: Row) -> Iterator[tuple[int, int]]:
    """Yield (first, one past the last) of the runs that differ; near ones are joined."""
    if not any(old) and None not in new:
        yield 0, len(new)  # nothing of it is known, all is to be drawn
        return
    begin, last = -1, -1
    for x, (a, b) in enumerate(zip(old, new, strict=True)):
        if a == b or b is None:
            continue
        if begin >= 0 and x - last > _GAP:
            yield begin, last + 1
            begin = -1
        if begin < 0:
            begin = x - 1 if x and not b.text else x  # never the second half of a character alone
        last = x
    if begin >= 0:
        yield begin, last + 1

"""Changed cells only: whatever is sent, the terminal ends up showing what Textual drew."""

from dataclasses import dataclass

import pyte
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.color import ColorSystem
from rich.segment import Segment
from rich.style import Style
from textual._compositor import ChopsUpdate, LayoutUpdate
from textual.geometry import Region
from textual.strip import Strip

from sdtui.frames import Frames

WIDTH, HEIGHT = 24, 8
STYLES = [
    None,
    Style.parse("red"),
    Style.parse("bold #ff8800 on #101010"),
    Style.parse("on #101010"),
    Style.parse("underline green on blue"),
    Style.parse("reverse"),
]
# Narrow, wide, blank, a base with a combining mark.
SIGNS = ["a", "b", "z", "─", "⣿", " ", " ", " ", "任", "务", "e\u0301"]


class Terminal:
    """A terminal emulator that is fed what we would send."""

    def __init__(self) -> None:
        self.screen = pyte.Screen(WIDTH, HEIGHT)
        self.stream = pyte.Stream(self.screen)
        self.stream.feed("\x1b[?7l")  # as the driver does
        self.sent = 0

    def feed(self, data: str | None) -> None:
        assert data is not None
        self.sent = len(data.encode())
        self.stream.feed(data)

    def cells(self) -> list[list[tuple[object, ...]]]:
        """Return text, colours and attributes of each cell; of blanks only what is seen."""
        rows = []
        for y in range(HEIGHT):
            row: list[tuple[object, ...]] = []
            for x in range(WIDTH):
                cell = self.screen.buffer[y][x]
                lines = (cell.underscore, cell.reverse)
                seen = cell.data.strip() or any(lines)
                looks = (cell.fg, cell.bold, *lines) if seen else ()
                row.append((cell.data, cell.bg, *looks))
            rows.append(row)
        return rows


def strip_of(cells: list[tuple[str, int]]) -> Strip:
    """Make a strip that is exactly WIDTH cells wide."""
    segments, width = [], 0
    for sign, style in cells:
        segment = Segment(sign, STYLES[style])
        if width + segment.cell_length > WIDTH:
            break
        width += segment.cell_length
        segments.append(segment)
    segments.append(Segment(" " * (WIDTH - width), STYLES[3]))
    return Strip(segments).simplify()


def layout(rows: list[Strip]) -> LayoutUpdate:
    return LayoutUpdate([[row] for row in rows], Region(0, 0, WIDTH, len(rows)))


def send(frames: Frames, update: object) -> str | None:
    return frames.render(update, (WIDTH, HEIGHT), (0, 0), ColorSystem.TRUECOLOR)  # type: ignore[arg-type]


row = st.lists(
    st.tuples(st.sampled_from(SIGNS), st.integers(0, len(STYLES) - 1)), max_size=WIDTH
).map(strip_of)


@dataclass
class Step:
    """One change of the screen: the text moves, and some rows are new."""

    move: int
    fresh: dict[int, Strip]


steps = st.builds(
    Step,
    move=st.integers(-3, 3),
    fresh=st.dictionaries(st.integers(0, HEIGHT - 1), row, max_size=3),
)


@settings(max_examples=150, deadline=None)
@given(
    first=st.lists(row, min_size=HEIGHT, max_size=HEIGHT),
    story=st.lists(steps, max_size=6),
    erases=st.booleans(),
)
def test_the_terminal_shows_each_frame_whatever_stood_there_before(
    first: list[Strip], story: list[Step], *, erases: bool
) -> None:
    """A wrong guess about the terminal leaves stale cells that nobody repaints."""
    frames, terminal, rows = Frames(erases_in_color=erases), Terminal(), first
    terminal.feed(send(frames, layout(rows)))
    for step in story:
        kept = rows[max(0, step.move) :] if step.move >= 0 else rows[: step.move]
        blank = [strip_of([])] * (HEIGHT - len(kept))
        rows = [*kept, *blank] if step.move >= 0 else [*blank, *kept]
        for y, new in step.fresh.items():
            rows[y] = new
        terminal.feed(send(frames, layout(rows)))

        whole = Terminal()
        whole.feed(send(Frames(), layout(rows)))
        assert terminal.cells() == whole.cells()


def lines(*texts: str) -> list[Strip]:
    return [strip_of([(sign, 2) for sign in text]) for text in texts]


LOG = [f"line {n} of the log" for n in range(20)]


def test_an_equal_frame_sends_nothing() -> None:
    """Idle is 0 bytes: a console left open all night must not fill the link."""
    frames = Frames()
    send(frames, layout(lines(*LOG[:HEIGHT])))

    assert send(frames, layout(lines(*LOG[:HEIGHT]))) == ""


def test_one_changed_digit_costs_a_few_bytes() -> None:
    """The clock of a run goes on every second."""
    frames = Frames()
    send(frames, layout(lines("elapsed 12m 08s", *LOG[1:HEIGHT])))

    sent = send(frames, layout(lines("elapsed 12m 09s", *LOG[1:HEIGHT])))

    assert sent is not None
    assert len(sent) < 60
    assert "elapsed" not in sent


def test_a_log_that_moves_on_by_a_line_is_moved_by_the_terminal() -> None:
    """Text that scrolls changes all its cells; sent again it would cost kilobytes a line."""
    frames, terminal = Frames(), Terminal()
    terminal.feed(send(frames, layout(lines(*LOG[:HEIGHT]))))
    terminal.feed(send(frames, layout(lines("header", *LOG[2 : HEIGHT + 1]))))

    assert terminal.screen.display[0].strip() == "header"
    assert [each.strip() for each in terminal.screen.display[1:]] == LOG[2 : HEIGHT + 1]
    assert terminal.sent < 250


def test_a_part_of_a_line_leaves_its_neighbours_alone() -> None:
    """Textual updates single widgets: what stands beside one is not in the update."""
    frames, terminal = Frames(), Terminal()
    terminal.feed(send(frames, layout(lines(*LOG[:HEIGHT]))))
    part = Strip([Segment("任务")])
    chops = [{0: None, 4: None, 8: None} for _ in range(HEIGHT)]
    chops[3] = {0: None, 4: part, 8: None}  # type: ignore[dict-item]

    terminal.feed(send(frames, ChopsUpdate(chops, [(3, 4, 8)], [[4, 8, WIDTH]] * HEIGHT)))

    assert terminal.screen.display[3].startswith("line任务f the log")


def test_after_forgetting_every_cell_is_sent() -> None:
    """Another program may have written over the screen; ctrl+l must mend it."""
    frames, terminal = Frames(), Terminal()
    send(frames, layout(lines(*LOG[:HEIGHT])))
    frames.forget()

    terminal.feed(send(frames, layout(lines(*LOG[:HEIGHT]))))

    assert [each.strip() for each in terminal.screen.display] == LOG[:HEIGHT]


def test_another_size_starts_anew() -> None:
    """After a resize nobody knows what the terminal made of the old content."""
    frames = Frames()
    send(frames, layout(lines(*LOG[:HEIGHT])))

    sent = frames.render(
        layout(lines(*LOG[:HEIGHT])), (WIDTH + 1, HEIGHT), (0, 0), ColorSystem.TRUECOLOR
    )

    assert sent is not None
    assert all(text in sent for text in LOG[:HEIGHT])

"""Every line of the log view is exactly as wide as its place, whatever a log holds."""

from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.style import Style

from sdcore.text import clean
from sdtui.live.log_cells import LONGEST, Ruler, settle
from sdtui.live.log_levels import Level
from sdtui.live.log_query import Query
from sdtui.live.logfile import Row
from sdtui.widgets.log_layout import Layout, Place
from sdtui.widgets.log_paint import Chosen, Pens, blank, paint

HOSTILE = st.text(
    st.one_of(
        st.sampled_from("ab \t\x00\x1b[]0;m7\r\n…"),
        st.sampled_from(
            "图像ー한﷽🎉👨\u200d👩\ufe0f\ufe0e🏽🇩🇪\u0301\u0489\u2028\u00ad\u200b\u115f"
        ),
        st.characters(),
    ),
    max_size=60,
)
PLAIN = Style()
unhurried = settings(deadline=None)  # the first call loads the table of widths
PENS = Pens(PLAIN, {}, PLAIN, Style(bold=True), PLAIN, PLAIN, PLAIN)


def settled(text: str) -> str:
    return settle(clean(text))


@unhurried
@given(HOSTILE)
def test_the_width_of_a_text_is_that_of_its_characters(text: str) -> None:
    """A joiner or selector makes the whole narrower or wider than its parts: no cut is right."""
    shown = settled(text)

    assert Ruler(shown).cells == cell_len(shown) == sum(map(cell_len, shown))
    assert settle(shown) == shown


@unhurried
@given(HOSTILE, st.integers(0, 80), st.integers(1, 80))
def test_a_cut_takes_no_more_cells_than_there_are(text: str, begin: int, width: int) -> None:
    """A wide character cut in two shifts the rest of the row."""
    rule = Ruler(settled(text))

    first, last, blanks, taken = rule.cut(begin, width)

    assert cell_len(rule.text[first:last]) == taken
    assert blanks + taken <= width
    assert cell_len(rule.text[:first]) == begin + blanks or first == last


@unhurried
@given(HOSTILE, st.integers(2, 40))
def test_a_wrapped_line_loses_nothing(text: str, width: int) -> None:
    """What falls into the gap between two rows was perhaps the error."""
    rule = Ruler(settled(text))
    starts = rule.wrap(width)
    ends = [*starts[1:], starts[-1] + width]

    cuts = [rule.cut(begin, end - begin) for begin, end in zip(starts, ends, strict=True)]

    assert "".join(rule.text[first:last] for first, last, _b, _t in cuts) == rule.text


@unhurried
@given(
    st.lists(HOSTILE, min_size=1, max_size=4), st.integers(4, 60), st.integers(0, 40),
    st.booleans(), st.sampled_from([None, "a", "图", "."]),
)  # fmt: skip
def test_every_row_has_the_width_of_the_view_and_steers_nothing(
    texts: list[str], width: int, left: int, wrap: bool, pattern: str | None
) -> None:
    """One row too wide breaks the screen; one escape sequence breaks the terminal."""
    rows = tuple(Row(at, settled(text), Level.ERROR, None) for at, text in enumerate(texts))
    layout = Layout(rows, width - 3, wrap=wrap)
    query = Query.of(pattern) if pattern else None

    lines = layout.lines(Place(0), 50, left)
    strips = [
        paint(rows[line.row], line, width, PENS, query, Chosen((0, 1), 2), " ") for line in lines
    ]
    strips.append(blank(rows[0].text, width, PENS, "▐"))

    for strip in strips:
        assert sum(cell_len(segment.text) for segment in strip) == width == strip.cell_length
        assert clean(strip.text) == strip.text


def test_a_line_without_end_and_a_pile_of_marks_are_cut() -> None:
    """10 MB in one line would be laid out on every key."""
    assert len(settle("x" * 10_000_000)) == LONGEST
    assert settle("x" * 10_000_000).endswith("…")
    assert settle("e" + "\u0301" * 500 + "!") == "e" + "\u0301" * 3 + "!"


def test_tabs_align_by_cells() -> None:
    """A table after a Chinese name would not stand in columns."""
    assert settle("ab\tc") == "ab      c"
    assert settle("图\tc") == "图      c"


@unhurried
@given(st.lists(st.integers(0, 90), min_size=1, max_size=12), st.integers(1, 20), st.data())
def test_going_down_and_up_again_leads_back(
    lengths: list[int], width: int, data: st.DataObject
) -> None:
    """A page down and a page up that do not cancel lose the reader."""
    rows = tuple(Row(at, "x" * n, Level.INFO, None) for at, n in enumerate(lengths))
    layout = Layout(rows, width, wrap=True)
    steps = data.draw(st.integers(0, 40))
    bottom = layout.move(Place(0), 10_000)

    there = layout.move(Place(0), steps)

    total = sum(len(layout.parts(row)) for row in range(len(rows)))
    assert layout.move(there, -min(steps, total - 1)) == Place(0)
    assert bottom == Place(len(rows) - 1, len(layout.parts(len(rows) - 1)) - 1)
    assert layout.lines(layout.last_top(5), 5)[-1][:2] == bottom

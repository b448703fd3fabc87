import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from rich.style import Style
from rich.text import Text

from sdtui.widgets.chart_axes import (
    Range,
    clock_words,
    keep_range,
    number_words,
    round_range,
    ticks,
    time_ticks,
    words_of,
    x_ticks,
)
from sdtui.widgets.chart_marks import MarkKind
from sdtui.widgets.chart_scene import full_view
from sdtui.widgets.chart_view import DECAYS, METRICS, ChartState, kept_from, state_from
from sdtui.widgets.chart_window import following, panned, zoomed
from sdtui.widgets.chart_words import signs

VALUES = st.floats(1e-9, 1e12)


@given(st.floats(-1e9, 1e9), st.floats(0, 1e9), st.integers(1, 40))
def test_a_range_holds_what_it_is_for_and_its_ticks_lie_in_it(
    low: float, span: float, rows: int
) -> None:
    found = round_range(low, low + span, rows, log=False)
    room = 1e-6 * max(1.0, abs(low), span)
    assert found.low <= low + room
    assert found.high >= low + span - room
    assert found.low < found.high
    marks = ticks(found, max(2, rows // 3))
    assert 1 <= len(marks) <= max(2, rows // 3) + 2
    assert all(found.low - room <= tick.value <= found.high + room for tick in marks)


@given(VALUES, st.floats(1, 1e6), st.integers(2, 40))
def test_a_logarithmic_range_ends_on_one_two_or_five(low: float, times: float, rows: int) -> None:
    found = round_range(low, low * times, rows, log=True)
    assert 0 < found.low <= low * (1 + 1e-6)
    assert found.high >= low * times * (1 - 1e-6)
    for value in found:
        digit = f"{value:.6e}"[0]
        assert digit in "125"
        assert float(f"{value:.6e}") == float(f"{digit}e{f'{value:.6e}'[9:]}")
    assert ticks(found, 6, log=True)


@given(st.floats(-1e9, 1e9), st.floats(1e-9, 1e9), st.integers(2, 12))
def test_ticks_of_an_axis_have_different_words_that_fit(low: float, span: float, most: int) -> None:
    """Two ticks with one label would make a reader doubt all of them."""
    assume(span > 1e-3 * abs(low))
    words = [tick.words for tick in ticks(Range(low, low + span), most)]
    assert len(set(words)) == len(words)
    assert all(len(word) <= 10 for word in words)


@pytest.mark.parametrize(
    ("values", "step", "words"),
    [
        ([0.0, 0.1, 0.2], 0.1, ["0", "0.1", "0.2"]),
        ([0.25, 0.30], 0.05, ["0.25", "0.30"]),
        ([500.0, 1000.0, 1500.0], 500.0, ["500", "1.0k", "1.5k"]),
        ([5e3, 1e4, 1.5e4], 5e3, ["5k", "10k", "15k"]),
        ([5e5, 1e6, 1.5e6], 5e5, ["500k", "1.0M", "1.5M"]),
        ([0.0, 2e-5], 2e-5, ["0", "2e-5"]),
    ],
)
def test_ticks_are_written_short(values: list[float], step: float, words: list[str]) -> None:
    assert words_of(values, step) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0.11834, ".1183"), (1.5, "1.500"), (438.2, "438.2"), (1e-5, "1e-5"), (9.8e-6, "9.8e-6"),
        (54123456789.0, "54.1G"), (math.nan, "–"), (math.inf, "inf"), (None, "–"), (0.0, "0"),
        (-0.5, "-.5000"), (12345.0, "12.3k"),
    ],
)  # fmt: skip
def test_values_are_read_off_with_four_digits_or_so(value: float | None, words: str) -> None:
    assert number_words(value) == words


def test_time_is_told_as_on_a_clock() -> None:
    assert [clock_words(s) for s in (0, 45, 90, 600, 5400, 7200, 216000)] == [
        "0", "45s", "1m30", "10m", "1h30", "2h", "2d12h",
    ]  # fmt: skip
    assert [tick.words for tick in time_ticks(Range(0, 3600), 4)] == [
        "0",
        "15m",
        "30m",
        "45m",
        "1h",
    ]


def test_a_live_axis_moves_a_few_times_in_a_whole_run() -> None:
    """Each move sends every cell of the chart over a slow link."""
    views = [full_view("step", float(s), 15_000.0, over=False) for s in range(1, 15_001)]
    assert all(view.high >= step for step, view in enumerate(views, 1))
    assert len(set(views)) <= 12
    assert views[-1] == (0, 15_000)
    early = [view.high for view in views[:20]]
    assert set(early) == {50.0}  # and a run of 20 steps is not a dot at the left edge
    times = {full_view("time", s, None, over=False) for s in np.arange(1.0, 7200.0, 1.0)}
    assert len(times) <= 12


def test_rows_stay_where_they_are_while_the_old_range_fits() -> None:
    old = Range(0.0, 1.0)
    assert keep_range(old, Range(0.1, 0.9), log=False) == old
    assert keep_range(old, Range(0.1, 1.5), log=False) == (0.1, 1.5)
    assert keep_range(old, Range(0.0, 0.2), log=False) == (0.0, 0.2)
    assert keep_range(old, Range(0.1, 1.0), log=True) == (0.1, 1.0)


@given(st.floats(0.1, 10), st.floats(0, 1), st.lists(st.floats(-1, 1), max_size=4))
def test_zooming_and_panning_stays_on_the_axis_and_comes_back(
    factor: float, anchor: float, pans: list[float]
) -> None:
    full = Range(0.0, 1000.0)
    view = zoomed(Range(200.0, 700.0), factor, 200 + 500 * anchor, full)
    if view is None:
        assert factor >= 2
        return
    for share in pans:
        view = panned(view, share, full)
        assert full.low <= view.low < view.high <= full.high + 1e-9
    assert zoomed(view, 1e9, 500.0, full) is None


def test_a_zoomed_view_at_the_end_goes_along_with_it_by_leaps() -> None:
    full = Range(0.0, 2000.0)
    view = Range(900.0, 1000.0)
    assert following(view, 990.0, 995.0, full) == view
    moved = following(view, 990.0, 1001.0, full)
    assert moved.low < 1001 < moved.high
    assert following(Range(100.0, 200.0), 990.0, 1001.0, full) == (100.0, 200.0)


@given(st.sampled_from(list(METRICS)), st.sampled_from(DECAYS), st.booleans(), st.booleans())
def test_a_chart_opens_as_it_was_left(metric: str, decay: float, log: bool, raw: bool) -> None:
    state = ChartState(metric=metric, decay=decay, log=log, raw=raw)
    assert state_from(kept_from(state)) == state


def test_settings_that_make_no_sense_are_passed_over() -> None:
    assert state_from({"metric": "age", "decay": 7, "x": None, "log": True}) == ChartState(log=True)
    assert state_from({"metric": ["loss"], "fit": {}}) == ChartState()


@given(st.floats(0, 1e6), st.floats(1e-3, 1e6), st.integers(2, 40))
def test_no_tick_stands_at_a_part_of_a_step(low: float, span: float, most: int) -> None:
    """On the axis of a run of three steps stood ``0.5``, which no run has done."""
    for tick in x_ticks(Range(low, low + span), most, "step"):
        assert tick.value == round(tick.value)
    shown = [tick.words for tick in x_ticks(Range(0, 3), 8, "step")]
    assert shown == ["0", "1", "2", "3"]


def test_signs_are_explained_only_where_there_is_room_for_all_numbers() -> None:
    """Numbers are what the line is read for; a sign cut in half explains nothing."""
    kinds: list[MarkKind] = ["saved", "gone", "resumed", "nan"]
    for width in range(10, 80):
        line = signs(Text(" last .5"), kinds, width, lambda _name: Style()).plain
        assert line.startswith(" last .5")
        assert len(line) <= max(width, 8)
        told = [entry for entry in line.removeprefix(" last .5").split("  ") if entry]
        assert set(told) <= {"▴ saved", "▵ removed", "↻ resumed", "✗ not finite"}

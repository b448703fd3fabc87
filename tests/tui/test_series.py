import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sdtui.live.series import (
    START,
    bands,
    elapsed,
    ema,
    ema_both_ways,
    line,
    never_falling,
    reach_back,
    some_points,
)

ANY = st.one_of(st.floats(-1e6, 1e6), st.sampled_from([math.nan, math.inf, -math.inf]))
SERIES = st.lists(ANY, max_size=300).map(lambda values: np.array(values, dtype=np.float64))
DECAY = st.sampled_from([0.0, 0.5, 0.9, 0.98, 0.999])


def slow_ema(values: np.ndarray, decay: float) -> list[float]:
    """Smooth one value after the other, as it is defined."""
    total, weight, smooth = 0.0, 0.0, []
    for value in values:
        if not math.isfinite(value):
            smooth.append(math.nan)
            continue
        total = decay * total + (1 - decay) * value
        weight = decay * weight + (1 - decay)
        smooth.append(total / weight)
    return smooth


@given(SERIES, DECAY, st.lists(st.integers(0, 300), max_size=3))
def test_smoothing_in_pieces_is_smoothing_as_it_is_defined(
    values: np.ndarray, decay: float, cuts: list[int]
) -> None:
    """The blocks and pieces are there for speed; a point that is no number must not spread."""
    memory, found = START, []
    for piece in np.split(values, sorted(min(cut, len(values)) for cut in cuts)):
        smooth, memory = ema(piece, decay, memory)
        found.append(smooth)
    np.testing.assert_allclose(
        np.concatenate(found), np.array(slow_ema(values, decay)), rtol=1e-8, atol=1e-6
    )


def test_smoothing_starts_at_the_first_point_and_not_at_zero() -> None:
    smooth, _ = ema(np.full(1000, 5.0), 0.999)
    np.testing.assert_allclose(smooth, 5.0)


@given(SERIES, st.sampled_from([0.5, 0.9]), st.integers(0, 200))
def test_smoothing_both_ways_mends_only_the_end_when_points_are_added(
    values: np.ndarray, decay: float, more: int
) -> None:
    """Else a tick of a long run would cost the whole of it."""
    known = max(0, len(values) - more)
    old = ema_both_ways(values[:known], decay, ema(values[:known], decay)[0])
    forward, _ = ema(values, decay)
    start = max(0, known - reach_back(decay))
    mended = np.concatenate([old[:start], ema_both_ways(values, decay, forward, start)])
    np.testing.assert_allclose(mended, ema_both_ways(values, decay, forward), rtol=1e-6, atol=1e-4)


def test_smoothing_both_ways_does_not_lag_behind_a_step() -> None:
    values = np.repeat([0.0, 1.0], 500)
    forward, _ = ema(values, 0.98)
    both = ema_both_ways(values, 0.98, forward)
    assert forward[500:520].max() < 0.35
    assert abs(float(both[499] + both[500]) / 2 - 0.5) < 0.02


@given(
    hnp.arrays(np.float64, st.integers(0, 200), elements=ANY),
    st.lists(st.floats(0, 10), min_size=200, max_size=200),
    st.integers(1, 40),
)
def test_columns_keep_every_spike_and_every_gap(
    y: np.ndarray, places: list[float], columns: int
) -> None:
    """A chart of a million points that loses the one NaN or the one spike is a lie."""
    x = np.sort(np.array(places[: len(y)]))
    edges = np.linspace(1.0, 9.0, columns + 1)
    found = bands(x, y, edges)
    for number in range(columns):
        last = number == columns - 1
        inside = (x >= edges[number]) & ((x <= edges[-1]) if last else (x < edges[number + 1]))
        finite = y[inside][np.isfinite(y[inside])]
        assert found.broken[number] == (len(finite) < inside.sum())
        if len(finite):
            assert (found.low[number], found.high[number]) == (finite.min(), finite.max())
        else:
            assert np.isnan([found.low[number], found.high[number]]).all()


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=50), st.integers(1, 60))
def test_a_line_has_no_holes_between_its_points(values: list[float], columns: int) -> None:
    """Whether there are more points than columns or fewer."""
    x, y = np.arange(float(len(values))), np.array(values)
    found = line(x, y, np.linspace(0, len(values) - 1, columns + 1))
    assert np.isfinite(found.low).all()
    assert (found.low[1:] <= found.high[:-1] + 1e-9).all()
    assert (found.high[1:] >= found.low[:-1] - 1e-9).all()
    assert np.nanmax(found.high) == max(values)


def test_a_line_breaks_where_a_point_is_no_number() -> None:
    x, y = np.arange(5.0), np.array([1.0, 1.0, math.nan, 1.0, 1.0])
    found = line(x, y, np.linspace(0, 4, 9))
    assert np.isfinite(found.low).tolist() == [True] * 3 + [False] * 3 + [True] * 2


@given(st.integers(2, 5000), st.integers(1, 300), st.sampled_from([60, 200]))
def test_the_points_that_stand_for_all_stay_the_same_while_a_run_grows(
    count: int, more: int, columns: int
) -> None:
    """Else every tick would send the whole cloud anew."""
    edges = np.linspace(0, 6000, columns + 1)
    old = some_points(np.arange(1.0, count + 1), edges, 4)
    new = some_points(np.arange(1.0, count + more + 1), edges, 4)
    assert new[: len(old)].tolist() == old.tolist()
    assert len(new) <= 10 * columns


@given(st.lists(st.floats(0, 1e9), max_size=50), st.integers(0, 50))
def test_time_never_runs_backwards(at: list[float], cut: int) -> None:
    """Clocks are set back; the chart goes on."""
    clock = np.array(at)
    whole = elapsed(clock)
    assert (np.diff(whole) >= 0).all()
    if 0 < cut < len(at):
        rest = elapsed(clock[cut:], float(whole[cut - 1]), float(clock[cut - 1]))
        np.testing.assert_allclose(rest, whole[cut:], rtol=1e-9)


def test_epochs_that_are_missing_or_fall_hold_their_place() -> None:
    epochs = never_falling(np.array([math.nan, 1.0, 0.5, math.inf, 2.0]))
    assert epochs.tolist() == [0.0, 1.0, 1.0, 1.0, 2.0]

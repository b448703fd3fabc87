import json
import math
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sdcore.runs.follow import Follower
from sdcore.runs.paths import RunDir
from sdtui.live import curve as curves
from sdtui.live.curve import Curve, CurveReader
from sdtui.live.curve_columns import NAMES, WIDTH
from support.fake_runs import make_run, metric

A_LINE = st.one_of(
    st.builds(
        lambda step, attempt, loss: json.dumps(metric(step, attempt, loss)).encode(),
        st.integers(1, 12),
        st.integers(1, 3),
        st.floats(),
    ),
    st.sampled_from([b"", b"{", b"null", b"[]", b'{"step": true}', b"\xff\xfe", b'"x"']),
)


@contextmanager
def reading(run: RunDir) -> Iterator[CurveReader]:
    """A reader that is closed whatever happens."""
    reader = CurveReader(run)
    try:
        yield reader
    finally:
        reader.close()


def settled(reader: CurveReader) -> Curve:
    """Poll until the whole file is there."""
    end = time.monotonic() + 30
    while (curve := reader.poll()).coarse:
        assert time.monotonic() < end
        time.sleep(0.02)
    return curve


def assert_same(curve: Curve, run: RunDir) -> None:
    """Compare with what every other part of the program makes of the file."""
    follower = Follower(run)
    follower.poll()
    for name in NAMES:
        wanted = [getattr(step, name) for step in follower.steps]
        values = np.array([math.nan if v is None else v for v in wanted], dtype=np.float64)
        np.testing.assert_array_equal(getattr(curve, name), values)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=st.lists(A_LINE, max_size=14), cuts=st.lists(st.integers(0, 2000), max_size=5))
def test_the_curve_is_that_of_every_other_reader(
    home: Path, lines: list[bytes], cuts: list[int]
) -> None:
    """Resumes, late ranks and damaged lines: the chart must not tell another story than `show`."""
    whole = b"".join(part + b"\n" for part in lines)
    run = make_run(metrics=b"")
    with reading(run) as reader:
        places = sorted(min(cut, len(whole)) for cut in cuts)
        for begin, end in zip([0, *places], [*places, len(whole)], strict=True):
            with run.metrics.open("ab") as file:
                file.write(whole[begin:end])
            reader.poll()
        assert_same(reader.poll(), run)


def test_a_resume_leaves_the_curves_that_were_shown_before_as_they_were() -> None:
    """A screen may still draw the old one when the file has gone on."""
    run = make_run(metrics=[metric(s, loss=1.0) for s in range(1, 6)])
    with reading(run) as reader:
        old = reader.poll()
        assert reader.poll() is old  # nothing new: nothing is drawn
        with run.metrics.open("a") as file:
            file.write(json.dumps(metric(3, attempt=2, loss=0.5)) + "\n")
        new = reader.poll()
        assert old.loss.tolist() == [1.0] * 5
        assert new.loss.tolist() == [1.0, 1.0, 0.5]
        assert not new.loss.flags.writeable
        with run.metrics.open("a") as file:
            file.write(json.dumps(metric(4, attempt=2, loss=0.25)) + "\n")
        assert reader.poll().loss.tolist() == [1.0, 1.0, 0.5, 0.25]
        assert len(new) == 3


def test_losses_that_are_no_numbers_are_kept_as_such() -> None:
    lines = [json.dumps({**metric(1), "loss": "NaN"}), json.dumps(metric(2, loss=math.inf))]
    run = make_run(metrics="\n".join([*lines, ""]).encode())
    with reading(run) as reader:
        loss = reader.poll().loss
    assert math.isnan(loss[0])
    assert math.isinf(loss[1])


def test_a_long_run_is_seen_whole_at_once_and_then_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first look must not read 200 MB; the last one must have lost no step of them."""
    monkeypatch.setattr(curves, "_AT_ONCE", 50_000)
    run = make_run(metrics=[metric(s, loss=1 / s) for s in range(1, 20_001)])
    with reading(run) as reader:
        first = reader.poll()
        assert first.coarse
        assert len(first) < 20_000
        assert first.step[0] == 1
        assert first.step[-1] == 20_000
        assert np.diff(first.step).max() < 2_000  # from all over
        with run.metrics.open("a") as file:  # it goes on while the rest is read
            file.write(json.dumps(metric(20_001)) + "\n")
        assert reader.poll().step[-1] == 20_001
        curve = settled(reader)
        assert len(curve) == 20_001
        assert_same(curve, run)


def test_a_reader_that_dies_costs_time_and_not_the_curve(monkeypatch: pytest.MonkeyPatch) -> None:
    """Out of memory, or killed by hand: the looks then read the file themselves."""
    monkeypatch.setattr(curves, "_AT_ONCE", 50_000)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    run = make_run(metrics=[metric(s) for s in range(1, 2_001)])
    with reading(run) as reader:
        assert reader.poll().coarse
        assert_same(settled(reader), run)


def test_a_file_that_is_cut_while_it_is_read_is_read_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curves, "_AT_ONCE", 50_000)
    run = make_run(metrics=[metric(s) for s in range(1, 5_001)])
    with reading(run) as reader:
        reader.poll()
        run.metrics.write_text(json.dumps(metric(1, loss=0.25)) + "\n")
        assert settled(reader).loss.tolist() == [0.25]


def test_a_run_without_metrics_has_an_empty_curve() -> None:
    with reading(make_run()) as reader:
        assert len(reader.poll()) == 0
        assert not reader.poll().coarse


def test_a_million_steps_fit_into_ninety_megabytes() -> None:
    run = make_run()
    with reading(run) as reader:
        columns = reader._columns
        for begin in range(0, 1_000_000, 50_000):
            rows = np.ones((50_000, WIDTH))
            rows[:, 2] = np.arange(begin + 1, begin + 50_001)
            columns.take(rows)
        assert sum(array.nbytes for array in columns._arrays.values()) < 90e6

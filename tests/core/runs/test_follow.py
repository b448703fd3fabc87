import json
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sdcore.runs.events import Metrics
from sdcore.runs.files import LineTail
from sdcore.runs.follow import Follower, StepMetrics
from support.fake_runs import exit_record, make_run, metric


def test_steps_have_the_fields_of_the_contract() -> None:
    """A field added to the one and not the other would be lost without a word."""
    assert set(StepMetrics._fields) == set(Metrics.model_fields)


def test_a_resumed_attempt_replaces_what_it_repeats_and_all_after_it() -> None:
    """Attempt 1 reached step 5, its checkpoint was of step 2: its steps 3 to 5 are void."""
    run = make_run(metrics=[metric(s, loss=1.0) for s in range(1, 6)])
    follower, late = Follower(run), None
    assert [line.step for line in follower.poll().metrics] == [1, 2, 3, 4, 5]
    with run.metrics.open("a") as file:
        file.write(json.dumps(metric(3, attempt=2, loss=0.5)) + "\n")
        file.write(json.dumps(metric(9, attempt=1)) + "\n")  # a rank that wrote late
    update = follower.poll()
    assert update.rewound_to == 3
    assert [(line.attempt, line.step) for line in update.metrics] == [(2, 3)]
    assert [(line.attempt, line.step) for line in follower.steps] == [(1, 1), (1, 2), (2, 3)]
    late = Follower(run)
    late.poll()
    assert late.steps == follower.steps
    assert follower.poll().metrics == ()


def test_several_followers_see_the_same_and_a_cut_file_is_read_anew() -> None:
    run = make_run(metrics=[metric(s) for s in range(1, 100)])
    first, second = Follower(run), Follower(run)
    first.poll()
    run.metrics.write_text(json.dumps(metric(1, loss=0.25)) + "\n")
    assert first.poll().rewound_to == 1
    second.poll()
    assert first.steps == second.steps
    assert len(first.steps) == 1


def test_the_last_update_of_a_run_misses_nothing() -> None:
    """The state is read before the streams: the other order loses the last steps."""
    run = make_run(exit=exit_record(), metrics=[metric(1)], events=[{"kind": "new in 2030"}])
    update = Follower(run).poll()
    assert update.status.over
    assert update.first
    assert len(update.metrics) == 1
    assert update.events == ({"kind": "new in 2030"},)


line = st.one_of(
    st.builds(
        lambda step, attempt, loss: json.dumps(metric(step, attempt, loss)).encode(),
        st.integers(1, 12),
        st.integers(1, 3),
        st.floats(),
    ),
    st.sampled_from([b"", b"{", b"null", b"[]", b'{"step": true}', b"\xff\xfe", b"\r", b'"x"']),
    st.sampled_from([b'{"at": 1, "attempt": 1, "step": 1e400, "loss": 1}', b"[" * 3000]),
)


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=st.lists(line, max_size=12), cuts=st.lists(st.integers(0, 2000), max_size=8))
def test_how_the_bytes_arrive_changes_nothing(
    home: Path, lines: list[bytes], cuts: list[int]
) -> None:
    """A reader meets any part of any line; what it makes of the whole must be the same."""
    whole = b"".join(part + b"\n" for part in lines)
    run = make_run(metrics=whole)
    at_once = Follower(run)
    at_once.poll()
    run.metrics.write_bytes(b"")
    piecewise = Follower(run)
    places = sorted(min(cut, len(whole)) for cut in cuts)
    for begin, end in zip([0, *places], [*places, len(whole)], strict=True):
        with run.metrics.open("ab") as file:
            file.write(whole[begin:end])
        piecewise.poll()
    assert repr(piecewise.steps) == repr(at_once.steps)  # repr: NaN equals nothing
    steps = [point.step for point in at_once.steps]
    assert steps == sorted(set(steps))


@given(
    lines=st.lists(st.binary(max_size=30).filter(lambda b: b"\n" not in b), max_size=10),
    cuts=st.lists(st.integers(0, 300), max_size=6),
)
@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_line_over_the_limit_is_dropped_whole(
    tmp_path: Path, lines: list[bytes], cuts: list[int]
) -> None:
    """Its end, read as a line of its own, could be a valid record of something else."""
    stream, whole, limit = tmp_path / "s", b"".join(part + b"\n" for part in lines), 16
    stream.write_bytes(b"")
    tail, got = LineTail(stream), []
    places = sorted(min(cut, len(whole)) for cut in cuts)
    for begin, end in zip([0, *places], [*places, len(whole)], strict=True):
        with stream.open("ab") as file:
            file.write(whole[begin:end])
        while True:
            before = tail.offset
            got += tail.read(limit)
            if tail.offset == before:
                break
    assert got == [part for part in lines if len(part) < limit]


def test_an_unknown_field_and_a_missing_one_are_borne() -> None:
    """A newer trainer adds fields; a foreign command's lines have only step and loss."""
    short: dict[str, Any] = {"at": 1.0, "attempt": 1, "step": 1, "loss": float("nan"), "new": [1]}
    run = make_run(metrics=[short, {"at": 1.0, "attempt": 1, "step": 2}])
    follower = Follower(run)
    follower.poll()
    assert [(point.step, point.lr) for point in follower.steps] == [(1, None)]

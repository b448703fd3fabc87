import json
import os
import shutil
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sdcore.runs import locks, spans
from sdcore.runs.paths import RunDir
from sdcore.runs.status import OVER, read_status
from support.fake_runs import T0, Supervised, exit_record, make_run, metric


def held(run: RunDir) -> Callable[[], None]:
    """Hold the lock of ``run``; the kernel counts an open file, not a process."""
    descriptor = locks.take(run.lock)
    assert descriptor is not None
    return lambda: os.close(descriptor)


def supervisor(**changes: Any) -> dict[str, Any]:
    here = {"boot_id": spans.boot_id(), "host": socket.gethostname()}
    return {"format": 1, "pid": 1, "started": T0, **here, **changes}


RUNNING = {"format": 1, "phase": "running", "since": T0, "attempt": 1, "gpus": ["GPU-1"]}


@pytest.mark.parametrize(
    ("records", "lock", "state", "reason"),
    [
        ({"exit": exit_record("done")}, False, "done", "it is done"),
        ({"exit": exit_record("failed")}, False, "failed", "it is failed"),
        ({"exit": exit_record("stopped")}, False, "stopped", "it is stopped"),
        ({"exit": exit_record("interrupted")}, False, "interrupted", "it is interrupted"),
        # The record is written before the lock is let go.
        ({"exit": exit_record("done"), "state": RUNNING}, True, "done", "it is done"),
        ({"exit": b'{"state": "do'}, False, "interrupted", "damaged"),
        ({"exit": b""}, False, "interrupted", "damaged"),
        ({"exit": b"[1, 2]"}, False, "interrupted", "damaged"),
        ({"exit": b"[" * 100_000}, False, "interrupted", "damaged"),
        ({"exit": {"state": "paused"}}, False, "interrupted", "damaged"),
        ({"exit": exit_record("done", format=2)}, False, "done", "newer sdtui"),
        ({}, True, "starting", None),
        ({"state": b"\x00\xff"}, True, "starting", None),
        ({"state": {**RUNNING, "phase": "queued"}}, True, "queued", None),
        ({"state": {**RUNNING, "phase": "starting"}}, True, "starting", None),
        ({"state": RUNNING}, True, "running", None),
        ({"state": {**RUNNING, "phase": "stopping"}}, True, "stopping", None),
        ({"state": {**RUNNING, "phase": "dancing", "format": 9}}, True, "starting", "newer sdtui"),
        ({}, False, "interrupted", "launch did not finish"),
        ({"state": RUNNING, "supervisor": supervisor()}, False, "interrupted", "supervisor lost"),
        (
            {"state": RUNNING, "supervisor": supervisor(boot_id="another")},
            False,
            "interrupted",
            "reboot",
        ),
        (
            {"state": RUNNING, "supervisor": supervisor(host="far", boot_id="another")},
            False,
            "interrupted",
            "it ran on far",
        ),
    ],
)
def test_the_files_and_the_lock_decide_the_state(
    records: dict[str, Any], lock: bool, state: str, reason: str | None
) -> None:
    """The whole truth table: a wrong row tells somebody that a dead run is training."""
    run = make_run(**records)
    release = held(run) if lock else lambda: None
    try:
        read = read_status(run)
    finally:
        release()
    assert read.state == state
    assert (reason or "") in (read.reason or "")
    assert read.over == (read.exit_code is not None)


def test_a_run_is_running_only_while_a_process_holds_its_lock() -> None:
    """``kill -9`` of the supervisor leaves state.json saying "running" for ever."""
    run = make_run()
    with Supervised(run, "--delay", "0.1", "--steps", "1000") as fake:
        while (before := read_status(run)).step is None:
            assert before.state == "running"
        fake.process.send_signal(signal.SIGKILL)
        fake.process.wait()
        read = read_status(run)
    assert (read.state, read.exit_code) == ("interrupted", 7)
    assert "supervisor lost" in str(read.reason)
    assert read.remedy == f"run: sdtui resume {run.id}"
    assert (read.step or 0) >= before.step


def test_another_boot_id_means_a_reboot(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """After a reboot no process is left that could say so."""
    run = make_run(state=RUNNING, supervisor=supervisor())
    boot = tmp_path / "boot_id"
    boot.write_text("11111111-2222-3333-4444-555555555555\n")
    monkeypatch.setattr(spans, "_BOOT_ID", boot)
    assert "reboot" in str(read_status(run).reason)


def test_an_exit_record_that_appears_between_two_looks_is_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The supervisor may write exit.json and leave between our look for it and for the lock."""
    run = make_run(state=RUNNING, supervisor=supervisor())

    def end_now(_path: Path) -> bool:
        run.exit.write_text(json.dumps(exit_record("done")))
        return False

    monkeypatch.setattr(locks, "is_held", end_now)
    assert read_status(run).state == "done"


def test_a_resume_that_has_only_taken_the_lock_is_starting() -> None:
    """Until the new supervisor writes, state.json still tells of the attempt before."""
    run = make_run(state={**RUNNING, "phase": "stopping", "step": "kill", "deadline": T0})
    run.earlier_exit(1).write_text(json.dumps(exit_record("stopped")))
    release = held(run)
    read = read_status(run)
    release()
    assert (read.state, read.attempt, read.deadline) == ("starting", 2, None)


def test_progress_comes_from_the_streams_and_the_pace_from_this_attempt() -> None:
    """A pace that spans two attempts would count the night between them."""
    lines = [metric(step) for step in range(1, 6)]
    lines += [metric(step, attempt=2, at=T0 + 90_000 + 2 * step) for step in range(4, 8)]
    run = make_run(
        state={**RUNNING, "attempt": 2},
        supervisor=supervisor(),
        launch={"format": 1, "total_steps": 17},
        metrics=lines,
        events=[
            {"at": T0, "attempt": 1, "kind": "phase", "phase": "saving"},
            {
                "at": T0,
                "attempt": 2,
                "kind": "phase",
                "phase": "caching",
                "done": 3,
                "total": 9,
                "per_s": 1.5,
            },
        ],
    )
    release = held(run)
    read = read_status(run, now=T0 + 100_000)
    release()
    assert (read.step, read.total, read.loss, read.eta_s) == (7, 17, 0.5, 20.0)
    assert (read.phase, read.phase_done, read.phase_total) == ("caching", 3, 9)
    assert read.phase_per_s == 1.5
    assert read.gpus == ("GPU-1",)
    assert read.elapsed == 100_000


def test_a_clock_that_was_set_back_makes_nothing_negative() -> None:
    """NTP steps clocks on freshly booted machines by years."""
    run = make_run(
        state=RUNNING,
        supervisor=supervisor(),
        metrics=[metric(1, at=T0), metric(2, at=T0 - 500)],
        launch={"total_steps": 10},
    )
    release = held(run)
    read = read_status(run, now=T0 - 1000)
    release()
    assert read.elapsed == 0
    assert read.eta_s is None


def test_a_training_run_that_takes_no_steps_is_told_and_promises_no_end() -> None:
    """A hung collective keeps its process alive: an old pace would say that all is well."""
    lines = [metric(step, at=T0 + 2 * step) for step in range(1, 8)]
    run = make_run(state=RUNNING, supervisor=supervisor(), metrics=lines)
    release = held(run)
    try:
        soon, late = (read_status(run, now=T0 + 14 + wait) for wait in (59, 200))
    finally:
        release()
    assert (soon.state, soon.reason, soon.images_per_s) == ("running", None, 4.0)
    assert (late.state, late.reason) == ("running", "no step for 3 min")
    assert (late.eta_s, late.images_per_s) == (None, None)
    run.exit.write_text(json.dumps(exit_record("done", ended=T0 - 5)))
    assert read_status(run).elapsed == 0


def test_text_in_records_cannot_steer_the_terminal() -> None:
    """A reason can hold an exception's message, and that a file name of the data set."""
    run = make_run(exit=exit_record("failed", reason="\x1b]52;c;QQ==\x07bad\x1b[2J\n\x9b1m name"))
    assert read_status(run).reason == "bad  name"


def test_a_finished_run_costs_one_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """``sdtui ls`` reads a thousand of them in half a second."""
    run = make_run(exit=exit_record(), metrics=[metric(1)], state=RUNNING)
    opened: list[str] = []
    open_ = os.open

    def counting(path: Path, *args: Any, **kwargs: Any) -> int:
        opened.append(Path(path).name)
        return open_(path, *args, **kwargs)

    monkeypatch.setattr(os, "open", counting)  # every record is opened by it
    assert read_status(run).state == "done"
    assert opened == ["exit.json"]


WILD = [None, True, -1, 0, 1 << 80, 1e308, float("nan"), float("-inf"), "", "NaN", "\x1b[2J", "\0"]
JSON = st.sampled_from([*WILD, [], [1], ["a", None], {}, {"a": [{}]}, "running", "done", "\ud800"])
KEYS = st.sampled_from([*exit_record(), *RUNNING, "boot_id", "host", "start_ticks", "deadline"])


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(record=st.dictionaries(KEYS, JSON), name=st.sampled_from(["exit", "state", "supervisor"]))
def test_no_record_can_make_a_reader_fail(home: Path, record: dict[str, Any], name: str) -> None:
    """One damaged run must not take the list of all the others away."""
    run = make_run(**{name: record})
    for file in {run.exit, run.state, run.supervisor} - {getattr(run, name)}:
        file.unlink(missing_ok=True)
    run.metrics.write_text(json.dumps(record) + "\n")
    run.events.write_text(json.dumps({**record, "kind": "phase"}) + "\n")
    assert read_status(run).state in OVER
    release = held(run)
    assert read_status(run).state
    release()


def test_what_cannot_be_read_or_is_gone_is_not_called_damaged() -> None:
    """Another user's run may be in the best of health."""
    gone = make_run(exit=exit_record())
    shutil.rmtree(gone.root)
    assert read_status(gone).reason == "its folder was removed"

    run = make_run(exit=b"{")
    assert "damaged" in (read_status(run).reason or "")
    with patch("os.access", return_value=False):  # root may read everything
        assert "cannot be read" in (read_status(run).reason or "")


def test_a_resume_that_loads_stands_where_its_checkpoint_is() -> None:
    """For the minute of loading, "step 0" looks as if everything were lost."""
    run = make_run(state={**RUNNING, "attempt": 2}, metrics=[metric(n) for n in range(1, 90)])
    (run.checkpoints / "step-80").mkdir(parents=True)
    run.rank(0).parent.mkdir()
    run.rank(0).write_text(json.dumps({"attempt": 2, "step": 0, "total": 300}))
    release = held(run)
    read = read_status(run)
    release()
    assert (read.step, read.total) == (80, 300)

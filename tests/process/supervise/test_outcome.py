"""How an end is judged: rules on plain data, no process."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdcore.errors import ExitCode, NotReadyError
from sdcore.launch.plan import LaunchPlan
from sdcore.runs.logs import Mask
from sdcore.runs.paths import RunDir
from sdcore.supervise import evidence as facts
from sdcore.supervise import oom
from sdcore.supervise.evidence import Evidence, Stop
from sdcore.supervise.outcome import decide, of_error
from sdcore.supervise.record import exit_record


def rank(outcome: str, **fields: Any) -> dict[str, Any]:
    return {"rank": 0, "attempt": 1, "outcome": outcome, "step": 5, "checkpoint": None} | fields


EXIT_1, KILLED, TERMED = 1 << 8, 9, 15
SAVED = rank("stopped", checkpoint="output/checkpoints/step-5")


@pytest.mark.parametrize(
    ("evidence", "state", "code", "cause"),
    [
        (Evidence(status=0), "done", 0, "done"),
        # Everything is written; how Python came down afterwards changes nothing.
        (Evidence(status=EXIT_1, ranks=(rank("done"),)), "done", 0, "done"),
        (Evidence(status=0, ranks=(rank("done"), rank("running"))), "failed", 1, "error"),
        (Evidence(status=0, ranks=(rank("running"),)), "failed", 1, "error"),
        # `train.py || true` hides the status, not the rank's own words.
        (Evidence(status=0, ranks=(rank("failed"),)), "failed", 1, "error"),
        (Evidence(status=EXIT_1, ranks=(rank("non_finite"),)), "failed", 6, "non_finite"),
        (
            Evidence(status=EXIT_1, ranks=(rank("failed"), rank("out_of_memory"))),
            "failed", 5, "out_of_memory",
        ),
        (Evidence(status=0, ranks=(SAVED,), stop=Stop("SIGINT", "save")), "stopped", 4, "stopped"),
        (Evidence(status=0, ranks=(SAVED,)), "stopped", 4, "stopped"),
        (Evidence(status=KILLED, stop=Stop("SIGINT", "kill")), "stopped", 130, "stopped"),
        (Evidence(status=TERMED, stop=Stop("sdtui stop", "term")), "stopped", 143, "stopped"),
        # A neighbour torn out of a collective fails; that is the stop's doing...
        (
            Evidence(status=EXIT_1, ranks=(rank("failed"),), stop=Stop("x", "term")),
            "stopped", 143, "stopped",
        ),
        # ...but a failure of the save itself is not.
        (
            Evidence(status=EXIT_1, ranks=(rank("failed"),), stop=Stop("x", "save")),
            "failed", 1, "error",
        ),
        (Evidence(status=0, ranks=(rank("done"),), stop=Stop("x", "save")), "done", 0, "done"),
        (Evidence(status=KILLED), "failed", 1, "signal"),
        (Evidence(status=KILLED, oom_kills=1), "failed", 5, "host_memory"),
        (
            Evidence(status=EXIT_1, oom_kills=1, ranks=(rank("running"),)),
            "failed", 5, "host_memory",
        ),
        (
            Evidence(status=EXIT_1, oom_kills=1, log_lines=("exitcode  : -9 (pid: 7)",)),
            "failed", 5, "host_memory",
        ),
        # The launcher's 1 hides the signal; its words do not.
        (
            Evidence(
                status=EXIT_1, ranks=(rank("running"),),
                log_lines=("CalledProcessError: Command '[…]' died with <Signals.SIGKILL: 9>.",),
            ),
            "failed", 1, "signal",
        ),
        (
            Evidence(
                status=EXIT_1, ranks=(rank("running"), rank("failed")),
                log_lines=("  exitcode  : -11 (pid: 7)", "====="),
            ),
            "failed", 1, "error",
        ),
        # The counter is the host's: without a corpse of ours it was somebody else's process.
        (Evidence(status=EXIT_1, oom_kills=3), "failed", 1, "error"),
        (
            Evidence(status=EXIT_1, log_lines=("torch.OutOfMemoryError: x", "")),
            "failed", 5, "out_of_memory",
        ),
        (Evidence(status=0, log_lines=("caught CUDA out of memory, went on",)), "done", 0, "done"),
        (Evidence(status=127 << 8, foreign=True, seconds=1), "failed", 3, "launch"),
        (Evidence(status=127 << 8, foreign=True, seconds=3600), "failed", 1, "error"),
        (Evidence(guard_lost=True, ranks=(SAVED,)), "interrupted", 7, "guard_lost"),
        (Evidence(guard_lost=True, ranks=(rank("done"),)), "done", 0, "done"),
    ],
)  # fmt: skip
def test_the_cause_is_named(evidence: Evidence, state: str, code: int, cause: str) -> None:
    outcome = decide(evidence)
    assert (outcome.state, int(outcome.exit_code), outcome.cause) == (state, code, cause)


def test_what_is_told_of_a_start_command_and_of_a_resume_can_be_relied_on() -> None:
    """A foreign command's 0 says nothing of a training; a command that is copied must be whole."""
    assert decide(Evidence(status=0, foreign=True)).reason == "the start command ended with code 0"
    lost = Evidence(guard_lost=True, checkpoint="output/checkpoints/step-5", run_id="2026-x")
    assert "`sdtui resume 2026-x` goes on" in (decide(lost).remedy or "")


_junk = st.none() | st.integers() | st.floats() | st.text(max_size=20) | st.lists(st.integers())
_outcomes = st.sampled_from(["running", "done", "stopped", "out_of_memory", "non_finite", "failed"])
_ranks = st.fixed_dictionaries(
    {"outcome": _outcomes | _junk},
    optional=dict.fromkeys(("rank", "step", "checkpoint", "reason", "remedy"), _junk),
)
_evidence = st.builds(
    Evidence,
    status=st.none() | st.integers(0, 255).map(lambda c: c << 8) | st.integers(1, 64),
    ranks=st.lists(_ranks, max_size=3).map(tuple),
    stop=st.none() | st.builds(Stop, st.text(), st.sampled_from(["save", "term", "kill"])),
    guard_lost=st.booleans(),
    we_killed=st.booleans(),
    oom_kills=st.integers(0, 3),
    metrics=st.dictionaries(st.sampled_from(["step", "loss", "attempt", "images_per_s"]), _junk),
    log_lines=st.lists(st.text(max_size=30), max_size=3).map(tuple),
    foreign=st.booleans(),
    seconds=st.floats(0, 1e6),
    queued=st.booleans(),
    checkpoint=st.none() | st.just("output/checkpoints/step-5"),
    pipeline=st.none() | st.just("output/checkpoint"),
)

_CODES = {
    "done": {0}, "interrupted": {7}, "stopped": {4, 130, 143}, "failed": {1, 3, 5, 6}
}  # fmt: skip


@given(_evidence)
def test_whatever_was_left_behind_gives_one_consistent_record(evidence: Evidence) -> None:
    """A supervisor that trips over a damaged rank file would leave no record at all."""
    outcome = decide(evidence)
    assert outcome.exit_code in _CODES[outcome.state]
    if outcome.state == "done":
        assert not any(rank["outcome"] in {"failed", "running"} for rank in evidence.ranks)
    if outcome.exit_code == ExitCode.STOPPED:
        assert any(rank.get("checkpoint") for rank in evidence.ranks)
    if evidence.stop is None:
        assert outcome.exit_code != ExitCode.INTERRUPTED
    plan = LaunchPlan(name="x", argv=["x"], cwd="/")
    record = exit_record(plan, evidence, outcome, Mask(["secret-value"]), started=0.0)
    json.dumps(record, allow_nan=False)
    assert not set("\n\x1b\x9b") & set(record["reason"] + (record["remedy"] or ""))
    assert (record["code"] is None) or (record["signal"] is None)


def test_a_resume_that_cannot_start_leaves_what_is_known_of_the_run() -> None:
    """The log's last words were told as the reason of an attempt that had printed nothing."""
    error = NotReadyError("the GPUs of this host cannot be used", cause="none", remedy="count 0")
    told = {"attempt": 1, "step": 79, "loss": 0.25}
    evidence = Evidence(
        metrics=told, log_lines=("stopped at step 79",), checkpoint="output/checkpoints/step-79"
    )
    plan = LaunchPlan(name="x", argv=["x"], cwd="/", attempt=2)
    record = exit_record(plan, evidence, of_error(error), Mask([]))
    assert (record["last_step"], record["last_loss"]) == (79, 0.25)
    assert record["last_lines"] == []
    later = replace(evidence, metrics=told | {"step": 90})
    record = exit_record(plan, later, of_error(error), Mask([]))
    assert (record["last_step"], record["last_loss"]) == (79, None)


def test_rank_files_of_an_earlier_attempt_say_nothing(tmp_path: Path) -> None:
    """A resumed run that finds yesterday's "done" would be over before it began."""
    run = RunDir(tmp_path)
    run.rank(0).parent.mkdir()
    run.rank(0).write_text(json.dumps(rank("done")))
    run.rank(1).write_text(json.dumps(rank("running", attempt=2)))
    run.rank(2).write_text('{"half')
    assert [each["outcome"] for each in facts.read_ranks(run, 2)] == ["running"]


def test_the_log_tail_is_bounded_clean_and_without_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is shown on a terminal and pasted into bug reports; a log may be 50 GB."""
    run = RunDir(tmp_path)
    monkeypatch.setenv("WANDB_API_KEY", "from-the-shell")
    plan = LaunchPlan(name="x", argv=[], cwd="/", env={
        "MY_TOKEN": "hf_abcdefgh", "KEY_2": "1", "SSH_KEY": "-----BEGIN\nMIIEvQIBADAN\n-----END",
    })  # fmt: skip
    noise = b"x" * 200 + b"\n"
    tail = b"10%\r20%\r30%\n\x1b]52;c;QQ==\x07hf_abcdefgh from-the-shell 11\xff\nMIIEvQIBADAN\n"
    run.log.write_bytes(noise * 5000 + tail)
    lines = facts.log_tail(run, plan)
    assert len(lines) == 50
    assert lines[-3:] == ("30%", "*** *** 11\ufffd", "***")


def test_the_launchers_own_traceback_does_not_hide_the_trainers() -> None:
    """The last dozen lines are shown when a run failed, and accelerate's own were exactly 12."""
    trainer = ("step 1/3", "Traceback (most recent call last):", "RuntimeError: no")
    launcher = (
        "Traceback (most recent call last):",
        '  File "/x/site-packages/accelerate/commands/launch.py", line 999, in simple_launcher',
    )
    end = "subprocess.CalledProcessError: Command '['python']' returned non-zero exit status 4."
    assert facts.without_launcher((*trainer, *launcher, end)) == trainer
    assert facts.without_launcher(trainer) == trainer
    assert facts.without_launcher((*launcher, end)) == (*launcher, end)  # nothing else was said


@pytest.mark.parametrize(
    ("group", "counter"),
    [
        ("0::/user/run\n", "sys/fs/cgroup/user/run/memory.events"),
        ("4:memory:/run\n0::/\n", "sys/fs/cgroup/memory/run/memory.oom_control"),
    ],
)
def test_kills_for_memory_are_counted_in_either_version_of_cgroups(
    tmp_path: Path, group: str, counter: str
) -> None:
    """In a container only the group's counter moves."""
    (tmp_path / "proc/self").mkdir(parents=True)
    assert oom.kills(tmp_path) == 0
    (tmp_path / "proc/self/cgroup").write_text(group)
    (tmp_path / "proc/vmstat").write_text("nr_free_pages 5\noom_kill 2\n")
    assert oom.kills(tmp_path) == 2
    (tmp_path / counter).parent.mkdir(parents=True)
    (tmp_path / counter).write_text("low 0\noom 9\noom_kill 3\n")
    assert oom.kills(tmp_path) == 5
    assert oom.kills() >= 0

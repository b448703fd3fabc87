"""A run on a cluster, judged by its files and by what Slurm says of its job."""

from pathlib import Path
from typing import Any

import pytest

from sdcore.runs import jobs
from sdcore.runs.files import write_json
from sdcore.runs.paths import RunDir, make_private
from sdcore.runs.squeue import Answer, Job
from sdcore.runs.status import Status, read_status
from support.fake_runs import T0, exit_record, make_run

NEW = {"format": 1, "phase": "running", "since": T0, "attempt": 2, "gpus": []}
FIRST = {**NEW, "attempt": 1}
SAVED = "stopped by a requeue of its job; a checkpoint was saved"
NODES = "n[1-2]"


def cluster_run(state: dict[str, Any] | None = None, *, ended: str | None = None,
                began: int | None = 1, job: str = "12") -> RunDir:  # fmt: skip
    """Make a run of job 12.

    Args:
        state: ``state.json``.
        ended: The job whose attempt 1 is over, and kept as one of several.
        began: The attempt that its job began last; None: none.
        job: Its job.
    """
    run = make_run(**({} if state is None else {"state": state}))
    make_private(run.cluster_folder)
    write_json(run.cluster, {"format": 1, "job": job, "previous": None, "submitted": T0})
    if began is not None:
        write_json(run.allocation, {"job": "12", "nodes": NODES, "attempt": began})
    if ended is not None:
        write_json(run.earlier_exit(1), {**exit_record("stopped", reason=SAVED), "job": ended})
    return run


def said(run: RunDir, *lines: str) -> None:
    run.job_log("12").write_text("".join(f"{line}\n" for line in lines))


def read(run: RunDir, monkeypatch: pytest.MonkeyPatch, found: Job | Answer | None) -> Status:
    """Read the state of ``run`` while Slurm says ``found`` of its job."""
    monkeypatch.setattr(jobs.WATCH, "look", lambda _job: found)
    return read_status(run)


def over(run: RunDir, state: str) -> None:
    write_json(run.job_end("12"), {"job": "12", "state": state, "nodes": NODES, "end": T0})


@pytest.mark.parametrize(
    ("found", "state", "waits"),
    [
        (Job("12", "PENDING", "Resources"), "queued", "enough free nodes"),
        (Job("12", "REQUEUE_HOLD"), "queued", "Slurm"),
        # Slurm still takes it off its nodes; nobody of ours lives.
        (Job("12", "COMPLETING", nodes=NODES), "queued", "Slurm, which still takes"),
        (Answer(0.0, None, "no answer"), "queued", "news of its job: no answer"),
    ],
)
def test_between_two_attempts_a_run_waits(
    monkeypatch: pytest.MonkeyPatch, found: Job | Answer, state: str, waits: str
) -> None:
    """Its first attempt has ended and its second has not begun: it is neither over nor running."""
    status = read(cluster_run(FIRST, ended="12"), monkeypatch, found)
    assert (status.state, status.exit_code, status.attempt) == (state, None, 2)
    assert str(status.waiting_for).startswith(waits)


@pytest.mark.parametrize(
    ("found", "state", "reason"),
    [
        (Job("12", "RUNNING", nodes=NODES), "running", None),
        (Job("12", "SUSPENDED", nodes=NODES), "running", "suspended by Slurm"),
        (Job("12", "COMPLETING", nodes=NODES), "stopping", "Slurm ends its job"),
        (Answer(0.0, None, "no answer"), "running", "this is the last known state: no answer"),
    ],
)
def test_while_its_job_runs_so_does_the_run(
    monkeypatch: pytest.MonkeyPatch, found: Job | Answer, state: str, reason: str | None
) -> None:
    """The lock of another node is not seen here: Slurm stands for it."""
    status = read(cluster_run(FIRST), monkeypatch, found)
    assert (status.state, status.reason, status.exit_code) == (state, reason, None)
    assert (status.job, status.nodes) == ("12", NODES)


def test_a_job_that_came_back_and_could_not_begin_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    """Why is the last that its second start said, not what Slurm said of the first one's end."""
    run = cluster_run(FIRST, ended="12")
    over(run, "FAILED")
    said(run, "slurmstepd: error: *** JOB 12 ON n1 CANCELLED AT 2026-01-01T00:00:00 ***")
    silent = read(run, monkeypatch, None)
    assert silent.reason == f"{SAVED}; its job did not begin again"
    assert (silent.state, silent.exit_code) == ("stopped", exit_record("stopped")["exit_code"])

    said(run, "python3: not found", "slurmstepd: error: *** JOB 12 ON n1 CANCELLED AT now ***")
    told = read(run, monkeypatch, None)
    assert told.reason == f"{SAVED}; its job did not begin again: python3: not found"
    assert told.last_lines == ("python3: not found",)


def test_the_end_of_an_earlier_job_is_not_taken_for_that_of_a_new_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A resume whose job fails at once was told as the stop of the day before."""
    run = cluster_run(FIRST, ended="11", began=None)
    over(run, "FAILED")
    said(run, "python3: not found")
    status = read(run, monkeypatch, None)
    assert status.state == "interrupted"
    assert str(status.reason).startswith("its job could not begin: python3: not found")
    assert str(run.job_log("12")) in str(status.remedy)


@pytest.mark.parametrize(
    ("state", "began", "reason", "code"),
    [
        ("NODE_FAIL", 1, "a node of its job failed", 7),
        ("TIMEOUT", 1, "its job reached its time limit", 7),
        ("OUT_OF_MEMORY", 1, "its job used more memory", 5),
        ("COMPLETED", 1, "its supervisor ended without a record", 7),
        ("FAILED", None, "its job could not begin: perhaps its node", 7),
    ],
)
def test_a_job_without_a_record_tells_what_slurm_knows(
    monkeypatch: pytest.MonkeyPatch, state: str, began: int | None, reason: str, code: int
) -> None:
    """Nobody of ours saw the end."""
    run = cluster_run(FIRST, began=began)
    over(run, state)
    status = read(run, monkeypatch, None)
    assert (status.state, status.exit_code) == ("interrupted", code)
    assert str(status.reason).startswith(reason)
    assert f"Slurm: job 12 {state}" in str(status.reason)


def test_the_secrets_left_for_a_job_go_with_it_also_on_a_full_disk(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What could not be written kept what had to be removed."""
    run = cluster_run(FIRST)
    write_json(run.order, {"env": {"HF_TOKEN": "s3cret"}})

    def full(_path: Path, _record: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(jobs, "write_json", full)
    status = read(run, monkeypatch, Job("12", "NODE_FAIL", nodes=NODES, end=T0))
    assert status.state == "interrupted"
    assert not run.order.exists()


@pytest.mark.parametrize(
    ("newest", "previous", "job", "is_another"),
    [
        ("12", "11", "12", False),
        ("12", "11", "11", True),
        ("12", None, "9", True),
        ("12", "11", "13", False),  # the record is shown late: it is of the job before
        (None, "11", "11", True),
        (None, "11", "12", False),  # it began before sbatch answered
        (None, None, "12", False),
    ],
)
def test_a_job_of_an_earlier_attempt_that_slurm_begins_again_is_known(
    newest: str | None, previous: str | None, job: str, is_another: bool
) -> None:
    """It found the order of the new job, and trained in its place."""
    run = cluster_run()
    write_json(run.cluster, {"format": 1, "job": newest, "previous": previous})
    assert jobs.is_of_another(run, job) is is_another

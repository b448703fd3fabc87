"""Jobs that Slurm itself takes off their nodes: the run waits and goes on, and is never lost."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from process.slurm.runs import Run, spread, write_task
from sdcore.runs.files import read_json
from support.slurm import Slurm


def until_back(run: Run, reason: str, attempt: int = 1) -> dict[str, Any]:
    """Wait until ``attempt`` is over and kept; nothing in between may call the run over."""

    def kept() -> dict[str, Any] | None:
        status = run.status()
        assert status["exit_code"] is None, status
        return read_json(run.dir.earlier_exit(attempt))

    first = dict(run.slurm.until(kept))
    assert (first["state"], first["exit_code"]) == ("stopped", 4), first
    assert first["reason"] == f"stopped by {reason}; a checkpoint was saved"
    assert run.dir.order.exists(), "the next attempt would find nothing to do"
    return first


def low_priority(slurm: Slurm, grace: int) -> None:
    done = slurm.run("scontrol", "update", "PartitionName=train", f"GraceTime={grace}")
    assert done.code == 0, done.err


def take_nodes(slurm: Slurm, seconds: float) -> str:
    """Submit a job of a higher partition that wants both nodes."""
    return slurm.run("sbatch", "--parsable", "--partition=first", "--nodes=2", "--exclusive",
                     "--output=/dev/null", f"--wrap=sleep {seconds}").out.strip()  # fmt: skip


def test_a_node_that_fails_puts_the_run_back_into_the_queue_and_it_goes_on(
    slurm: Slurm, model: Path, data: Path, tmp_path: Path
) -> None:
    """Slurm's SIGTERM was taken for a scancel: a training of days was over, its job came back."""
    run = Run.submit(slurm, spread(tmp_path, model, data), fake=True)
    run.until_ranks(4)

    slurm.run("scontrol", "update", "NodeName=n2", "State=DOWN", "Reason=x")

    until_back(run, "the failure of a node")
    run.until_gone()
    waits = run.until_state("queued")
    assert waits["waiting_for"], waits
    slurm.run("scontrol", "update", "NodeName=n2", "State=RESUME")
    run.until_ranks(4, attempt=2)
    assert run.until_state("running")["attempt"] == 2
    slurm.run("scancel", run.job)
    over = run.until_state("stopped")
    assert (over["reason"], over["exit_code"]) == (
        "stopped by scancel; a checkpoint was saved", 4
    )  # fmt: skip
    assert slurm.sdtui("wait", run.dir.id).code == 4
    assert not run.dir.order.exists(), "secrets outlived the run"
    run.until_gone()


def test_a_requeue_by_hand_waits_and_is_stopped_or_cancelled_there(
    slurm: Slurm, model: Path, data: Path, tmp_path: Path
) -> None:
    """While Slurm still takes it off its nodes nobody of ours lives, and scancel must reach it."""
    task = spread(tmp_path, model, data)
    run = Run.submit(slurm, task, fake=True)
    run.until_ranks(4)
    slurm.run("scontrol", "requeuehold", run.job)  # a slow machine would begin it again meanwhile
    until_back(run, "a requeue of its job")

    assert slurm.sdtui("stop", run.dir.id).code == 0

    over = run.status()
    assert (over["state"], over["exit_code"]) == ("stopped", 4)
    assert over["reason"] == "stopped by sdtui stop while its job waited in the queue"
    slurm.until(lambda: run.job not in slurm.run("squeue", "-h", "-o", "%i").out.split())
    assert not run.dir.order.exists()
    slurm.until_idle()

    run = Run.submit(slurm, task, fake=True)
    run.until_ranks(4)
    slurm.run("scontrol", "requeuehold", run.job)
    until_back(run, "a requeue of its job")
    held = run.until_state("queued")
    slurm.until(lambda: "held" in run.status()["waiting_for"])
    assert held["exit_code"] is None
    slurm.run("scancel", run.job)
    over = run.until_state("interrupted")
    assert over["reason"].startswith("its job was cancelled (Slurm: job "), over


@pytest.mark.parametrize("grace", [0, 30])
def test_a_run_that_makes_room_for_another_job_saves_and_comes_back(
    slurm: Slurm, model: Path, data: Path, tmp_path: Path, grace: int
) -> None:
    """With a grace Slurm signals the steps alone at first; without one all is over at once.

    Nothing has ended then, and the command of the hook runs at the true end alone.
    """
    low_priority(slurm, grace)
    ends = tmp_path / "ends"
    tell = f"sleep 1; echo $SDTUI_ATTEMPT $SDTUI_STATE >> {ends}"
    run = Run.submit(slurm, spread(tmp_path, model, data), f"hooks.end={tell}", fake=True)
    run.until_ranks(4)
    job = take_nodes(slurm, 0.5)

    until_back(run, "Slurm, which takes the job off its nodes")

    slurm.until(lambda: slurm.run("squeue", "-h", "-j", job, "-o", "%T").out == "")
    run.until_ranks(4, attempt=2)
    assert not ends.exists()
    # SIGTERM at once: srun would kill its step for it, and no rank could save.
    assert slurm.sdtui("stop", "last", "--now").code == 0
    assert (read_json(run.dir.exit) or {})["attempt"] == 2
    ranks = [read_json(run.dir.rank(number)) or {} for number in range(4)]
    assert [rank["outcome"] for rank in ranks] == ["stopped"] * 4
    slurm.until(ends.exists)
    assert ends.read_text() == "2 stopped\n"
    run.until_gone()
    assert not run.dir.order.exists()


def test_a_requeue_that_nobody_can_be_asked_about_is_no_end(slurm: Slurm, tmp_path: Path) -> None:
    """A controller that hangs just then does not say whether it was a scancel."""
    go = tmp_path / "go"
    leave = f"echo told; until [ -e {go} ]; do sleep 0.1; done; exit 7"
    command = f'trap "{leave}" TERM; echo "begun $SDTUI_ATTEMPT"; while :; do sleep 0.1; done'
    run = Run.submit(slurm, write_task(tmp_path, command=command))
    supervisor = run.supervisor()
    slurm.until(lambda: run.dir.log.exists() and "begun 1" in run.dir.log.read_text())
    slurm.run("scontrol", "requeue", run.job)
    slurm.until(lambda: "told" in run.dir.log.read_text())
    with slurm.hanging("slurmctld"):
        go.touch()
        slurm.until(run.dir.earlier_exit(1).exists)
        os.kill(supervisor, signal.SIGKILL)  # as Slurm does, while it still asks
        status = run.until_state("queued")
        assert (status["exit_code"], status["attempt"]) == (None, 2)

    slurm.until(lambda: "begun 2" in run.dir.log.read_text())
    assert slurm.sdtui("stop", "last").code == 0
    assert (read_json(run.dir.exit) or {})["code"] == 7


def test_a_job_that_was_restarted_too_often_is_stopped(
    slurm: Slurm, model: Path, data: Path, tmp_path: Path
) -> None:
    """Slurm itself knows of no limit: a node that always fails would be tried for ever."""
    run = Run.submit(slurm, spread(tmp_path, model, data), "cluster.restarts=1", fake=True)
    run.until_ranks(4)
    slurm.run("scontrol", "requeue", run.job)
    run.until_ranks(4, attempt=2)
    slurm.run("scontrol", "requeue", run.job)

    over = run.until_state("stopped")

    assert over["exit_code"] == 4
    assert "as often as cluster.restarts allows" in over["reason"]
    assert not run.dir.order.exists()
    slurm.until(lambda: run.job not in slurm.run("squeue", "-h", "-o", "%i").out.split())

"""The built-in trainer on two nodes with two processes each, over gloo, through a time limit."""

import json
from pathlib import Path
from typing import Any

import pytest

from process.slurm.runs import Run, write_task
from sdcore.runs.files import read_json
from sdcore.runs.paths import RunDir
from support.commands import Console
from support.slurm import Slurm

STEPS = 24
TRAIN: dict[str, Any] = {
    "resolution": 32, "report_to": "none", "seed": 7, "max_train_steps": STEPS,
    "checkpointing_steps": 1000, "learning_rate": 1e-3, "lr_scheduler": "constant",
    "lr_warmup_steps": 0,
}  # fmt: skip


def metrics(run: RunDir) -> dict[int, dict[str, Any]]:
    """Return the lines by step; a later attempt's replaces an earlier one's."""
    lines = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    return {line["step"]: line for line in lines}


@pytest.mark.slow
def test_two_nodes_train_as_one_process_does_through_a_time_limit(
    slurm: Slurm, sdtui: Console, model: Path, data: Path, tmp_path: Path
) -> None:
    """A job of days is cut at every time limit: what is lost or repeated there is never found.

    Slurm looks at time limits every 30 s; the signal it would then send is sent by hand, to the
    same process, by the same daemon.
    """
    mounts = {"/mnt/model": model, "/mnt/dataset": data}
    shape = {"nodes": 2, "restarts": 1, "time_limit": "60", "grace_s": 120}
    task = write_task(tmp_path, cluster=shape, gpu={"processes": 2}, mounts=mounts,
                      train_batch_size=1, **TRAIN)  # fmt: skip
    slow = sdtui.fault("slow@seconds=0.15;note@shown=names,attempt=any")
    run = Run(slurm, slurm.sdtui("--run", task, "--detach", env=slow))
    slurm.until(lambda: run.dir.metrics.exists() and len(metrics(run.dir)) >= 3, 120)
    ranks = run.until_ranks(4)
    nodes = {rank["rank"]: _node_of(rank["pid"]) for rank in ranks}
    assert nodes == {0: "n1", 1: "n1", 2: "n2", 3: "n2"}
    assert run.status()["nodes"] == "n[1-2]"

    assert slurm.run("scancel", "--batch", "--signal=USR2", run.job).code == 0
    waits = run.until_state("queued")

    assert waits["attempt"] == 2
    first = read_json(run.dir.earlier_exit(1)) or {}
    assert first["reason"] == "stopped by Slurm's time limit; a checkpoint was saved"
    saved = first["last_step"]
    assert 3 <= saved < STEPS
    assert slurm.sdtui("wait", run.dir.id).code == 0, run.dir.log.read_text()[-2000:]
    status = run.status()
    assert (status["state"], status["attempt"], status["step"]) == ("done", 2, STEPS)
    assert status["job"] == run.job
    assert run.dir.finished
    lines = metrics(run.dir)
    assert [lines[step]["attempt"] for step in range(1, STEPS + 1)] == [1] * saved + [2] * (
        STEPS - saved
    )
    run.until_gone()

    alone = write_task(tmp_path, mounts=mounts, here=True, train_batch_size=4, **TRAIN)
    assert sdtui("--run", alone, env=sdtui.fault("note@shown=names")).code == 0
    one = next(each for each in sdtui.runs() if each.id != run.dir.id)
    for step, line in metrics(one).items():
        assert lines[step]["loss"] == pytest.approx(line["loss"], rel=1e-4), step
        assert lines[step]["grad_norm"] == pytest.approx(line["grad_norm"], rel=1e-3), step
    assert len(shown(one, 1)) == STEPS
    assert shown(run.dir, 4) == shown(one, 1), "other images, or in another order"


def shown(run: RunDir, ranks: int) -> list[list[str]]:
    """Return the names of the images of each step, those of rank 0 first."""
    lines = [(run.root / f"shown-{rank}.jsonl").read_text().splitlines() for rank in range(ranks)]
    return [
        [name for line in step for name in json.loads(line)] for step in zip(*lines, strict=True)
    ]


def _node_of(pid: int) -> str:
    environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return next(e for e in environment if e.startswith(b"SLURMD_NODENAME=")).decode()[16:]

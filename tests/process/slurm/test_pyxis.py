"""Start commands in containers by pyxis: steps of a job of a real Slurm, pyxis itself stood in.

The stand-in is a plugin of Slurm's that takes pyxis's options and makes the mounts; steps, signals
and exit codes are Slurm's own.
"""

import os
import shutil
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from process.slurm.runs import FAKE, Run, write_task
from sdcore.runs.files import read_json
from sdcore.supervise import procs
from support.slurm import Slurm, do_without, missing

SECRET = "hf_" + "s3cr3t" * 4
COMMAND = r"""
trap : TERM
echo "$IN_CONTAINER,$PWD,$HOME,$HF_TOKEN,$CUDA_VISIBLE_DEVICES,$SLURM_CPUS_ON_NODE,${PYTHONPATH-}."
touch /mnt/dataset/x 2>/dev/null || echo "data is read-only"
echo result > /output/result
bash -c 'trap "echo saved; exit 5" TERM; echo begun; while :; do sleep 0.1; done'; code=$?
exit $code
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    if reason := missing() or (None if shutil.which("gcc") else "gcc is not installed"):
        do_without(reason)
    with Slurm.start(tmp_path_factory.mktemp("slurm") / "c", pyxis=True) as slurm:
        yield slurm


def own_task(folder: Path, command: str, **shape: object) -> Path:
    """Write a task with a project and read-only data, in an image."""
    for name in ("data", "code"):
        (folder / name).mkdir(exist_ok=True)
    task = write_task(folder, command=command, gpu={"count": 4},
                      cluster={"cpus_per_task": 6, **shape},
                      mounts={"/mnt/dataset": folder / "data", "/mnt/project": folder / "code"},
                      )  # fmt: skip
    text = task.read_text().replace('name = "job"', 'name = "job"\nimage = "nvcr.io/nvidia/x:1"')
    text = text.replace('target = "/mnt/dataset"', 'target = "/mnt/dataset"\nread_only = true')
    task.write_text(text)
    return task


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def until_log(run: Run, words: str) -> None:
    run.slurm.until(lambda: run.dir.log.exists() and words in run.dir.log.read_text())


def steps(slurm: Slurm, run: Run) -> list[str]:
    told = slurm.run("squeue", "-h", "-s", "-j", run.job, "-o", "%i").out.split()
    return [step for step in told if not step.endswith((".batch", ".extern"))]


def test_a_command_runs_in_a_step_of_its_image_and_is_stopped_with_its_own_code(
    slurm: Slurm, tmp_path: Path
) -> None:
    """At a SIGTERM srun kills its step: a trainer would lose what it has not saved."""
    env = {"HF_TOKEN": SECRET, "PYTHONPATH": "/of/this/host", "PYXIS_CONTAINER_NAME": "shared"}
    answer = slurm.sdtui("--run", own_task(tmp_path, COMMAND), "--detach", env=env)
    run = Run(slurm, answer)
    until_log(run, "begun")
    assert "runs the image in a step" in (read_json(run.dir.launch) or {})["why"]
    assert len(steps(slurm, run)) == 1
    ours = procs.started_by(run.dir.root)
    assert len(ours) >= 5
    assert not [each for each in ours if SECRET in command_line(each.pid)]

    assert slurm.sdtui("stop", run.dir.id).code == 0

    record = read_json(run.dir.exit) or {}
    assert (record["state"], record["code"]) == ("stopped", 5), record
    log = run.dir.log.read_text().splitlines()
    given = "nvcr.io#nvidia/x:1,/mnt/project,/tmp"
    assert f"{given},{SECRET},0,1,2,3,6,." in log
    assert "data is read-only" in log
    assert log.count("saved") == 1
    assert (run.dir.output / "result").read_text() == "result\n"
    assert steps(slurm, run) == []
    run.until_gone()
    told = (slurm.folder / "pyxis" / "options").read_text().splitlines()
    options = dict(line.split("=", 1) for line in told)
    data, code = tmp_path / "data", tmp_path / "code"
    assert options["container-mounts"].startswith(f"{data}:/mnt/dataset:ro,{code}:/mnt/project,")
    assert options["no-container-mount-home"] == "yes"


def test_a_run_that_is_killed_leaves_no_step(slurm: Slurm, tmp_path: Path) -> None:
    """A step outlives its srun: it would hold its GPUs until the job's limit, and nobody knows."""
    run = Run.submit(
        slurm, own_task(tmp_path, "trap '' TERM; echo begun; while :; do sleep 0.1; done")
    )
    until_log(run, "begun")

    assert slurm.sdtui("stop", run.dir.id, "--kill").code == 0

    run.until_gone()
    assert steps(slurm, run) == []
    record = read_json(run.dir.exit) or {}
    assert (record["state"], record["remedy"]) == ("stopped", None), record


def test_an_image_that_does_not_come_is_told_and_one_on_its_way_is_given_up(
    slurm: Slurm, tmp_path: Path
) -> None:
    """Nothing runs yet that could be told to end; an hour's download would go on for nothing."""
    task, over = own_task(tmp_path, "true"), slurm.folder / "pyxis" / "fetched"
    run = Run.submit(slurm, task, "image=a/missing:1")
    assert slurm.sdtui("wait", run.dir.id).code == 3
    reason = run.status()["reason"]
    assert "pyxis could not start the command" in reason
    assert "failed to import docker image: a/missing:1" in reason

    run = Run.submit(slurm, task, "image=a/slow:1")
    slurm.until(lambda: steps(slurm, run))
    # The stand-in is not killed with its step, as a real import is.
    fetched = threading.Thread(target=lambda: (until_log(run, "CANCELLED"), over.touch()))
    fetched.start()
    assert slurm.sdtui("stop", run.dir.id).code == 0
    fetched.join()
    assert (read_json(run.dir.exit) or {})["state"] == "stopped"
    slurm.until(lambda: not steps(slurm, run))


def test_each_node_starts_its_ranks_in_the_image_and_all_of_them_save(
    slurm: Slurm, model: Path, data: Path, tmp_path: Path
) -> None:
    """Agents have no place in an image; a launcher in the wrong step would be rank 0 twice."""
    python = tmp_path / "bin" / "python3"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\nPYTHONPATH={FAKE} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    mounts = {"/mnt/model": model, "/mnt/dataset": data}
    task = write_task(tmp_path, cluster={"nodes": 2}, gpu={"processes": 2}, mounts=mounts,
                      resolution=32, report_to="none")  # fmt: skip
    path = {"PATH": f"{python.parent}:{os.environ['PATH']}"}
    wishes = ("--set", "image=a/b:1", "--set", "runtime=pyxis")
    run = Run(slurm, slurm.sdtui("--run", task, "--detach", *wishes, env=path))
    ranks = run.until_ranks(4)
    assert [rank["node"] for rank in ranks] == ["n1", "n1", "n2", "n2"]
    for rank in ranks:
        told = Path(f"/proc/{rank['pid']}/environ").read_bytes().split(b"\0")
        assert b"IN_CONTAINER=a/b:1" in told
    assert len(steps(slurm, run)) == 3

    slurm.run("scancel", "--batch", "--signal=USR2", run.job)
    run.until_state("queued")

    first = read_json(run.dir.earlier_exit(1)) or {}
    assert first["reason"].startswith("stopped by Slurm's time limit"), first
    assert [(read_json(run.dir.rank(n)) or {})["outcome"] for n in range(4)] == ["stopped"] * 4
    assert slurm.sdtui("stop", run.dir.id).code == 0
    run.until_gone()

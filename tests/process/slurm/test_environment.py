"""What a job needs to start, and that nothing of it outlives the run."""

import os
import signal
import sys
from pathlib import Path

import pytest

from process.slurm.runs import Run, write_task
from support.slurm import Slurm

SECRET = "hf_" + "s3cr3t" * 4
ROOT = Path(__file__).parents[3]


@pytest.fixture
def bare_python(tmp_path: Path) -> Path:
    """A Python in which sdtui is not installed: only PYTHONPATH leads to it and its libraries."""
    base = Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"
    folder = tmp_path / "it's a $(place)"
    folder.mkdir()
    python = folder / "python3"
    python.symlink_to(base)
    return python


@pytest.fixture
def lists(bare_python: Path) -> dict[str, str]:
    """The environment of a site whose Python starts through it alone, written carelessly."""
    packages = next(Path(entry) for entry in sys.path if entry.endswith("site-packages"))
    evil = bare_python.parent / "x\";touch evil;\n'$HOME`id`"
    evil.mkdir()
    folders = f"core:tui:{packages}:{evil}:"
    return {"PYTHONPATH": folders, "LD_LIBRARY_PATH": str(evil), "HF_TOKEN": SECRET}


def test_a_python_that_starts_through_its_environment_alone_starts_in_a_job(
    slurm: Slurm, tmp_path: Path, bare_python: Path, lists: dict[str, str]
) -> None:
    """--export=NIL leaves nothing of the shell: the job ended with 'No module named sdcore'."""
    task = write_task(tmp_path, command='echo "$PYTHONPATH|$LD_LIBRARY_PATH|$HF_TOKEN"; sleep 600')
    answer = slurm.run(bare_python, "-m", "sdtui", "--run", task, "--detach", env=lists, cwd=ROOT)
    run = Run(slurm, answer)
    supervisor = run.supervisor()
    slurm.until(lambda: run.dir.log.exists() and SECRET in run.dir.log.read_text())

    told = run.dir.log.read_text()
    assert told.startswith(f"{ROOT}/core:{ROOT}/tui:/"), told
    assert f"|{lists['LD_LIBRARY_PATH']}|" in told
    began = Path(f"/proc/{supervisor}/environ").read_bytes()
    assert f"LD_LIBRARY_PATH={lists['LD_LIBRARY_PATH']}\0".encode() in began
    assert run.dir.environment.stat().st_mode & 0o777 == 0o600
    assert SECRET not in run.dir.environment.read_text()

    assert slurm.sdtui("stop", run.dir.id).code == 0
    assert not run.dir.environment.exists()
    assert not list(run.dir.root.rglob("evil"))


def test_a_job_that_cannot_begin_says_why_and_where_it_is_written(
    slurm: Slurm, tmp_path: Path, bare_python: Path, lists: dict[str, str]
) -> None:
    """The cause stood in a file of which nobody was told."""
    task = write_task(tmp_path, command="true", cluster={"extra": ["--hold"]})
    answer = slurm.run(bare_python, "-m", "sdtui", "--run", task, "--detach", env=lists, cwd=ROOT)
    run = Run(slurm, answer)
    bare_python.unlink()  # as on a node that does not have it

    slurm.run("scontrol", "release", run.job)

    status = run.until_state("interrupted")
    assert status["exit_code"] == 7
    assert status["reason"].startswith("its job could not begin: "), status
    assert f"{bare_python}: No such file" in status["reason"]
    assert str(run.dir.job_log(run.job)) in status["remedy"]
    assert "No such file" in slurm.sdtui("logs", run.dir.id).out
    shown = slurm.sdtui("show", run.dir.id).out
    assert shown.rstrip().endswith("No such file or directory"), shown
    assert not run.dir.order.exists(), "secrets outlived the run"
    assert not run.dir.environment.exists()


def test_a_job_that_is_cancelled_or_killed_keeps_no_secret(slurm: Slurm, tmp_path: Path) -> None:
    """A token of somebody's shell stood in the folder of a run that nobody looked at any more."""
    secret = {"HF_TOKEN": SECRET}
    held = write_task(tmp_path, command="true", cluster={"extra": ["--hold"]})
    run = Run(slurm, slurm.sdtui("--run", held, "--detach", env=secret))
    assert SECRET in run.dir.order.read_text()
    slurm.run("scancel", run.job)
    run.until_state("interrupted")
    assert holds_secret(run) == []

    task = write_task(tmp_path, command="echo begun; sleep 600")
    run = Run(slurm, slurm.sdtui("--run", task, "--detach", env=secret))
    os.kill(run.supervisor(), signal.SIGKILL)
    run.until_state("interrupted")
    assert holds_secret(run) == []


def holds_secret(run: Run) -> list[Path]:
    files = (path for path in run.dir.root.rglob("*") if path.is_file())
    return [path for path in files if SECRET.encode() in path.read_bytes()]

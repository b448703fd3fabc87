"""The batch step of a job: what it tells Slurm, and when it is not the run's any more."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from sdcore.runs import requests
from sdcore.runs.files import write_json
from sdcore.runs.paths import make_private
from sdcore.supervise.fate import Course, Fate
from sdcore.supervise.job import JobSupervisor
from support.fake_runs import make_run


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of programs that are found before Slurm's; each notes its words in ``said``."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


def program(folder: Path, name: str, body: str) -> None:
    script = folder / name
    script.write_text(f'#!/bin/sh\necho "{name} $*" >> {folder}/said\n{body}\n')
    script.chmod(0o755)


def said(folder: Path) -> list[str]:
    """Return what was called so far, with its words."""
    path = folder / "said"
    return path.read_text().splitlines() if path.exists() else []


def test_a_job_of_an_earlier_attempt_touches_nothing_of_the_run() -> None:
    """Slurm may begin it again long after the run was resumed in another one."""
    run = make_run()
    make_private(run.cluster_folder)
    write_json(run.cluster, {"format": 1, "job": "12", "previous": "11"})
    write_json(run.order, {"of": "job 12"})
    before = sorted(run.root.rglob("*"))

    job = {"SLURM_JOB_ID": "11", "SLURM_JOB_NODELIST": "n1", "SLURM_RESTART_COUNT": "1"}
    argv = [sys.executable, "-P", "-m", "sdcore.supervise.job", str(run.root)]
    done = subprocess.run(
        argv, env={**os.environ, **job}, capture_output=True, text=True, check=False
    )

    assert done.returncode == 78, done.stderr
    assert "was resumed in another job" in done.stderr
    assert sorted(run.root.rglob("*")) == before


@pytest.mark.parametrize(("wished", "cancelled"), [(True, ["scancel 7"]), (False, [])])
def test_a_job_whose_end_was_wished_on_its_way_back_does_not_wait_for_nothing(
    programs: Path, wished: bool, cancelled: list[str]
) -> None:
    """Slurm has requeued it already: it would begin again, perhaps in a day, to find no order."""
    program(programs, "scancel", "exit 0")
    run = make_run()
    back = Fate(Course.BACK, "Slurm")
    supervisor = object.__new__(JobSupervisor)
    supervisor._run = run
    supervisor._given = SimpleNamespace(job="7", restarts=0)  # type: ignore[assignment]
    supervisor._inquiry = SimpleNamespace(look=lambda: back, wait=lambda *_: back)  # type: ignore[assignment]
    if wished:
        requests.ask(run, "stop", by="user")

    refused = supervisor._requeue({"reason": "stopped by SIGTERM"}, Fate(Course.UNKNOWN, "Slurm"))

    assert said(programs) == cancelled
    assert (refused is not None and "its end was wished" in refused) is wished
    assert requests.pending(run, "stop") is None, "the next attempt would obey it"


def test_agents_are_told_to_end_until_they_do(programs: Path) -> None:
    """One that has just started hears nothing yet, and its node would train on to the limit."""
    program(programs, "squeue", "echo 7.0 sdtui; echo 7.1 another")
    program(programs, "scancel", f"[ $(grep -c scancel {programs}/said) -lt 3 ] || kill $(cat pid)")
    program(programs, "srun", "echo $$ > pid; while :; do sleep 0.1; done")
    words = "import sys; from sdcore.supervise import step; step._TELL_AGENTS_S = 0.2;"
    words += "step._TELL_S = 0.1; sys.exit(step.run_agents(['srun', 'agent']))"
    env = {**os.environ, "SLURM_JOB_ID": "7"}
    with subprocess.Popen([sys.executable, "-c", words], env=env, cwd=programs) as client:
        end = time.monotonic() + 30
        while not (programs / "pid").exists():
            assert time.monotonic() < end
            time.sleep(0.05)
        client.send_signal(signal.SIGTERM)
        try:
            client.wait(timeout=60)
        finally:
            client.kill()

    told = [line for line in said(programs) if line.startswith("scancel")]
    assert told == ["scancel --signal=23 7.0"] * 3

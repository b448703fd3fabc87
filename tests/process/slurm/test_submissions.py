"""A controller that hangs, or goes away, at the moment at which a run is submitted."""

import os
import signal
from pathlib import Path

from process.slurm.runs import Run, write_task
from sdcore.runs.files import read_json
from sdcore.runs.paths import RunDir
from support.slurm import Slurm


def before_sbatch(slurm: Slurm, folder: Path, act: str) -> dict[str, str]:
    """Return what makes ``act`` happen between the rehearsal and the submission."""
    pid = slurm.pids["slurmctld"]
    script = folder / "bin" / "sbatch"
    script.parent.mkdir()
    script.write_text(
        '#!/bin/bash\n[ "$1" = --test-only ] || { '
        + act.replace("{pid}", str(pid))
        + '\n}\nexec /usr/bin/sbatch "$@"\n'
    )
    script.chmod(0o755)
    return {"PATH": f"{script.parent}:{os.environ['PATH']}:/usr/sbin"}


def runs(slurm: Slurm) -> list[RunDir]:
    return [RunDir(path) for path in sorted((slurm.home / "runs").glob("*-job"))]


def test_a_job_that_was_taken_although_sbatch_timed_out_is_the_runs(
    slurm: Slurm, tmp_path: Path
) -> None:
    """The run was called failed, and its job ran, or waited, without anybody knowing."""
    task = write_task(tmp_path, command="exit 5")
    hang = "kill -STOP {pid}; (sleep 10; kill -CONT {pid}) > /dev/null 2>&1 &\n"
    hang += f'/usr/bin/sbatch "$@" 2> {tmp_path}/said; code=$?; cat {tmp_path}/said >&2; exit $code'

    answer = slurm.sdtui("--run", task, "--detach", env=before_sbatch(slurm, tmp_path, hang))

    assert "Socket timed out" in (tmp_path / "said").read_text(), "not what this is about"
    run = Run(slurm, answer)
    assert slurm.sdtui("wait", run.dir.id).code == 1
    assert (read_json(run.dir.exit) or {})["code"] == 5


def test_a_job_of_which_nobody_knows_whether_it_was_taken_is_asked_for_later(
    slurm: Slurm, tmp_path: Path
) -> None:
    """What is left for it must stay, or it begins and finds nothing to do."""
    task = write_task(tmp_path, command="exit 5", cluster={"extra": ["--begin=now+1hour"]})
    hang = '/usr/bin/sbatch "$@" > /dev/null; kill -STOP {pid}; '
    hang += f"date +%s.%N > {tmp_path}/silent; echo 'Socket timed out' >&2; exit 1"
    try:
        answer = slurm.sdtui("--run", task, env=before_sbatch(slurm, tmp_path, hang))
        assert answer.code == 3
        answer.says("whether it took the job is not known", "sdtui show")
        [run] = runs(slurm)
        assert not run.exit.exists()
        # Looked for from now: sbatch itself may have taken longer than a submission is given.
        silent_at = float((tmp_path / "silent").read_text())
        assert (read_json(run.cluster) or {})["submitted"] > silent_at
    finally:
        os.kill(slurm.pids["slurmctld"], signal.SIGCONT)
    slurm.until(lambda: '"state": "queued"' in slurm.sdtui("show", run.id, "--json").out)
    assert slurm.sdtui("stop", run.id).code == 0
    assert slurm.run("squeue", "-h", "-t", "PD").out == ""
    assert not run.order.exists()


def test_a_controller_that_leaves_after_the_rehearsal_costs_nothing_but_the_start(
    slurm: Slurm, tmp_path: Path
) -> None:
    """A run directory that waits for a job that never was would wait for ever."""
    task = write_task(tmp_path, command="true")
    env = before_sbatch(slurm, tmp_path, "kill -KILL {pid}; sleep 0.2")

    answer = slurm.sdtui("--run", task, env=env)

    assert answer.code == 3
    answer.says("Slurm does not answer", "try again when `sinfo` answers")
    [run] = runs(slurm)
    record = read_json(run.exit) or {}
    assert (record["state"], record["exit_code"]) == ("failed", 3)
    assert not run.order.exists()
    (slurm.folder / "slurmctld.pid").unlink()
    slurm.daemon("slurmctld")
    slurm.until_idle()
    assert slurm.run("squeue", "-h", "-n", f"sdtui-{run.id}").out == ""


def test_a_controller_that_hangs_is_not_the_tasks_fault(slurm: Slurm, tmp_path: Path) -> None:
    """'Change [cluster] or [gpu]' sent people to look for a mistake that they had not made."""
    task = write_task(tmp_path, command="true")
    with slurm.hanging("slurmctld"):
        answer = slurm.sdtui("check", task)
    assert answer.code == 3
    assert "Slurm does not answer" in answer.out + answer.err
    assert "change [cluster]" not in answer.out + answer.err
    assert "`sinfo`" in answer.out + answer.err

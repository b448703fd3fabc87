"""Runs as jobs of a real Slurm: what is told of them, and that nothing of them is left."""

import os
import signal
from pathlib import Path

from process.slurm.runs import FAKE, TWO, Run, spread, write_task
from sdcore.runs.files import read_json
from sdcore.runs.paths import RunDir
from sdcore.supervise import procs
from support.slurm import Slurm

WAITS = 'trap "echo told; exit 7" TERM; echo begun; while :; do sleep 0.1; done'


def test_what_slurm_would_not_take_is_refused_in_its_words(slurm: Slurm, tmp_path: Path) -> None:
    """A job that can never run would wait for ever; a run directory would stand there for it."""
    task = write_task(tmp_path, command="true", cluster=TWO)
    for wish, words in (
        ("cluster.partition=nope", "invalid partition specified: nope"),
        ("gpu.count=9", "Requested node configuration is not available"),
        ("cluster.nodes=3", "Requested node configuration is not available"),
    ):
        answer = slurm.sdtui("--run", task, "--set", wish)
        assert answer.code == 3, answer.err
        answer.says("error: Slurm would not take the job", words)
    slurm.kill("slurmctld")
    answer = slurm.sdtui("--run", task)
    assert answer.code == 3
    answer.says("Slurm does not answer")
    slurm.daemon("slurmctld")
    slurm.until_idle()
    assert not list((slurm.home / "runs").glob("*-job"))


def test_a_run_that_waits_says_for_what_and_is_cancelled(slurm: Slurm, tmp_path: Path) -> None:
    """No process of ours lives while a job waits: nobody would read a request to stop."""
    alone = write_task(tmp_path, command="true", cluster={"extra": ["--begin=now+1hour"]})
    run = Run.submit(slurm, alone)
    # Names come back raw: one with newlines must not tear a table of jobs.
    evil = "x\n1|CANCELLED|None|||\x1b]52;c;QQ==\x07"
    job = slurm.run("sbatch", "--parsable", f"--job-name={evil}", "--begin=now+1hour", "-o",
                    "/dev/null", "--wrap", "true").out.strip()  # fmt: skip
    status = run.status()
    assert (status["state"], status["job"]) == ("queued", run.job)
    assert status["waiting_for"] == "the time at which it may begin (Slurm: BeginTime)"
    assert slurm.sdtui("ls").out.count("\n") == 2
    refused = slurm.sdtui("resume", "last")
    assert refused.code == 2
    refused.says("cannot be resumed", "queued")

    assert slurm.sdtui("stop", "last").code == 0

    status = run.status()
    assert (status["state"], status["exit_code"]) == ("stopped", 143)
    assert status["reason"] == "stopped by sdtui stop while its job waited in the queue"
    assert slurm.sdtui("wait", "last").code == 143
    left = slurm.run("squeue", "-h", "-o", "%i").out.split()
    assert run.job not in left
    assert not run.dir.order.exists(), "secrets outlived the run"
    slurm.run("scancel", job)


def test_a_command_has_its_environment_its_gpus_and_its_code(slurm: Slurm, tmp_path: Path) -> None:
    """Secrets must travel, and must rest neither in Slurm's state nor in an argument."""
    command = 'echo "$HF_TOKEN,$CUDA_VISIBLE_DEVICES,$SLURM_JOB_NUM_NODES"; exit 5'
    first = {**TWO, "command_on": "first node"}
    task = write_task(tmp_path, command=command, cluster=first, gpu={"count": 4})
    secret = "hf_" + "s3cr3t" * 4
    answer = slurm.sdtui("--run", task, "--detach", env={"HF_TOKEN": secret})
    run = Run(slurm, answer)

    assert slurm.sdtui("wait", "last").code == 1

    assert run.dir.log.read_text() == f"{secret},0,1,2,3,2\n"
    assert secret not in slurm.sdtui("logs", "last", env={"HF_TOKEN": secret}).out
    record = read_json(run.dir.exit) or {}
    assert (record["code"], record["nodes"]) == (5, "n[1-2]")
    state = [path for path in (slurm.folder / "state").rglob("*") if path.is_file()]
    assert state
    assert not [path for path in state if secret.encode() in path.read_bytes()]
    for path in run.dir.root.rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path
        if path.is_file() and path != run.dir.log:
            assert secret.encode() not in path.read_bytes(), path


def test_the_controller_may_be_away_while_a_run_ends(slurm: Slurm, tmp_path: Path) -> None:
    """A state nobody can ask for is the last known one; a failure it is not."""
    run = Run.submit(slurm, write_task(tmp_path, command=f"{WAITS}"))
    supervisor = run.supervisor()
    slurm.until(lambda: run.dir.log.exists() and "begun" in run.dir.log.read_text())
    slurm.until_saved(run.job)
    os.kill(supervisor, signal.SIGSTOP)
    slurm.kill("slurmctld")
    slurm.kill("n1")  # slurmd: what runs goes on without it
    os.kill(supervisor, signal.SIGCONT)
    assert run.status()["state"] == "running"
    run.dir.lock.rename(run.dir.lock.with_name("elsewhere"))  # as on a node that shares no locks
    status = run.status()
    assert (status["state"], status["exit_code"]) == ("running", None)
    assert status["reason"].startswith("this is the last known state: ")
    (run.dir.root / "elsewhere").rename(run.dir.lock)

    assert slurm.sdtui("stop", "last", env={"LANG": "C"}).code == 0

    record = read_json(run.dir.exit) or {}
    assert (record["state"], record["code"]) == ("stopped", 7)
    run.until_gone()
    slurm.daemon("slurmctld")
    slurm.daemon("n1")
    slurm.until_idle()


def test_cancelled_killed_and_broken_jobs_leave_nothing_and_are_told_for_what_they_are(
    slurm: Slurm, model: Path, data: Path, tmp_path: Path
) -> None:
    """Slurm's own sweep misses ranks in sessions of their own, and drains the node for them."""
    task = spread(tmp_path, model, data)
    run = Run.submit(slurm, task, fake=True)
    ranks = run.until_ranks(4)
    assert [rank["node"] for rank in ranks] == ["n1", "n1", "n2", "n2"]
    os.kill(ranks[3]["pid"], signal.SIGKILL)
    assert slurm.sdtui("wait", "last").code == 1
    run.until_gone()
    assert "rank 3 was ended by SIGKILL" in run.status()["reason"]

    assert slurm.sdtui("resume", "last", "--detach", env={"PYTHONPATH": str(FAKE)}).code == 0
    run.until_ranks(4, attempt=2)
    os.kill(run.supervisor(), signal.SIGKILL)
    run.until_gone(20.0)
    status = run.until_state("interrupted")
    assert (status["exit_code"], status["attempt"]) == (7, 2)
    assert "its supervisor ended without a record (Slurm: job" in status["reason"]

    assert slurm.sdtui("resume", "last", "--detach", env={"PYTHONPATH": str(FAKE)}).code == 0
    run.until_ranks(4, attempt=3)
    slurm.run("scancel", run.job)
    run.until_gone(20.0)
    status = run.until_state("stopped")
    assert status["reason"].startswith("stopped by scancel")

    slurm.until_idle()


def test_a_lost_batch_step_is_saved_and_goes_back_to_the_queue(
    slurm: Slurm, model: Path, data: Path, tmp_path: Path
) -> None:
    """With slurmstepd dead nobody reaps or signals: the job must notice by itself."""
    run = Run.submit(slurm, spread(tmp_path, model, data), fake=True)
    run.until_ranks(4)
    step = procs.read(run.supervisor())
    assert step is not None
    os.kill(step.parent, signal.SIGKILL)
    run.slurm.until(run.dir.earlier_exit(1).exists)  # soon it runs again
    first = read_json(run.dir.earlier_exit(1)) or {}
    assert run.status()["exit_code"] is None
    assert first["state"] == "stopped"
    assert first["reason"].startswith("stopped by Slurm, which takes the job off its nodes")
    assert slurm.sdtui("stop", "last").code == 0


def test_an_exported_batch_file_trains_without_sdtui(
    slurm: Slurm, model: Path, data: Path, tmp_path: Path
) -> None:
    """Who takes the file is promised what ``--run`` does: saved at the limit, and begun again."""
    task = spread(tmp_path, model, data)
    file, folder = tmp_path / "job.sbatch", RunDir(tmp_path / "results")
    assert slurm.sdtui("export", "slurm", task, "-o", file).code == 0
    assert slurm.run("sbatch", "--test-only", file).code == 0
    env = {"PYTHONPATH": str(FAKE), "RUN": str(folder.root)}
    log = f"--output={tmp_path}/job.log"
    job = slurm.run("sbatch", "--parsable", log, file, env=env).out.strip()
    slurm.until(lambda: all(folder.rank(number).exists() for number in range(4)))
    slurm.run("scancel", "--batch", "--signal=USR2", job)
    slurm.until(lambda: slurm.run("squeue", "-h", "-j", job, "-o", "%T").out == "PENDING\n")
    ranks = [read_json(folder.rank(number)) or {} for number in range(4)]
    assert [rank["outcome"] for rank in ranks] == ["stopped"] * 4
    slurm.run("scancel", job)

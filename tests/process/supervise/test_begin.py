"""The start of a run: what is frozen, in which order ids rise, what a resume keeps."""

import json
import os
import re
import shutil
import signal
import stat
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sdcore.errors import UsageError
from sdcore.runs import locks
from sdcore.runs.files import read_json
from sdcore.runs.paths import RunDir, runs_root
from sdcore.runs.requests import ask
from sdcore.runs.status import read_status
from sdcore.supervise import begin, procs
from sdcore.supervise.begin import freeze, load_task, resume_run, start_run
from sdcore.task.spec import GpuSpec, TaskSpec
from sdcore.task.writing import dump_preset


def task(command: str, **fields: object) -> TaskSpec:
    return TaskSpec.model_validate({"name": "t", "command": command, "gpu": {"count": 0}, **fields})


def finished(run: RunDir) -> RunDir:
    end = time.monotonic() + 20
    while not read_status(run).over:
        assert time.monotonic() < end, read_status(run)
        time.sleep(0.02)
    return run


def test_ids_rise_strictly_also_within_one_second() -> None:
    """The queue for GPUs goes by them, and two runs must never share a folder."""
    with ThreadPoolExecutor(4) as pool:
        runs = list(pool.map(lambda _: start_run(task("true")), range(4)))

    stamps = sorted(run.id[:15] for run in runs)
    assert len(set(stamps)) == 4
    for run in runs:
        assert read_status(finished(run)).state == "done"


def test_a_run_is_its_owners_alone_and_its_secrets_stay_out_of_the_record() -> None:
    """Shared boxes: a token readable for one moment is a token lost."""
    old = os.umask(0)
    try:
        run = finished(start_run(task("true", env={"HF_TOKEN": "s3cret-token"})))
    finally:
        os.umask(old)

    for path in [run.root, *run.root.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
        if path.is_file() and path != run.task:
            assert b"s3cret-token" not in path.read_bytes(), path
    assert load_task(run).env["HF_TOKEN"] == "s3cret-token", "a resume from another shell needs it"


def test_the_built_in_trainer_gets_a_seed_that_is_written_down() -> None:
    """Without it a result could not be repeated, and a resume could not be exact."""
    frozen = freeze(TaskSpec())

    assert frozen.train.seed is not None
    assert freeze(frozen) == frozen
    assert freeze(task("true")).train.seed is None


def test_a_resume_goes_on_in_the_same_folder_and_keeps_what_was(tmp_path: Path) -> None:
    """The first attempt's end is history, not something to overwrite."""
    mark = tmp_path / "mark"
    run = finished(start_run(task(f"test -e {mark} || {{ touch {mark}; exit 3; }}")))
    assert read_status(run).state == "failed"
    (run.requests / "stop.json").write_text("{}")

    finished(resume_run(run, env=["A=1"]))

    status = read_status(run)
    assert (status.state, status.attempt) == ("done", 2)
    assert (read_json(run.earlier_exit(1)) or {})["code"] == 3
    assert load_task(run).env == {"A": "1"}
    assert json.loads(run.launch.read_text("utf-8"))["attempt"] == 2


def test_a_living_run_is_not_started_twice() -> None:
    """Two trainings in one folder would mix their checkpoints."""
    run = start_run(task("sleep 60"))

    with pytest.raises(UsageError, match="cannot be resumed"):
        resume_run(run)

    assert read_status(run).attempt == 1
    ask(run, "kill", "test")
    finished(run)


def test_going_back_is_for_one_start_and_to_a_checkpoint_of_the_run() -> None:
    """The wish was ignored without a word; kept in the task, every later resume would go back."""
    run = finished(start_run(task("exit 3")))
    begin.write_bytes(run.task, dump_preset(TaskSpec(gpu=GpuSpec(count=0))).encode())
    for name in ("step-2", "step-4"):
        (run.checkpoints / name).mkdir(parents=True)

    with pytest.raises(UsageError, match="no checkpoint 'step-3'") as caught:
        resume_run(run, sets=["train.resume_from_checkpoint=step-3"])
    assert caught.value.cause == "it has step-2, step-4"
    assert read_status(run).attempt == 1

    finished(resume_run(run, sets=["train.resume_from_checkpoint = 'step-2'", "train.seed=3"]))
    assert "--resume_from_checkpoint=step-2" in (read_json(run.launch) or {})["argv"]
    train = load_task(run).train
    assert (train.resume_from_checkpoint, train.seed) == (None, 3)


def test_a_clock_that_once_stood_far_ahead_does_not_make_starts_collide() -> None:
    """With every new id at the same limit, two starts within one second met in one folder."""
    (runs_root() / "20990101-000000-future").mkdir(parents=True)

    runs = [start_run(task("true")) for _ in range(3)]

    assert len({run.id[:15] for run in runs}) == 3
    assert all(run.id < "2099" for run in runs)
    for run in runs:
        finished(run)


def test_a_resume_that_cannot_be_planned_costs_no_record(monkeypatch: pytest.MonkeyPatch) -> None:
    """The end was renamed before the planning: a run that was done became an interrupted one."""
    run = finished(start_run(task("exit 3")))
    before = {path.name: path.read_bytes() for path in run.root.iterdir() if path.is_file()}

    def refuse(*_: object, **__: object) -> None:
        raise UsageError("x", cause="y", remedy="z")

    monkeypatch.setattr(begin, "plan_launch", refuse)
    with pytest.raises(UsageError):
        resume_run(run, env=["A=1"])

    assert read_status(run).state == "failed"
    assert {p.name: p.read_bytes() for p in run.root.iterdir() if p.is_file()} == before


def test_an_attempt_never_takes_the_number_of_an_earlier_one() -> None:
    """Readers drop metrics of lower attempts, and exit-1.json would be overwritten."""
    run = finished(start_run(task("exit 3")))
    run.exit.rename(run.earlier_exit(4))
    run.launch.write_text('{"attempt": "x"}')

    finished(resume_run(run))

    assert read_status(run).attempt == 5
    assert (read_json(run.earlier_exit(4)) or {})["code"] == 3


def test_a_resume_of_a_lost_run_is_not_taken_for_the_lost_attempt() -> None:
    """state.json still says that attempt 1 is running, and the new holder has the lock."""
    run = finished(start_run(task("true")))
    run.exit.unlink()  # as a killed supervisor leaves it
    record = read_json(run.state) or {}
    assert record["phase"] == "running"

    finished(resume_run(run))

    assert (read_json(run.earlier_exit(1)) or {})["state"] == "interrupted"
    assert read_status(run).attempt == 2


def test_an_empty_task_is_not_resumed_as_another_task() -> None:
    """An empty preset is valid and means the built-in trainer with all its defaults."""
    run = finished(start_run(task("true")))
    run.task.write_bytes(b"")

    with pytest.raises(UsageError, match=re.escape(run.id)):
        resume_run(run)
    assert read_status(run).state == "done"


def test_a_resume_that_waited_for_a_removal_does_not_bring_the_folder_back() -> None:
    """The lock it got then was that of a deleted file: a run without a lock, and half a folder."""
    run = finished(start_run(task("true")))
    lock = locks.take(run.lock, patience=2.0)
    assert lock is not None
    with ThreadPoolExecutor(1) as pool:
        resumed = pool.submit(resume_run, run)
        time.sleep(0.3)
        run.root.rename(run.root.with_name(".removed-x"))
        os.close(lock)
        with pytest.raises(UsageError, match="cannot be resumed"):
            resumed.result()
    assert not run.root.exists()


def test_a_supervisor_whose_folder_is_removed_does_not_stay_for_ever(tmp_path: Path) -> None:
    """It tried to write exit.json into a folder that never comes back."""
    mark = tmp_path / "go"
    run = start_run(task(f"until test -e {mark}; do sleep 0.05; done"))
    pid = int((read_json(run.supervisor) or {})["pid"])
    shutil.rmtree(run.root)
    mark.touch()

    end = time.monotonic() + 10
    while (left := procs.read(pid)) is not None and left.alive:
        assert time.monotonic() < end, left
        time.sleep(0.05)


def test_a_run_is_not_resumed_beside_what_is_left_of_it() -> None:
    """Supervisor and guard killed at once, as `pkill -9 python` does: nobody ends the rest."""
    run = start_run(task("trap '' TERM; sleep 60 & wait; sleep 60"))
    record = read_json(run.supervisor) or {}
    (guard,) = [each.pid for each in procs.below(record["pid"]) if each.name == "sdtui-guard"]
    for pid in (record["pid"], guard):
        os.kill(pid, signal.SIGSTOP)  # so that neither has the time to end the run
    for pid in (record["pid"], guard):
        os.kill(pid, signal.SIGKILL)
    finished(run)

    left = procs.started_by(run.root)
    try:
        with pytest.raises(UsageError, match=r"kill \d+"):
            resume_run(run)
        assert read_status(run).state == "interrupted"
    finally:
        for each in left:
            procs.send(each, signal.SIGKILL)
    assert left


def test_a_run_that_is_done_is_not_started_over() -> None:
    """Its command would run from the beginning again, for days, into the folder of its result."""
    run = finished(start_run(task("true")))

    with pytest.raises(UsageError, match="nothing left to do"):
        resume_run(run)

    assert read_status(run).state == "done"

"""The start of a run: what is frozen, in which order ids rise, what a resume keeps."""

import json
import os
import stat
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sdcore.errors import UsageError
from sdcore.runs.files import read_json
from sdcore.runs.paths import RunDir
from sdcore.runs.requests import ask
from sdcore.runs.status import read_status
from sdcore.supervise.begin import freeze, load_task, resume_run, start_run
from sdcore.task.spec import TaskSpec


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

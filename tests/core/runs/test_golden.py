import shutil

from pydantic import TypeAdapter

from sdcore.runs.events import Event, Metrics
from sdcore.runs.follow import Follower
from sdcore.runs.paths import RunDir, make_private, runs_root
from sdcore.runs.status import read_status
from sdcore.runs.store import find_run
from support.fake_runs import GOLDEN


def golden() -> RunDir:
    """Return a copy of the golden run in the folder of runs."""
    run = RunDir(make_private(runs_root()) / "20260806-070640-golden")
    shutil.copytree(GOLDEN, run.root)
    return find_run("golden")


def test_a_run_of_format_1_is_read_in_full() -> None:
    """Every later version has to read it; change the reader, never this folder."""
    status = read_status(golden())
    assert (status.state, status.exit_code, status.attempt) == ("done", 0, 2)
    assert (status.step, status.total, status.loss, status.images_per_s) == (6, 6, 0.125, 4.25)
    assert (status.elapsed, len(status.gpus), status.peak_rss) == (30.0, 2, 1 << 30)
    assert status.pipeline is not None
    assert (status.pipeline / "model_index.json").is_file()
    assert status.checkpoint is not None
    assert (status.checkpoint / "manifest.json").is_file()


def test_its_curve_is_that_of_the_attempts_that_count() -> None:
    follower = Follower(golden())
    events = follower.poll().events
    curve = [(line.step, line.attempt, line.loss) for line in follower.steps]
    assert curve == [
        (1, 1, 0.9), (2, 1, 0.7), (3, 2, 0.5), (4, 2, 0.375), (5, 2, 0.25), (6, 2, 0.125),
    ]  # fmt: skip
    assert len(events) == 16


def test_its_streams_follow_the_models_of_today() -> None:
    """A change of ``events`` that no longer takes format 1 shows here."""
    follower = Follower(golden())
    update = follower.poll()
    for record in update.events:
        TypeAdapter(Event).validate_python(record)
    for line in update.metrics:
        Metrics.model_validate(line._asdict())


def test_without_its_exit_record_it_was_interrupted() -> None:
    run = golden()
    run.exit.unlink()
    status = read_status(run)
    assert (status.state, status.step, status.total, status.attempt) == ("interrupted", 6, 6, 2)
    assert status.pipeline == run.pipeline
    assert status.checkpoint == run.checkpoints / "step-6"

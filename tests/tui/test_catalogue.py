"""The catalogue: the state of every run, read often and cheaply."""

import shutil
from pathlib import Path

import pytest

from sdcore.runs import locks
from sdcore.runs.status import read_status
from sdtui.live import catalogue as module
from sdtui.live.catalogue import Catalogue
from support.fake_runs import exit_record, make_run, metric


def test_runs_come_newest_first_and_equal_looks_are_equal() -> None:
    """A tuple that differed at each look would redraw an idle console."""
    make_run("20260101-000000-old", exit=exit_record())
    make_run("20260102-000000-new", exit=exit_record("failed"))
    catalogue = Catalogue()

    first, second = catalogue.poll(), catalogue.poll()

    assert [status.name for status in first] == ["new", "old"]
    assert first == second


def test_a_run_that_is_over_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of finished runs, read four times a second, would take a core."""
    for number in range(20):
        make_run(f"20260101-0000{number:02}-many", exit=exit_record())
    read: list[str] = []

    def counted(run: object) -> object:
        read.append(str(run))
        return read_status(run)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "read_status", counted)
    catalogue = Catalogue()

    for _ in range(5):
        catalogue.poll()

    assert len(read) == 20


def test_a_resumed_run_is_seen_at_the_next_look() -> None:
    """A list that went by what it knew would show a living run as over."""
    run = make_run(exit=exit_record("stopped"), state={"phase": "running", "attempt": 2})
    catalogue = Catalogue()
    before = catalogue.poll()[0].state

    lock = locks.take(run.lock)
    run.exit.rename(run.earlier_exit(1))
    after = catalogue.poll()[0].state

    assert lock is not None
    assert (before, after) == ("stopped", "running")


def test_a_replaced_end_is_read_again() -> None:
    """A run that was resumed and ended between two looks has another end."""
    run = make_run(exit=exit_record("stopped"))
    catalogue = Catalogue()
    catalogue.poll()

    run.exit.unlink()
    make_run(run.id, exit=exit_record("done"))

    assert catalogue.poll()[0].state == "done"


def test_a_removed_run_is_gone_and_a_foreign_folder_is_passed_over(home: Path) -> None:
    """Deleting a run in another console must not break this one."""
    run = make_run(exit=exit_record(), metrics=[metric(1)])
    (home / "runs" / "not a run").mkdir()
    catalogue = Catalogue()
    assert len(catalogue.poll()) == 1

    shutil.rmtree(run.root)

    assert catalogue.poll() == ()

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sdcore.errors import SdError, UsageError
from sdcore.runs import locks
from sdcore.runs.paths import runs_root
from sdcore.runs.store import all_runs, find_run, remove_run
from support.fake_runs import exit_record, make_run

IDS = ("20260801-120000-cats", "20260802-120000-dogs", "20260803-120000-cats")


@pytest.fixture
def three() -> None:
    for run_id in IDS:
        make_run(run_id, exit=exit_record())


@pytest.mark.usefixtures("three")
def test_runs_are_listed_newest_first_and_nothing_else_is(tmp_path: Path) -> None:
    """Left-overs of a removal, notes and links in the folder are no runs."""
    root = runs_root()
    (root / ".removed-20260801-120000-x").mkdir()
    (root / "notes.txt").touch()
    (root / "my-copy").mkdir()
    (root / "20260804-120000-link").symlink_to(tmp_path)
    assert [run.id for run in all_runs()] == [IDS[2], IDS[1], IDS[0]]


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize(
    ("ref", "found"),
    [
        (IDS[0], IDS[0]),
        ("20260802", IDS[1]),
        ("dogs", IDS[1]),
        ("cats", IDS[2]),  # the newest of that name
        ("last", IDS[2]),
    ],
)
def test_a_run_is_found_by_id_prefix_name_or_last(ref: str, found: str) -> None:
    assert find_run(ref).id == found


def test_an_exact_id_wins_over_a_longer_one_that_begins_with_it() -> None:
    """Without it the run could be named in no way at all."""
    make_run("20260801-120000-cat")
    make_run("20260801-120000-cats")
    assert find_run("20260801-120000-cat").id == "20260801-120000-cat"


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize(
    "ref", ["../x", "../runs/" + IDS[0], "/etc", "", ".", "*", "cat\x1b[2J", "x" * 100_000]
)
def test_a_hostile_name_finds_nothing(ref: str) -> None:
    """It is compared with names and never becomes a path."""
    with pytest.raises(UsageError) as error:
        find_run(ref)
    assert "\x1b" not in str(error.value)
    assert len(str(error.value)) < 1000


@pytest.mark.usefixtures("three")
def test_a_wrong_name_is_answered_with_the_nearest_and_an_unclear_one_with_all() -> None:
    with pytest.raises(UsageError, match="did you mean dogs"):
        find_run("dog")
    with pytest.raises(UsageError, match=r"3 runs[\s\S]*20260801-120000-cats"):
        find_run("2026")


def test_a_run_is_removed_whole_but_not_what_it_links_to(tmp_path: Path) -> None:
    """Training code may link its data set into the output."""
    data = tmp_path / "data"
    data.mkdir()
    (data / "image.png").touch()
    run = make_run(exit=exit_record())
    run.output.mkdir()
    (run.output / "data").symlink_to(data)
    remove_run(run)
    assert list(runs_root().iterdir()) == []
    assert (data / "image.png").exists()


def test_a_live_run_is_not_removed() -> None:
    """Its trainer would go on, on a GPU nobody could find it by."""
    run = make_run()
    lock = locks.take(run.lock)
    assert lock is not None
    try:
        with pytest.raises(UsageError, match="alive"):
            remove_run(run)
    finally:
        os.close(lock)
    assert run.root.is_dir()


def test_a_link_in_place_of_a_run_is_not_removed(tmp_path: Path) -> None:
    """Somebody may have moved the folder to a larger disk and linked it."""
    run = make_run(exit=exit_record())
    elsewhere = tmp_path / "elsewhere"
    run.root.rename(elsewhere)
    run.root.symlink_to(elsewhere)
    with pytest.raises(SdError, match="no run directory"):
        remove_run(run)
    assert (elsewhere / "exit.json").exists()


def test_what_a_killed_removal_left_goes_with_the_next() -> None:
    run = make_run(exit=exit_record())
    left = runs_root() / ".removed-20260101-000000-x.1" / "output"
    left.mkdir(parents=True)
    remove_run(run)
    assert not left.parent.exists()


def test_two_removals_of_one_run_both_end_well() -> None:
    """The slower one waited for a lock in a folder that is gone."""
    run = make_run(IDS[0], exit=exit_record())
    lock = locks.take(run.lock)
    assert lock is not None
    with ThreadPoolExecutor(1) as pool:
        second = pool.submit(remove_run, run)
        time.sleep(0.2)
        run.root.rename(run.root.with_name(".removed-x"))
        os.close(lock)
        second.result()
    assert not run.root.exists()


@pytest.mark.parametrize("home", ["~no-such-person/x", "~"])
def test_without_a_home_the_remedy_is_named(home: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container's user often has no entry in the list of users."""
    monkeypatch.setenv("SDTUI_HOME", home)
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr("pwd.getpwuid", _nobody)
    with pytest.raises(UsageError, match="set SDTUI_HOME"):
        all_runs()


def _nobody(_uid: int) -> None:
    raise KeyError

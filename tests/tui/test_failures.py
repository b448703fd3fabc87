"""What fails by a bug of ours ends the console with it: a screen that goes on would lie."""

import re
import threading
from pathlib import Path
from typing import Any

import pytest
from textual.worker import WorkerFailed

import sdtui
from sdcore.errors import UsageError
from sdcore.runs.logs import Mask
from sdcore.runs.status import Status
from sdtui import actions
from sdtui.frozen import read_task
from sdtui.live import log_scan
from sdtui.live.log_feed import Broken, LogFeed, News
from sdtui.screens.compare_params import flat
from sdtui.widgets.peek import Facts, read_facts
from support.console import Driven, drive
from support.fake_runs import exit_record, make_run


def _bug(*_arguments: Any, **_more: Any) -> Any:
    raise ZeroDivisionError


@pytest.mark.parametrize(
    ("part", "mode"),
    [
        ("sdtui.screens.tasks.read_facts", "tasks"),
        ("sdtui.screens.run.checkpoint_interval", "run"),
        ("sdtui.screens.compare.read_task", "compare"),
    ],
)
def test_a_bug_in_a_thread_of_a_screen_ends_the_console(
    monkeypatch: pytest.MonkeyPatch, part: str, mode: str
) -> None:
    """Swallowed, it leaves a part of the screen empty for ever, and nobody learns why."""
    ids = [make_run(f"2026010{n}-000000-r", exit=exit_record()).id for n in (1, 2)]
    monkeypatch.setattr(part, _bug)

    async def story(it: Driven) -> None:
        if mode == "compare":
            for id_ in ids:
                it.app.listing.toggle(id_)
            it.app.go(mode)
        elif mode == "run":
            it.app.open_run(ids[0])
        await it.until(lambda: it.app.return_code == 1)

    with pytest.raises(WorkerFailed, match="ZeroDivisionError"):
        drive(story)


def test_a_bug_in_an_act_ends_the_console_and_what_is_told_does_not() -> None:
    """A stop that never happened must not look like one that was asked for."""

    def refuse() -> None:
        raise UsageError("it was refused", cause="why", remedy="do")

    async def story(it: Driven) -> None:
        actions._in_background(it.app, refuse)
        await it.until("it was refused")
        await it.press("escape")
        actions._in_background(it.app, _bug)
        await it.until(lambda: it.app.return_code == 1)

    with pytest.raises(WorkerFailed, match="ZeroDivisionError"):
        drive(story)


@pytest.mark.parametrize("key", ["q", "language"])
def test_a_thread_that_outlives_its_screen_is_no_error(
    monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    """A person who leaves, or changes the language, while a slow disk is read did nothing wrong."""
    make_run(exit=exit_record())
    begun, go_on = threading.Event(), threading.Event()

    def slow(*_arguments: Any) -> Facts:
        begun.set()
        go_on.wait(10)
        return Facts()

    monkeypatch.setattr("sdtui.screens.tasks.read_facts", slow)

    async def story(it: Driven) -> None:
        await it.until(begun.is_set)
        if key == "q":
            threading.Timer(0.5, go_on.set).start()  # one of the app's would end with it
            await it.pilot.press("q")
            return
        it.app.go("log")
        it.app.change_settings(language="zh_CN")
        await it.pilot.pause(0.3)
        go_on.set()
        await it.pilot.pause(0.3)
        assert it.app.return_code is None

    drive(story)
    go_on.set()


def test_no_worker_is_told_to_swallow_its_errors() -> None:
    """``exit_on_error=False`` hides every bug of the worker; Textual tells nobody else."""
    root = Path(sdtui.__file__).parent
    found = [path.name for path in root.rglob("*.py") if re.search(r"exit_on_error=F", _text(path))]
    assert found == []


def _text(path: Path) -> str:
    return path.read_text("utf-8")


def test_a_bug_in_the_thread_of_the_log_is_handed_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its thread would end in silence, and the log stand still as if the run did."""
    (tmp_path / "train.log").write_text("a line\n")
    news: list[News] = []
    came = threading.Event()

    def post(each: News) -> None:
        news.append(each)
        came.set()

    monkeypatch.setattr(log_scan, "window", _bug)
    feed = LogFeed(0.02, post)
    feed.start()
    feed.open(tmp_path / "train.log", lambda: Mask(()))
    assert came.wait(10)
    feed._thread.join(10)
    assert not feed._thread.is_alive()
    [broken] = news
    assert isinstance(broken, Broken)
    assert isinstance(broken.error, ZeroDivisionError)


def test_a_log_that_cannot_go_on_ends_the_console(monkeypatch: pytest.MonkeyPatch) -> None:
    """A frozen log is taken for a training that hangs, and good runs are killed for it."""
    run = make_run(log=b"step 1\n", exit=exit_record())
    monkeypatch.setattr(log_scan, "window", _bug)

    async def story(it: Driven) -> None:
        it.app.open_run(run.id, "log")
        await it.until(lambda: it.app.return_code == 1)

    with pytest.raises(ZeroDivisionError):
        drive(story)


def test_damaged_records_are_no_bug() -> None:
    """Files of a run may hold anything; what only shows them must not end the console."""
    events = [
        {"kind": ["model"], "name": "x"}, {"kind": {"a": 1}}, {"kind": "plan", "epochs": [1]},
        {"kind": "model", "parameters": 10**400, "name": 7},
    ]  # fmt: skip
    deep = ".".join("a" * 2000)
    task = f'env = {{ lr = {10**400} }}\n{deep} = 1\nb{deep}.TOKEN = "hf_x"\n'
    run = make_run(events=events, task=task.encode())
    facts = read_facts(run, Status(run.id, "shapes", "done"))
    assert any(line.startswith("model") for line in facts.lines)
    assert "hf_x" not in str(flat(read_task(run), {"lr": "learning_rate"}))

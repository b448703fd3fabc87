"""Run directories in which something is wrong: the console shows the rest, and never waits."""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sdcore.runs.logs import Mask
from sdcore.runs.paths import RunDir
from sdcore.runs.signs import SILENT_S
from sdcore.runs.status import read_status
from sdtui import phrases
from sdtui.live.hub import Hub, Listener
from sdtui.live.log_feed import Broken, LogFeed, News, Trouble
from sdtui.live.log_scan import Ask, Window
from sdtui.live.snapshot import View
from support.console import Driven, drive
from support.fake_runs import Supervised, exit_record, make_run, metric
from support.real_runs import until

FILES = ("exit", "state", "supervisor", "launch", "task", "lock", "metrics", "events", "gpu", "log")


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _loop(path: Path) -> None:
    path.symlink_to(path)


def _damaged(name: str, damage: Callable[[Path], None]) -> RunDir:
    """Make a run with one file replaced."""
    over = None if name in {"exit", "lock"} else exit_record()
    run = make_run(exit=over, metrics=[metric(1)], events=[{"kind": "phase"}], log=b"one\n",
                   gpu=[], task=b'name = "shapes"\n')  # fmt: skip
    path: Path = getattr(run, name)
    path.unlink(missing_ok=True)
    damage(path)
    return run


@pytest.mark.parametrize("damage", [_pipe, _loop, Path.mkdir])
@pytest.mark.parametrize("name", FILES)
def test_one_file_that_cannot_be_read_hides_neither_its_run_nor_the_others(
    name: str, damage: Callable[[Path], None]
) -> None:
    """A pipe held the one thread that reads for ever; a folder kept every run from the screen."""
    run = _damaged(name, damage)
    views: list[View] = []
    troubles: list[str] = []
    bugs: list[Exception] = []
    hub = Hub(0.02)
    hub.listen(Listener(views.append, troubles.append, bugs.append))
    hub.open(run.id)
    hub.start()
    end = time.monotonic() + 10
    while not (views and views[-1].run):
        assert time.monotonic() < end, (views, troubles)
        time.sleep(0.01)
    hub.stop()
    hub._thread.join(5)

    assert not hub._thread.is_alive()
    assert bugs == []
    assert views[-1].runs is not None
    assert [status.id for status in views[-1].runs] == [run.id]
    if name in {"metrics", "events"}:
        assert [str(getattr(run, name)) in words for words in troubles] == [True]


class _Fed:
    """A log feed with what it posts."""

    def __init__(self, path: Path) -> None:
        self.news: list[News] = []
        self.feed = LogFeed(0.02, self.news.append)
        self.feed.start()
        self.feed.open(path, Mask)
        self.feed.look(Ask())

    def until(self, true: Callable[[list[News]], bool]) -> None:
        end = time.monotonic() + 10
        while not true(self.news):
            assert time.monotonic() < end, self.news
            time.sleep(0.01)


@pytest.mark.parametrize("damage", [_pipe, _loop, Path.mkdir])
def test_a_log_that_cannot_be_read_is_told_and_read_once_it_can(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    """One failed read of a network disk, and the log stood still until the console was left."""
    path = tmp_path / "train.log"
    damage(path)
    fed = _Fed(path)
    try:
        fed.until(lambda news: any(isinstance(each, Trouble) and each.words for each in news))
        path.rmdir() if path.is_dir() else path.unlink()
        path.write_bytes(b"it can be read\n")
        fed.until(
            lambda news: any(
                isinstance(each, Window) and [row.text for row in each.rows] == ["it can be read"]
                for each in news
            )
        )
        fed.until(lambda news: [n for n in news if isinstance(n, Trouble)][-1].words == "")
    finally:
        fed.feed.stop()
        fed.feed._thread.join(5)
    assert not [each for each in fed.news if isinstance(each, Broken)]


def test_a_lock_that_cannot_be_read_is_no_word_on_the_run() -> None:
    """Neither "running" nor "killed" is known then; resuming would start it a second time."""
    status = read_status(_damaged("lock", _loop))

    assert status.state == "interrupted"
    assert "lock cannot be read" in (status.reason or "")
    assert status.remedy is None


def test_a_run_that_is_alive_but_silent_says_so_wherever_it_says_running() -> None:
    """Hung in NCCL for a night it would look as healthy as any."""
    run = make_run(metrics=[metric(1)], events=[])
    with Supervised(run, "--steps", "3", "--delay", "0.01", "--gate"):
        until(lambda: read_status(run).phase == "caching")
        assert read_status(run).silent_since is None
        for path in (run.metrics, run.events, run.log, run.state):
            if path.exists():
                os.utime(path, (time.time() - SILENT_S - 130,) * 2)
        status = read_status(run)
        assert phrases.silence_words(status) == "silent for 12m"
        assert phrases.state_words(status) == "running: silent for 12m"
        assert phrases.silence_words(read_status(run, now=time.time() - 3600)) == "", "set back"

        async def story(it: Driven) -> None:
            await it.until("silent for 12m")
            it.app.open_run(run.id)
            await it.until("! silent for 12m")

        drive(story, (100, 30))


def test_no_thread_and_no_child_is_left_by_runs_opened_and_closed() -> None:
    """A console stays open for weeks; each run looked at must cost nothing afterwards."""
    long = b"".join(
        b'{"at":%d,"attempt":1,"step":%d,"loss":0.5}\n' % (n, n) for n in range(1, 30_000)
    )
    make_run("20260806-000001-long", exit=exit_record(), metrics=long)
    make_run("20260806-000002-brief", exit=exit_record(), metrics=[metric(1)])

    async def story(it: Driven) -> None:
        async def round_() -> None:
            for id_ in ("20260806-000001-long", "20260806-000002-brief"):
                it.app.open_run(id_)
                await it.until(
                    lambda id_=id_: bool(it.app.view.run and it.app.view.run.run.id == id_)
                )
                for key in "4567":
                    await it.press(key)
            await it.press("1")

        await round_()
        before = {thread.name for thread in threading.enumerate()}
        for _each in range(4):
            await round_()
        now = {t.name for t in threading.enumerate() if not t.name.startswith("ThreadPool")}
        assert {n for n in now - before if n.startswith("sdtui") and n != "sdtui-curve"} == set()

    drive(story, (100, 30))
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    assert not [
        pid for pid in children if b"curve_source" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]

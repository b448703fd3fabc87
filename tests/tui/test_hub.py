"""The hub: one thread looks at the runs and hands on what is new."""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from sdcore.errors import UsageError
from sdtui.live.hub import MOST_OVERLAYS, Hub, Listener
from sdtui.live.snapshot import View
from support.fake_runs import Supervised, exit_record, make_run, metric


class Watched:
    """A hub with all it said."""

    def __init__(self) -> None:
        self.views: list[View] = []
        self.troubles: list[str] = []
        self.bugs: list[Exception] = []
        self.hub = Hub(0.02)
        self.hub.listen(Listener(self.views.append, self.troubles.append, self.bugs.append))

    def until(self, true: Callable[[View], bool], seconds: float = 15.0) -> View:
        """Wait for a view."""
        end = time.monotonic() + seconds
        while not (self.views and true(self.views[-1])):
            assert time.monotonic() < end, self.views[-1:]
            time.sleep(0.01)
        return self.views[-1]


@contextmanager
def watched() -> Iterator[Watched]:
    watch = Watched()
    watch.hub.start()
    yield watch
    watch.hub.stop()
    watch.hub._thread.join(5)
    assert not watch.hub._thread.is_alive()


def test_what_was_seen_before_anybody_listened_is_not_lost() -> None:
    """The runs are read while the console is still being loaded."""
    make_run(exit=exit_record())
    hub, views = Hub(0.02), list[View]()
    hub.start()
    time.sleep(0.2)
    hub.listen(Listener(views.append, print, print))
    while not views:
        time.sleep(0.01)
    hub.stop()
    hub._thread.join(5)

    assert [len(view.runs or ()) for view in views] == [1]


def test_a_hub_that_nobody_listened_to_can_be_ended() -> None:
    """A console that cannot be opened must not leave a thread that waits for ever."""
    hub = Hub(0.02)
    hub.start()
    hub.stop()
    hub._thread.join(5)

    assert not hub._thread.is_alive()


def test_an_idle_home_is_told_once() -> None:
    """Each view is drawn; a view a tick for nothing would keep the link busy."""
    make_run(exit=exit_record())
    with watched() as watch:
        watch.until(lambda view: view.runs is not None)
        time.sleep(0.3)

        assert len(watch.views) == 1


def test_an_open_run_is_followed_to_its_end() -> None:
    """What runs headless is followed live, and its end is seen."""
    run = make_run()
    options = ("--steps", "20", "--delay", "0.01", "--gate")
    with Supervised(run, *options) as supervised, watched() as watch:
        watch.hub.open(run.id)
        watch.until(lambda view: view.run is not None and view.run.status.state == "running")
        supervised.go()
        watch.until(lambda view: view.run is not None and view.run.status.state == "done")
        watch.until(lambda view: view.run is not None and len(view.run.curve) == 20)
        watch.until(lambda view: bool(view.runs) and view.runs[0].state == "done")


def test_the_run_before_never_stands_for_the_new_one() -> None:
    """Stop, pressed while the old run still stands on the screen, would end the wrong one."""
    one = make_run("20260101-000000-one", exit=exit_record(), metrics=[metric(1)])
    two = make_run("20260102-000000-two", exit=exit_record(), metrics=[metric(1)])
    with watched() as watch:
        watch.hub.open(one.id)
        watch.until(lambda view: view.run is not None)
        watch.hub.open(two.id)
        watch.until(lambda view: view.run is not None and view.run.run == two)

        shown = [view.run.run.name for view in watch.views if view.run]
        assert shown == sorted(shown), "one, then two, and never back"


def test_a_removed_open_run_is_told_and_harms_nothing() -> None:
    """Another console may delete what this one shows."""
    run = make_run(exit=exit_record(), metrics=[metric(1)], events=[{"kind": "phase"}])
    with watched() as watch:
        watch.hub.open(run.id)
        watch.until(lambda view: view.run is not None)

        shutil.rmtree(run.root)

        watch.until(lambda view: view.runs == ())
        time.sleep(0.1)
        assert watch.hub._thread.is_alive()
        assert watch.bugs == []


def test_the_same_trouble_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A message a tick would bury the screen; silence would hide that nothing is read."""
    broken, looks = UsageError("it cannot be read", cause="why", remedy="do"), []

    def fail(_self: object) -> None:
        looks.append("look")
        raise broken

    with watched() as watch:
        watch.until(lambda view: view.runs is not None)
        monkeypatch.setattr("sdtui.live.catalogue.Catalogue.poll", fail)
        watch.until(lambda _view: len(looks) > 3)

        assert watch.troubles == ["it cannot be read: why: do"]


def test_a_bug_of_ours_is_not_swallowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that died in silence would leave a screen that lies."""

    def fail(_self: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("sdtui.live.catalogue.Catalogue.poll", fail)
    with watched() as watch:
        watch.hub._thread.join(5)

        assert [type(error) for error in watch.bugs] == [ZeroDivisionError]


def test_no_more_runs_are_laid_over_than_can_be_told_apart() -> None:
    """Each one costs memory and a colour."""
    ids = [make_run(f"2026010{n}-000000-r", exit=exit_record()).id for n in range(1, 9)]
    with watched() as watch:
        watch.hub.overlay(tuple(ids))
        view = watch.until(lambda view: bool(view.overlays))

        assert [id_ for id_, _curve in view.overlays] == ids[:MOST_OVERLAYS]
        watch.hub.overlay(())
        watch.until(lambda view: view.overlays == ())


def test_two_consoles_agree() -> None:
    """State comes from the run directory alone, so no reader can know better than another."""
    run = make_run()
    options = ("--steps", "10", "--delay", "0.01", "--gate")
    with Supervised(run, *options) as supervised, watched() as here, watched() as there:
        for watch in (here, there):
            watch.hub.open(run.id)
        supervised.go()
        ends = [
            watch.until(lambda view: view.run is not None and view.run.status.over)
            for watch in (here, there)
        ]

    assert ends[0].runs == ends[1].runs
    assert ends[0].run is not None
    assert ends[1].run is not None
    assert ends[0].run.status == ends[1].run.status
    assert ends[0].run.events == ends[1].run.events

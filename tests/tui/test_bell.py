"""A run that ends is heard and told: once, and only if it was seen to live."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from sdcore.runs.files import write_json
from sdcore.runs.status import read_status
from sdtui.app import SdTui
from sdtui.bell import Ends
from sdtui.settings import Settings, load_settings, save_changes, settings_file
from support.console import Driven, drive
from support.fake_runs import Supervised, exit_record, make_run, metric, plain_environment
from support.pty_console import PtyConsole


@pytest.fixture
def rings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    rung: list[str] = []
    monkeypatch.setattr(SdTui, "bell", lambda _app: rung.append("bell"))
    return rung


def notices(it: Driven) -> list[str]:
    return [
        note.message
        for note in it.app._notifications
        if note.title in {"A run is over", "任务已结束"}
    ]


@pytest.mark.parametrize(
    ("language", "words"), [("en", "shapes: done"), ("zh_CN", "shapes：已完成")]
)
def test_a_run_that_ends_rings_once_and_says_which_and_how(
    language: str, words: str, rings: list[str]
) -> None:
    """Hours of waiting end in another window."""
    make_run("20260801-070640-old", exit=exit_record("failed"))
    run = make_run(metrics=[metric(1)])

    async def story(it: Driven) -> None:
        with Supervised(run, "--steps", "3", "--gate") as training:
            await it.until(
                lambda: bool(it.app.view.runs) and it.app.view.runs[0].state == "running"
            )
            assert (rings, notices(it)) == ([], [])
            training.go()
            await it.until(lambda: bool(notices(it)), 30)
        await it.pilot.pause(0.6)
        assert notices(it) == [words]
        assert rings == ["bell"]

    drive(story, settings=Settings(link="fast", language=language))


def test_the_bell_can_be_silenced_and_the_line_stays(rings: list[str]) -> None:
    """An open-plan office; the setting counts at once and is kept."""
    run = make_run(metrics=[metric(1)])

    async def story(it: Driven) -> None:
        it.app.change_settings(bell=False)
        with Supervised(run, "--steps", "3", "--gate") as training:
            await it.until(
                lambda: bool(it.app.view.runs) and it.app.view.runs[0].state == "running"
            )
            training.go()
            await it.until(lambda: bool(notices(it)), 30)
        assert rings == []

    drive(story)
    assert load_settings().bell is False


def test_the_box_of_settings_has_the_bell() -> None:
    """Who is rung at wants to find where it is switched off."""

    async def story(it: Driven) -> None:
        await it.press("comma")
        await it.until("Bell")
        assert "rings when a run ends" in it.text()

    drive(story)


def test_what_ended_before_the_first_look_and_what_was_removed_are_no_news() -> None:
    """A console that rings for last week's runs is silenced for good."""
    over = read_status(make_run("20260801-070640-old", exit=exit_record()))
    lost = make_run("20260801-070641-live", metrics=[metric(1)])
    ends = Ends()
    with Supervised(lost, "--steps", "3", "--gate"):
        live = read_status(lost)
        assert live.state == "running"
        assert ends.among([over, live]) == []
        assert ends.among([over, live]) == []
        assert ends.among([over]) == [], "removed"
    assert ends.among([over, live]) == []
    write_json(lost.exit, exit_record("failed", attempt=1))
    ended = read_status(lost)
    assert ends.among([over, ended]) == [ended]
    assert ends.among([over, ended]) == [], "once"


def bells(stream: bytes | bytearray) -> int:
    """Count what rings; the end of an operating system command does not."""
    return re.sub(rb"\x1b\][^\x07\x1b]*\x07", b"", bytes(stream)).count(b"\x07")


def test_the_terminal_gets_one_bell_and_then_nothing_more() -> None:
    """It goes through the writer that counts, and an idle console still sends no byte."""
    run = make_run(metrics=[metric(1)])
    with PtyConsole(80, 24) as it:
        with Supervised(run, "--steps", "3", "--gate") as training:
            it.until("running")
            assert bells(it.stream) == 0
            training.go()
            it.until("A run is over")
        it.quiet(seconds=14, most=60)
        assert "A run is over" not in it.text()
        assert bells(it.stream) == 1
        assert min(it.rate(2), it.rate(2)) == 0  # in one of them the minute may change


@pytest.mark.parametrize(("wanted", "count"), [(True, 1), (False, 0)])
def test_the_headless_run_rings_where_there_is_a_terminal(
    wanted: bool, count: int, tmp_path: Path
) -> None:
    """A shell in the background of tmux marks its window for it."""
    save_changes(settings_file(), {"bell": wanted})
    preset = tmp_path / "short.toml"
    preset.write_text('command = "true"\n[gpu]\ncount = 0\n')
    with PtyConsole(100, 30, "--run", str(preset)) as it:
        it.process.wait(60)
        assert it.process.returncode == 0
        it.quiet(0.3)
        assert bells(it.stream) == count, it.text()


def test_attaching_to_what_is_over_rings_nothing() -> None:
    """It ended long ago."""
    make_run(exit=exit_record(), metrics=[metric(1)])
    with PtyConsole(100, 30, "attach", "last") as it:
        it.process.wait(30)
        it.quiet(0.3)
        assert bells(it.stream) == 0, it.text()


def test_attaching_to_what_ends_rings_and_a_file_is_left_alone() -> None:
    """In a log a bell is a strange sign."""
    run = make_run(metrics=[metric(1)])
    with (
        Supervised(run, "--steps", "3", "--gate") as training,
        PtyConsole(100, 30, "attach", "last") as it,
    ):
        it.until("leaves it")
        piped = subprocess.Popen(
            [sys.executable, "-m", "sdtui", "attach", "last"],
            env=plain_environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert piped.stdout is not None
        line = piped.stdout.readline()
        training.go()
        it.process.wait(30)
        it.quiet(0.3)
        assert bells(it.stream) == 1, it.text()
        assert b"\x07" not in line + piped.communicate(timeout=30)[0]

"""The console in a real terminal, with real runs: from an empty home to a resumed training."""

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from sdcore.runs.files import read_json
from sdcore.runs.status import read_status
from support.pty_console import PtyConsole
from support.real_runs import beating_preset, few_threads, grows, the_run, training_preset, until
from support.sshd import Login, Sshd, find_sshd
from support.tmux import Tmux

__all__ = ["few_threads"]

pytestmark = pytest.mark.usefixtures("few_threads")
needs_tmux = pytest.mark.skipif(shutil.which("tmux") is None, reason="there is no tmux")
_BRAILLE = {chr(sign) for sign in range(0x2801, 0x2900)}
needs_sshd = pytest.mark.skipif(find_sshd() is None, reason="there is no sshd")


@pytest.fixture
def tmux(tmp_path: Path) -> Iterator[Tmux]:
    tmux = Tmux(tmp_path)
    yield tmux
    tmux.kill()


@needs_tmux
@pytest.mark.slow
def test_from_an_empty_home_to_a_stopped_and_resumed_demo(
    tmux: Tmux, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever opens it for the first time must see a picture of their training, not a manual."""
    tmux.start(80, 24)
    tmux.comes("d       the demo")
    tmux.press("d")  # the form, with the demo in it
    tmux.comes("300 steps")  # it is drawn, and what it takes was worked out
    tmux.press("C-r")  # create
    tmux.comes("train_loss", 120)
    run = the_run()
    until(lambda: (read_status(run).step or 0) >= 5, 120)
    tmux.comes("running")
    until(lambda: _BRAILLE & set(tmux.now()))  # the curve itself, not its title alone
    tmux.press("6")
    tmux.comes("▀")
    tmux.press("3")
    tmux.comes("train_loss")

    tmux.press("s")  # stop with a checkpoint
    until(lambda: read_status(run).state == "stopped", 120)
    tmux.comes("■ stopped")
    stopped_at = read_status(run).step or 0
    assert read_status(run).exit_code == 4
    assert list(run.samples.glob("step-0/*.png"))

    tmux.press("r")
    until(lambda: (read_status(run).step or 0) > stopped_at, 120)
    assert read_status(run).attempt == 2
    tmux.press("q")  # leaves the console, and says that the run goes on
    assert tmux.code() == 0
    assert tmux.shows("goes on")
    assert read_status(run).state == "running"

    monkeypatch.setenv("LANG", "zh_CN.UTF-8")
    another = Tmux(tmp_path)
    try:
        another.start(140, 40)
        another.comes("● demo")
        another.press("Enter")
        another.comes("● 运行中")
        until(lambda: _BRAILLE & set(another.now()))
        another.comes("▀")
        another.press("s")
        until(lambda: read_status(run).state == "stopped", 120)
        another.comes("■ 已停止")
        another.press("q")
        assert another.code() == 0
    finally:
        another.kill()


@needs_sshd
def test_a_cut_link_costs_the_run_nothing_and_the_next_console_follows_it(tmp_path: Path) -> None:
    """The train enters a tunnel: what was watched over SSH goes on and is watched again."""
    binary = find_sshd()
    assert binary is not None
    server = Sshd(binary, tmp_path / "sshd")
    try:
        started = server.run("--run", beating_preset(tmp_path), "--detach")
        assert started.returncode == 0
        run = the_run()
        with Login(server) as login:
            login.until("beats")
            sessions = server.sessions()
            login.cut()
        until(lambda: not set(sessions) & set(server.sessions()))
        assert grows(run.output / "beats")
        assert not (run.output / "signals").exists()
        with Login(server) as login:
            login.until("beats")
            login.until("running")
    finally:
        server.close()


def test_a_console_killed_in_the_middle_changes_nothing(tmp_path: Path) -> None:
    """The console is only a window: the out-of-memory killer may take it at any moment."""
    with PtyConsole(100, 30, "--run", training_preset(tmp_path, steps=400), "--detach"):
        run = until(lambda: the_run() if list((tmp_path / "home" / "runs").glob("2*")) else None)
        until(run.metrics.exists)
    with PtyConsole(100, 30) as it:
        it.until("tiny")
        it.press("\r")
        it.until("train_loss")
        before = {path.name for path in run.root.iterdir()}
        os.kill(it.process.pid, signal.SIGKILL)
    until(lambda: read_status(run).over)
    assert (read_json(run.exit) or {})["last_step"] == 400
    left = {path.name for path in run.root.iterdir()} - before
    assert left <= {"exit.json"}


def test_a_run_started_headless_is_followed_by_two_consoles_that_agree(tmp_path: Path) -> None:
    """Both read the same files; neither knows more than the other."""
    with PtyConsole(80, 24, "--run", training_preset(tmp_path, steps=300), "--detach"):
        run = until(lambda: the_run() if list((tmp_path / "home" / "runs").glob("2*")) else None)
        until(run.metrics.exists)
    with PtyConsole(80, 24) as one, PtyConsole(140, 40) as two:
        for it in (one, two):
            it.until("tiny")
            it.press("\r")
            it.until("train_loss")
        until(lambda: read_status(run).over, 120)
        for it in (one, two):
            it.until("done")
            it.until("300/300")

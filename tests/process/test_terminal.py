"""In a real terminal, tmux's: what stays on the screen is clean, and closing it ends no run."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from sdcore.runs.files import read_json
from support.fake_runs import sdtui
from support.real_runs import (
    beating_preset,
    few_threads,
    grows,
    the_run,
    training_preset,
    until,
)
from support.tmux import Tmux

__all__ = ["few_threads"]

pytestmark = [
    pytest.mark.skipif(shutil.which("tmux") is None, reason="there is no tmux"),
    pytest.mark.usefixtures("few_threads"),
]
_BAR = "━"


@pytest.fixture
def tmux(tmp_path: Path) -> Iterator[Tmux]:
    tmux = Tmux(tmp_path)
    yield tmux
    tmux.kill()


@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (140, 40)])
def test_training_is_one_line_that_moves_and_leaves_no_trace(
    columns: int, rows: int, tmux: Tmux, tmp_path: Path
) -> None:
    """A bar that is one cell too wide fills the scrollback with a thousand copies of itself."""
    tmux.start(columns, rows, "--run", training_preset(tmp_path, steps=150))
    seen = set()

    def moved() -> bool:
        # -J joins what the terminal had to wrap, so a bar that was too wide is seen as such.
        bars = [line for line in tmux.screen("-J") if _BAR in line]
        assert len(bars) <= 1, bars
        assert all(len(line.rstrip()) <= columns for line in bars)
        seen.update(line for line in bars if "loss" in line and "/150" in line)
        return len(seen) >= 3

    until(moved)
    assert tmux.code() == 0
    until(lambda: tmux.shows("StableDiffusionPipeline.from_pretrained("))
    lines = tmux.screen("-J")
    assert not [line for line in lines if _BAR in line]
    run = the_run()
    end = next(i for i, line in enumerate(lines) if line.startswith("done after"))
    assert "150/150 steps" in lines[end]
    assert lines[end + 1].split() == ["pipeline", str(run.pipeline)]
    assert "StableDiffusionPipeline.from_pretrained(" in lines[-1]
    assert len(lines) < 25, lines
    assert [line for line in lines if "sdtui attach" in line]
    listed = Tmux(tmp_path)
    try:
        listed.start(columns, rows, "ls")
        assert listed.code() == 0
        until(lambda: listed.shows(run.id))
        header, row = listed.screen()
        assert header.startswith("STATE")
        assert row.startswith("✓ done")
        assert run.id in row
    finally:
        listed.kill()


def test_ctrl_c_leaves_no_half_line(tmux: Tmux, tmp_path: Path) -> None:
    """The terminal echoes the key as ^C behind the bar, which would then stay where it was."""
    tmux.start(80, 24, "--run", beating_preset(tmp_path))
    until(lambda: tmux.shows(_BAR))
    run = the_run()
    until((run.output / "beats").exists)
    tmux("send-keys", "C-c")
    until(lambda: tmux.shows("stopping: "))
    tmux("send-keys", "C-c")
    until(lambda: tmux.shows("once more sends SIGKILL"))
    tmux("send-keys", "C-c")
    assert tmux.code() == 130
    until(lambda: tmux.shows("sdtui resume"))
    text = "\n".join(tmux.screen("-J"))
    assert _BAR not in text
    assert "^C" not in text


def test_a_closed_terminal_does_not_touch_the_run(tmux: Tmux, tmp_path: Path) -> None:
    """The window is closed, or tmux dies; what was started in it goes on."""
    tmux.start(80, 24, "--run", beating_preset(tmp_path))
    until(lambda: tmux.shows("sdtui attach"))
    run = the_run()
    until((run.output / "beats").exists)
    tmux.kill()
    assert '"state": "running"' in sdtui("ls", "--json").stdout
    assert grows(run.output / "beats")
    (run.output / "enough").touch()
    assert sdtui("wait", run.id).returncode == 0
    assert not (run.output / "signals").exists()
    assert (read_json(run.exit) or {})["cause"] == "done"

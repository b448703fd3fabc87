"""A real terminal, tmux's, with a program in it."""

import os
import subprocess
import sys
import time
import uuid
from pathlib import Path

from support.real_runs import until

_CONFIG = """\
set -g status off
set -g default-terminal screen-256color
"""
# The pane stays after the program, with nothing of its own on the screen.
_KEEP = 'trap : INT; "$@"; echo $? > "$CODE"; exec sleep 600'


class Tmux:
    """One tmux server of the test's own, with one pane.

    Args:
        folder: Where its configuration goes.
    """

    def __init__(self, folder: Path) -> None:
        self._socket = f"sdtui-test-{uuid.uuid4().hex[:12]}"
        self._config, self._code = folder / "tmux.conf", folder / f"{self._socket}.code"
        self._config.write_text(_CONFIG)

    def __call__(self, *words: str) -> str:
        """Run a tmux command and return what it writes."""
        command = ["tmux", "-u", "-L", self._socket, "-f", str(self._config), *words]
        return subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=30
        ).stdout

    def start(self, columns: int, rows: int, *arguments: str) -> None:
        """Open a pane that runs ``sdtui``."""
        own = [
            f"{k}={v}"
            for k, v in os.environ.items()
            if k.startswith(("SDTUI_", "OMP_", "XDG_CONFIG", "LANG", "LC_"))
        ]
        unset = [
            "-u",
            "COLUMNS",
            "-u",
            "LINES",
        ]  # they would count more than the terminal's own size
        shell = ["env", *unset, *own, f"CODE={self._code}", "sh", "-c", _KEEP, "sh"]
        size = ["-x", str(columns), "-y", str(rows)]
        self("new-session", "-d", *size, *shell, sys.executable, "-m", "sdtui", *arguments)

    def screen(self, *flags: str) -> list[str]:
        """Return the lines that were shown so far, also those above the screen."""
        return self("capture-pane", "-p", "-S", "-", *flags).rstrip("\n").split("\n")

    def now(self) -> str:
        """Return what is on the screen, and nothing above it."""
        return self("capture-pane", "-p")

    def press(self, *keys: str) -> None:
        """Press keys, by tmux's names."""
        self("send-keys", *keys)

    def comes(self, words: str, seconds: float = 60.0) -> None:
        """Wait until ``words`` are on the screen."""
        end = time.monotonic() + seconds
        while words not in self.now():
            assert time.monotonic() < end, f"{words!r} did not come:\n{self.now()}"
            time.sleep(0.1)

    def shows(self, words: str) -> bool:
        return any(words in line for line in self.screen("-J"))

    def code(self) -> int:
        """Wait for the program's end and return its exit code."""
        return int(until(lambda: self._code.exists() and self._code.read_text().strip(), 120))

    def kill(self) -> None:
        """End the server, which hangs up on all that runs in it."""
        subprocess.run(
            ["tmux", "-L", self._socket, "kill-server"], check=False, capture_output=True
        )

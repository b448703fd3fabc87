"""The README's pictures are of this version."""

import subprocess
import sys
from pathlib import Path

TOOL = Path(__file__).parents[2] / "tools" / "screenshots.py"


def test_the_screenshots_show_the_console_as_it_is() -> None:
    """A key that the picture names and the program does not have is the first thing one tries."""
    check = subprocess.run(
        [sys.executable, str(TOOL), "--check", "tasks", "run-80x24"],
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert check.returncode == 0, check.stdout + check.stderr

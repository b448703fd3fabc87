"""The form in a test: a preset to open, the opened form, and what it starts."""

from pathlib import Path

import pytest

from support.console import Driven

COMMAND = """\
name = "short"
command = "echo hello; sleep 60"
[gpu]
count = 0
"""


def written(folder: Path, text: str = COMMAND) -> str:
    """Write a preset, and return its path."""
    path = folder / "short.toml"
    path.write_text(text)
    return str(path)


async def opened(driven: Driven, source: str | None) -> None:
    """Open the form and wait for its first part."""
    driven.app.edit_task(source)
    await driven.until("Description")


def opened_runs(driven: Driven, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note which runs would be shown, without the Run screen."""
    seen: list[str] = []
    monkeypatch.setattr(driven.app, "open_run", seen.append)
    return seen

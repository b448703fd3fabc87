"""The task of a run as it was frozen at its start, for those who only look at it."""

import tomllib
from typing import Any

from sdcore.runs.files import read_plain
from sdcore.runs.paths import RunDir


def read_task(run: RunDir) -> dict[str, Any]:
    """Return the table of a run's task, with its secrets; empty when it cannot be read."""
    try:
        return tomllib.loads(read_plain(run.task).decode("utf-8", "replace"))
    except (OSError, ValueError, RecursionError):
        return {}

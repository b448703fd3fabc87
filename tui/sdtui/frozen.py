"""The task of a run as it was frozen at its start, for those who only look at it."""

import tomllib
from typing import Any

from sdcore.runs.fields import Fields, read_fields
from sdcore.runs.files import read_plain
from sdcore.runs.paths import RunDir
from sdcore.text import clean_line


def surroundings(run: RunDir) -> tuple[str, str] | None:
    """Return the runtime of a run's newest start and why it was chosen, when that was written."""
    fields = read_fields(run.launch) or Fields(None)
    runtime, why = fields.text("runtime"), fields.text("why")
    return (clean_line(runtime, 40), clean_line(why, 400)) if runtime and why else None


def read_task(run: RunDir) -> dict[str, Any]:
    """Return the table of a run's task, with its secrets; empty when it cannot be read."""
    try:
        return tomllib.loads(read_plain(run.task).decode("utf-8", "replace"))
    except (OSError, ValueError, RecursionError):
        return {}

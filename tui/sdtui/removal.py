"""What goes with a run that is removed: told before it is asked for."""

import os
from collections.abc import Sequence
from pathlib import Path

from sdcore import units
from sdcore.runs.paths import RunDir, step_folders
from sdtui.language import _, ngettext

_NAMED = 6  # runs told by name in a question


def what_goes(runs: Sequence[RunDir]) -> str:
    """Name what a removal would take, and its size on disk."""
    lines = [run.id for run in runs[:_NAMED]]
    if len(runs) > _NAMED:
        lines.append(_("and {n} more").format(n=len(runs) - _NAMED))
    saved = sum(len(_steps(run)) for run in runs)
    if saved:
        words = ngettext("{n} checkpoint", "{n} checkpoints", saved)
        lines.append(words.format(n=saved))
    finished = sum(run.finished for run in runs)
    if finished:
        words = ngettext("the trained pipeline", "{n} trained pipelines", finished)
        lines.append(words.format(n=finished))
    size = units.size(sum(size_on_disk(run) for run in runs))
    return "\n".join([*lines, _("{size} on disk; it cannot be brought back").format(size=size)])


def _steps(run: RunDir) -> list[object]:
    try:
        return list(step_folders(run.checkpoints))
    except OSError:  # removed meanwhile
        return []


def size_on_disk(run: RunDir) -> int:
    """Return the bytes that the run's files take; links are not followed."""
    total = 0
    for folder, _folders, names in os.walk(run.root):
        for name in names:
            try:
                total += Path(folder, name).lstat().st_blocks * 512
            except OSError:  # rotated away while it was counted
                continue
    return total

"""What the files of a run tell besides its state: its length, its checkpoints, its last sign."""

from pathlib import Path

from sdcore.runs.fields import Fields, read_fields
from sdcore.runs.paths import RunDir, step_folders

SILENT_S = 600.0  # without a step, an event or a line of log, a run may hang


def total_steps(run: RunDir, rank: Fields) -> int | None:
    """Rank 0 knows best; before it speaks the plan does, for a foreign command perhaps not."""
    return rank.whole("total") or (read_fields(run.launch) or Fields(None)).whole("total_steps")


def newest_checkpoints(run: RunDir) -> "reversed[Path]":
    """Return the checkpoints, newest first, whole or not."""
    try:
        return reversed(step_folders(run.checkpoints))
    except OSError:  # rotated away, or the whole run removed, while it was listed
        return reversed([])


def silent_since(run: RunDir, now: float) -> float | None:
    """Return when the run was last heard of, if that is long ago."""
    heard = last_sign(run)
    return heard if heard is not None and now - heard >= SILENT_S else None


def last_sign(run: RunDir) -> float | None:
    """Return when anything of the training, or its state, was last written."""
    signs = [_modified(path) for path in (run.metrics, run.events, run.state, run.log)]
    return max((sign for sign in signs if sign is not None), default=None)


def _modified(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except OSError:
        return None

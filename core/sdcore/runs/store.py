"""All runs of a person: list them, find one by what was typed, remove one.

What a person types is compared with the names found in the folder and never joined to a path,
so ``../x`` finds nothing instead of something.
"""

import difflib
import os
import re
import shutil
from pathlib import Path

from sdcore.errors import SdError, UsageError
from sdcore.runs import locks
from sdcore.runs.paths import RunDir, runs_root
from sdcore.text import clean_line

_ID = re.compile(r"\d{8}-\d{6}-[A-Za-z0-9][A-Za-z0-9._~-]*")
_REMOVED = ".removed-"  # a run on its way out; hidden, so that no reader meets half a run


def all_runs() -> list[RunDir]:
    """Return every run, newest first; what is no run directory is passed over."""
    try:
        with os.scandir(runs_root()) as entries:
            ids = [
                entry.name
                for entry in entries
                if _ID.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False)
            ]
    except FileNotFoundError:
        return []
    root = runs_root()
    return [RunDir(root / id_) for id_ in sorted(ids, reverse=True)]


def find_run(ref: str) -> RunDir:
    """Return the run a person means.

    In this order: an exact id; the beginning of exactly one id; a name, which means the newest
    run of that name; ``last``, the newest run of all.

    Raises:
        UsageError: No run is meant, or several are.
    """
    runs = all_runs()
    if not runs:
        raise UsageError(
            "there is no run yet",
            cause=f"{runs_root()} holds none",
            remedy="start one, for example: sdtui --run demo",
        )
    starting = [run for run in runs if ref and run.id.startswith(ref)]
    exact = [run for run in starting if run.id == ref]
    if exact or len(starting) == 1:
        return (exact or starting)[0]
    named = [run for run in runs if run.name == ref]
    if named or ref == "last":
        return (named or runs)[0]
    if starting:
        raise _ambiguous(ref, starting)
    raise _unknown(ref, runs)


def _ambiguous(ref: str, runs: list[RunDir]) -> UsageError:
    shown = ", ".join(run.id for run in runs[:5]) + (", …" if len(runs) > 5 else "")
    return UsageError(
        f"{clean_line(ref, 80)!r} can mean {len(runs)} runs",
        cause=f"the ids of all of them begin so: {shown}",
        remedy="type more of the id",
    )


def _unknown(ref: str, runs: list[RunDir]) -> UsageError:
    candidates = list(dict.fromkeys([run.name for run in runs] + [run.id for run in runs]))
    near = difflib.get_close_matches(ref[:128], candidates, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    return UsageError(
        f"no run is called {clean_line(ref, 80)!r}",
        cause="a run is named by its id, the beginning of its id, its name, or last",
        remedy=f"{hint}sdtui ls lists the runs",
    )


def remove_run(run: RunDir) -> None:
    """Delete the folder of a run that is over, whole; links in it are removed, never followed.

    The folder is renamed first, so that a reader sees the run or no run, and the lock is held
    meanwhile, so that nobody resumes what is being deleted.

    Raises:
        UsageError: The run lives, or its folder is no folder of ours.
        SdError: Something in it cannot be deleted.
    """
    from sdcore.runs.status import read_status  # noqa: PLC0415  # a Tab lists runs, and needs none

    if run.root.parent != runs_root() or run.root.is_symlink() or not run.root.is_dir():
        raise UsageError(
            f"{clean_line(run.id)} is not removed",
            cause=f"it is no run directory in {runs_root()}",
            remedy="look at it, and remove it by hand",
        )
    try:
        # A supervisor that has written its record may hold the lock for a moment more.
        lock = locks.take(run.lock, patience=2.0) if read_status(run).over else None
    except FileNotFoundError:
        return  # another removal was quicker
    if lock is None:
        raise UsageError(
            f"{run.id} is not removed",
            cause="the run is alive",
            remedy=f"stop it first: sdtui stop {run.id}",
        )
    try:
        run.root.rename(run.root.with_name(f"{_REMOVED}{run.id}.{os.getpid()}"))
    finally:
        os.close(lock)
    for left in run.root.parent.glob(f"{_REMOVED}*"):  # also those of a removal that was killed
        _delete(left)


def _delete(folder: Path) -> None:
    try:
        shutil.rmtree(folder)  # does not follow links, also not ones put in meanwhile
    except FileNotFoundError:
        pass  # another removal was quicker
    except OSError as error:
        raise SdError(
            f"{folder} cannot be removed in full",
            cause=f"{error.strerror}: {clean_line(str(error.filename))}",
            remedy="correct the permissions, then remove the folder by hand",
        ) from error

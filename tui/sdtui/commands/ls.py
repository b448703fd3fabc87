"""``sdtui ls``: all runs, newest first."""

import argparse
import shutil
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime

from sdcore import units
from sdcore.errors import ExitCode
from sdcore.runs.paths import RunDir
from sdcore.runs.status import Status, read_status
from sdcore.runs.store import all_runs
from sdtui.secrets import mask_of, masked_status, own_secrets, tells
from sdtui.terminal import cells, fit, out, out_json, painted, say, state_sign
from sdtui.words import loss_words, note_words, step_words

_RIGHT = ("STEP", "LOSS", "IMG/S", "GPUS", "ELAPSED", "ETA", "AGE")  # where their text stands
_COLUMNS = ("STATE", "RUN", *_RIGHT)
_NOTE = "NOTE"  # last, in what is left of the line, if a run has one
_LEAST_NOTE = 16  # cells; a note that is narrower says nothing
# What goes first where the terminal is too narrow; the id, which people copy, stays whole.
_DISPENSABLE = ("AGE", "GPUS", "IMG/S", "ELAPSED", "LOSS", "ETA", "STEP")


def run(args: argparse.Namespace) -> int:
    """Write a table, or an array of JSON objects."""
    now = time.time()
    found = [(run_dir, read_status(run_dir, now)) for run_dir in all_runs()]
    own = own_secrets()
    shown = [(r, masked_status(s, mask_of(r, own)) if tells(s) else s) for r, s in found]
    if args.json:
        out_json([{**status.to_record(), "path": r.root} for r, status in shown])
        return 0
    if not shown:
        say("no runs yet; start one, for example: sdtui --run demo")
        return 0
    table = [_row(run_dir, status, now) for run_dir, status in shown]
    states = [status.state for _, status in shown]
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    _write(table, states, width)
    return 0


def _row(run_dir: RunDir, status: Status, now: float) -> dict[str, str]:
    rate = status.images_per_s
    return {
        "STATE": state_sign(status.state, saved=status.exit_code == ExitCode.STOPPED),
        "RUN": run_dir.id,
        "STEP": step_words(status),
        "LOSS": loss_words(status.loss),
        "IMG/S": "–" if rate is None else f"{rate:.3g}",
        "GPUS": str(len(status.gpus)) if status.gpus else "–",
        "ELAPSED": units.duration(status.elapsed),
        "ETA": units.duration(status.eta_s),
        "AGE": _age(now - datetime.timestamp(run_dir.created), run_dir.created),
        _NOTE: note_words(status),
    }


def _age(seconds: float, created: datetime) -> str:
    """Write an age in its largest unit: ``3d``; a clock set back makes none negative."""
    if created == datetime.fromtimestamp(0, UTC):
        return "–"
    return units.duration(seconds).split()[0]


def _write(table: list[dict[str, str]], states: Sequence[str], width: int | None) -> None:
    widths = {name: max(cells(row[name]) for row in table) for name in _COLUMNS}
    widths = {name: max(wide, len(name)) for name, wide in widths.items()}
    note = max(cells(row[_NOTE]) for row in table)
    if width is not None:
        _narrow(widths, width)
        note = min(note, width - sum(widths.values()) - len(widths))
    if note >= (_LEAST_NOTE if width is not None else 1):
        widths[_NOTE] = max(note, len(_NOTE))
    out(" ".join(fit(name, widths[name], right=name in _RIGHT) for name in widths).rstrip())
    for row, state in zip(table, states, strict=True):
        texts = [fit(row[name], widths[name], right=name in _RIGHT) for name in widths]
        texts[0] = painted(texts[0], state, sys.stdout)
        out(" ".join(texts).rstrip())


def _narrow(widths: dict[str, int], width: int) -> None:
    """Drop columns, and at last cut the ids, until a row fits ``width``."""

    def excess() -> int:
        return sum(widths.values()) + len(widths) - 1 - width

    for name in _DISPENSABLE:
        if excess() > 0:
            del widths[name]
    if excess() > 0:
        widths["RUN"] = max(8, widths["RUN"] - excess())

"""Writes what was found into the run's streams, and leaves them to a trainer that writes itself."""

import math
import os
import time
from typing import Any

from sdcore.launch.plan import LaunchPlan
from sdcore.runs.files import LineWriter, read_json
from sdcore.runs.paths import RunDir
from sdcore.supervise.foreign.said import Said
from sdcore.supervise.record import Trouble

_FIELDS = ("epoch", "lr", "grad_norm", "images_per_s", "it_per_s")


class Sink:
    """Appends to ``metrics.jsonl`` and ``events.jsonl``; what a full disk refuses is kept."""

    def __init__(self, run: RunDir, plan: LaunchPlan) -> None:
        self._run, self._attempt = run, plan.attempt
        self._trouble = Trouble(run.metrics.name)
        self._metrics: LineWriter | None = None
        self._size = _size(run)

    @property
    def taken(self) -> bool:
        """Whether the start command writes its metrics itself: ours would be in its way."""
        if self._metrics is not None and self._metrics.behind:
            return False
        return self.built_in or _size(self._run) != self._size

    @property
    def built_in(self) -> bool:
        """Whether it runs the built-in trainer, which announces itself."""
        rank = read_json(self._run.rank(0)) or {}
        return rank.get("attempt") == self._attempt

    def step(self, told: Said, source: str, total: int | None, at: float | None = None) -> None:
        """Write one step."""
        values = {name: getattr(told, name) for name in _FIELDS}
        known = {name: value for name, value in values.items() if value is not None}
        known = {n: v for n, v in known.items() if n == "grad_norm" or math.isfinite(v)}
        head: dict[str, Any] = {"at": at or time.time(), "attempt": self._attempt}
        steps = {"step": told.step, "loss": told.loss} | ({"total": total} if total else {})
        self._trouble.attempt(lambda: self._append(head | steps | known | {"source": source}))

    def catch_up(self) -> None:
        """Write what did not fit before."""
        if self._metrics is not None and self._metrics.behind:
            self._trouble.attempt(self._metrics.flush)
            self._size = _size(self._run)

    def event(self, kind: str, **fields: str) -> None:
        """Write something rare; one that does not fit is lost."""
        record = {"at": time.time(), "attempt": self._attempt, "kind": kind, **fields}
        Trouble(self._run.events.name).attempt(lambda: LineWriter(self._run.events).write(record))

    def _append(self, record: dict[str, Any]) -> None:
        if self._metrics is None:
            self._metrics = LineWriter(self._run.metrics)
        try:
            self._metrics.write(record)
        finally:
            self._size = _size(self._run)


def _size(run: RunDir) -> int:
    try:
        return os.stat(run.metrics).st_size  # noqa: PTH116  # half the price, every half second
    except FileNotFoundError:
        return 0

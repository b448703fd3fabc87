"""The stop ladder: save, SIGTERM, SIGKILL, each with a time limit; decides and does nothing."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Rung = Literal["save", "term", "kill"]
RUNGS: tuple[Rung, ...] = ("save", "term", "kill")

# A host that shuts down sends SIGTERM and soon SIGKILL (systemd: 90 s, often set lower).
HOST_GRACE_S = 20.0
# What a launcher that finished left running gets to end, in seconds; and what the ranks of one
# that was killed get to save.
LEFT_BEHIND_S, ORPHANED_S = 2.0, 10.0


def _height(rung: Rung | None) -> int:
    return -1 if rung is None else RUNGS.index(rung)


@dataclass(slots=True)
class Ladder:
    """Where a run stands on its way to an end. Times are monotonic seconds.

    Attributes:
        stop_grace_s: From the wish to stop until SIGTERM.
        term_grace_s: From SIGTERM until SIGKILL.
        rung: The step being tried; None while nobody wants an end.
        deadline: When the next rung follows; None on the last one.
        by: Who wished the end, of the first wish; None for an end that nobody wished.
        signals: How often the supervisor itself was told to end.
    """

    stop_grace_s: float
    term_grace_s: float
    rung: Rung | None = None
    deadline: float | None = None
    by: str | None = None
    signals: int = 0

    def climb(
        self, now: float, wishes: Mapping[str, Mapping[str, Any]], *, cooperative: bool
    ) -> Rung | None:
        """Take in the wishes and the time; return the rung just entered, or None.

        Args:
            now: Monotonic seconds.
            wishes: The requests that wait, by kind: ``stop``, ``term``, ``kill``.
            cooperative: The trainer reads the wish itself, saves and leaves.
        """
        first: Rung = "save" if cooperative else "term"
        targets: dict[str, Rung] = {"stop": first, "term": "term", "kill": "kill"}
        for kind in ("stop", "term", "kill"):
            if self.by is None and kind in wishes:
                self.by = str(wishes[kind].get("by") or kind)
        for wanted in sorted({targets[kind] for kind in wishes}, key=_height, reverse=True):
            if self._is_above(wanted):
                graces = [_grace(wishes[kind]) for kind in targets if targets[kind] == wanted
                          and kind in wishes]  # fmt: skip
                asked = next((grace for grace in graces if grace is not None), None)
                return self._enter(wanted, now, asked)
        if self.deadline is not None and now >= self.deadline:
            return self._enter(RUNGS[_height(self.rung) + 1], now)
        return None

    def signalled(self, now: float, name: str, *, cooperative: bool) -> Rung | None:
        """Take in a signal to the supervisor: save soon; the second ends, the third kills."""
        self.signals += 1
        self.by = self.by or name
        wanted = RUNGS[min(self.signals - (1 if cooperative else 0), 2)]
        grace = min(self.stop_grace_s, HOST_GRACE_S)
        if self._is_above(wanted):
            return self._enter(wanted, now, grace if wanted == "save" else None)
        if self.deadline is not None:
            self.deadline = min(self.deadline, now + grace)
        return None

    def left_behind(self, now: float, grace: float) -> Rung | None:
        """The launcher is gone, its processes are not: end them, whoever wished it or not."""
        if not self._is_above("term"):
            return None
        self.rung, self.deadline = "term", now + min(grace, self.term_grace_s)
        return "term"

    def _is_above(self, rung: Rung) -> bool:
        return _height(rung) > _height(self.rung)

    def _enter(self, rung: Rung, now: float, asked: float | None = None) -> Rung:
        """Enter ``rung`` for ``asked`` seconds, or for as long as the plan allows."""
        planned = {"save": self.stop_grace_s, "term": self.term_grace_s}.get(rung)
        grace = planned if planned is None or asked is None else asked
        self.rung, self.deadline = rung, None if grace is None else now + grace
        return rung


def _grace(wish: Mapping[str, Any]) -> float | None:
    """Return the seconds until the next rung that a wish names; None for what is no such number."""
    asked = wish.get("grace_s")
    if isinstance(asked, int | float) and math.isfinite(asked) and asked >= 0:
        return float(asked)
    return None

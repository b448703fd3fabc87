"""Which runs the list of tasks shows and in what order: pure, and kept on the app.

It is not in the screen because a screen may be composed anew at any moment, and a filter or a
mark that vanished with it would be a wrong answer.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sdcore.runs.status import Status
from sdtui import phrases
from sdtui.language import N_
from sdtui.theme import GLYPHS

_ORDER = {state: number for number, state in enumerate(GLYPHS)}


def _number(value: float | None) -> tuple[bool, float]:
    """Sort what is not known, or is not a number, behind everything else."""
    known = value is not None and math.isfinite(value)
    return (not known, value if known and value is not None else 0.0)


# By column id: its name, and the key that sorts by it. Newest first is the list's own order.
SORTS: dict[str, tuple[str, Callable[[Status], Any]]] = {
    "age": (N_("age"), lambda status: tuple(-ord(sign) for sign in status.id)),
    "state": (N_("state"), lambda status: _ORDER[status.state]),
    "name": (N_("name"), lambda status: status.name.casefold()),
    "progress": (N_("progress"), lambda status: -(phrases.share(status) or 0.0)),
    "loss": (N_("loss"), lambda status: _number(status.loss)),
    "speed": (N_("images/s"), lambda status: -(status.images_per_s or 0.0)),
    "eta": (N_("ETA"), lambda status: _number(status.eta_s)),
    "elapsed": (N_("elapsed"), lambda status: -(status.elapsed or 0.0)),
    "gpus": (N_("GPUs"), lambda status: -len(status.gpus)),
}


@dataclass(slots=True)
class Listing:
    """How a person looks at the list.

    Attributes:
        words: Each must stand in a run's name, id, or word for its state.
        sort: A key of ``SORTS``.
        reverse: The other way round.
        cursor: The id of the run under the cursor.
        marked: Ids, in the order they were marked.
        figures: Whether steps, speed and times go before the bar and the note.
    """

    words: str = ""
    sort: str = "age"
    reverse: bool = False
    cursor: str | None = None
    marked: tuple[str, ...] = field(default=())
    figures: bool = False

    def rows(self, runs: tuple[Status, ...]) -> list[Status]:
        """Return what is shown of ``runs``, which come newest first."""
        wanted = self.words.casefold().split()
        shown = [run for run in runs if all(word in _haystack(run) for word in wanted)]
        if self.sort != "age":  # a stable sort keeps the newest first among equals
            shown.sort(key=SORTS[self.sort][1])
        return shown[::-1] if self.reverse else shown

    def toggle(self, id_: str) -> None:
        """Mark a run or take its mark away."""
        if id_ in self.marked:
            self.marked = tuple(each for each in self.marked if each != id_)
        else:
            self.marked += (id_,)

    def keep(self, runs: tuple[Status, ...]) -> None:
        """Forget the marks of runs that are gone."""
        there = {run.id for run in runs}
        self.marked = tuple(each for each in self.marked if each in there)

    def sort_by(self, column: str) -> None:
        """Sort by a column; asked again, the other way round."""
        self.reverse = not self.reverse if column == self.sort else False
        self.sort = column


def _haystack(run: Status) -> str:
    return f"{run.id} {run.state} {phrases.state_name(run.state)}".casefold()

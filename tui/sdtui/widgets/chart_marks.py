"""What happened in a run, as marks on the x axis. Pure functions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from sdcore.runs.fields import Fields
from sdtui.live.checkpoints import Checkpoint
from sdtui.live.series import Column
from sdtui.widgets.chart_axes import Range

MarkKind = Literal["saved", "gone", "resumed", "nan"]
_KINDS: dict[str | None, MarkKind] = {"checkpoint": "gone", "resumed": "resumed"}


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that happened.

    Attributes:
        place: Where on the x axis.
        kind: A checkpoint that is on disk, one that was rotated away, a resume, a loss that is
            not finite.
    """

    place: float
    kind: MarkKind


Steps = dict[MarkKind, Column]


def steps_of(events: Sequence[dict[str, Any]], saved: Sequence[Checkpoint]) -> Steps:
    """Return the steps at which something happened, by kind."""
    told: dict[MarkKind, set[int]] = {"gone": set(), "resumed": set()}
    for record in events:
        event = Fields(record)
        kind, step = _KINDS.get(event.text("kind")), event.whole("step")
        if kind is not None and step is not None:
            told[kind].add(step)
    there = {checkpoint.step for checkpoint in saved}
    found: dict[MarkKind, set[int]] = {
        "gone": told["gone"] - there,
        "saved": there,
        "resumed": told["resumed"],
    }
    return {kind: np.array(sorted(steps), dtype=np.float64) for kind, steps in found.items()}


def marks_in(steps: Steps, known: Column, places: Column, view: Range, columns: int) -> list[Mark]:
    """Return the marks in view, one of a kind in each cell.

    Those of files that are gone are left out where they crowd.

    Args:
        steps: Of ``steps_of``; those beyond the last known one a resume made void.
        known: The steps of the curve, rising.
        places: Of these on the x axis.
        view: The part of the axis that is shown.
        columns: Cells that it takes.
    """
    marks = []
    for kind, of_kind in steps.items():
        standing = of_kind[(of_kind > 0) & (of_kind <= known[-1])]
        there = places[np.searchsorted(known, standing)]
        there = there[(there >= view.low) & (there <= view.high)]
        _cells, first = np.unique(
            np.floor((there - view.low) / view.span * columns), return_index=True
        )
        if kind != "gone" or len(first) <= columns // 2:
            marks += [Mark(float(place), kind) for place in there[first]]
    return marks

"""The part of the x axis in view: zoom, pan, and keeping up with a growing end. Pure functions."""

from dataclasses import dataclass, replace

from sdtui.widgets.chart_axes import Range

_NARROWEST = 1e-5  # of the whole axis: as far as one can zoom in


@dataclass(frozen=True, slots=True)
class Closer:
    """Where a person looks closer.

    Attributes:
        run: Id of the run it is of.
        x: What the x axis counts.
        window: The part of it that is shown; None for all of it.
        cursor: The step that is read off.
    """

    run: str = ""
    x: str = "step"
    window: Range | None = None
    cursor: float | None = None

    def at(self, run: str, x: str) -> "Closer":
        """Return the same look where it still makes sense: another run begins anew."""
        if run != self.run:
            return Closer(run, x)
        return self if x == self.x else replace(self, x=x, window=None)


def zoomed(view: Range, factor: float, anchor: float, full: Range) -> Range | None:
    """Return a narrower or, with ``factor`` > 1, wider view; ``anchor`` keeps its place.

    Returns:
        None when it would be the whole axis.
    """
    anchor = min(max(anchor, view.low), view.high)
    span = max(view.span * factor, full.span * _NARROWEST)
    if span >= full.span:
        return None
    low = anchor - (anchor - view.low) / view.span * span
    return within(Range(low, low + span), full)


def within(view: Range, full: Range) -> Range:
    """Return the view moved so that it lies on the axis."""
    low = min(max(view.low, full.low), max(full.low, full.high - view.span))
    return Range(low, low + view.span)


def panned(view: Range, share: float, full: Range) -> Range:
    """Return the view moved by a share of its own span; above 0 towards later steps."""
    by = view.span * share
    return within(Range(view.low + by, view.high + by), full)


def following(view: Range, before: float, last: float, full: Range) -> Range:
    """Return the view that keeps the growing end in it.

    It moves by a third at a time, not with every step: a view that slides sends every cell anew.

    Args:
        view: The part in view.
        before: The last place at the time of the last look.
        last: The last place now.
        full: The whole axis.
    """
    if not view.low <= before <= view.high or last <= view.high:
        return view
    return within(Range(last - view.span * 2 / 3, last + view.span / 3), full)

"""Images that were good when training began and cannot be read any more."""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from sdcore.data import BadImageError
from sdcore.data.buckets import Size
from sdcore.train.latents import Draw

Redraw = Callable[[Draw, int], Draw]
Kind = tuple[bool, Size]
Gather = Callable[[list["Found"]], Sequence[list["Found"]]]


class Found(NamedTuple):
    """An image that went bad, and why."""

    row: int
    name: str
    cause: str


@dataclass
class LateFaults:
    """Leaves such images out, or not, as ``on_bad_image`` says.

    Another image takes the place, the next good one of its kind by row, so that no window is
    short and every process and every resume chooses the same. Where no good one of a size is
    left, those of the next size take all its places: a pass shows one size. An image that is held
    out never takes the place of one that is trained on.

    Attributes:
        skip: Whether to go on without them.
        rows: Of the images that can be used.
        kind: Of each: whether it is held out, and its size.
        bad: The rows found bad so far, by any process as far as that is known here.
        fresh: What this process found, and did not share with the others yet.
    """

    skip: bool
    rows: Sequence[int]
    kind: Callable[[int], Kind]
    bad: frozenset[int] = frozenset()
    fresh: list[Found] = field(default_factory=list)

    @property
    def count(self) -> int:
        """How many images were left out, as all processes know it."""
        return len(self.bad) - len(self.fresh)

    def judge(
        self, error: BadImageError, draws: Sequence[Draw], names: Sequence[str],
        bad: frozenset[int],
    ) -> Found:  # fmt: skip
        """Return the image of ``error``, which can be done without; changes nothing.

        Args:
            error: Of one of ``draws``.
            draws: What could not be shown.
            names: Of their images.
            bad: The rows that are left out already.

        Raises:
            BadImageError: Bad images stop the run, or no good one is left.
        """
        pairs = zip(draws, names, strict=True)
        row = next((draw.row for draw, name in pairs if name == error.name), None)
        if not self.skip or row is None or not self._can_do_without(row, bad | {row}):
            raise error
        return Found(row, error.name, error.cause)

    def take(self, found: Sequence[Found]) -> None:
        """Leave images out from now on."""
        self.bad |= {one.row for one in found}
        self.fresh += found

    def share(self, gather: Gather) -> list[tuple[Found, int]]:
        """Leave out on every process what any has found; called by all alike.

        Args:
            gather: Gives what each process has found.

        Returns:
            Each image once, with how many are left out by then.

        Raises:
            BadImageError: No good image is left.
        """
        known = self.bad - {one.row for one in self.fresh}
        told: list[tuple[Found, int]] = []
        for one in (one for some in gather(self.fresh) for one in some):
            if one.row in known:
                continue
            known |= {one.row}
            if not self._can_do_without(one.row, known):
                raise BadImageError(one.name, one.cause)
            told.append((one, len(known)))
        self.bad, self.fresh = known, []
        return told

    def around(self, draws: Sequence[Draw], captions: Redraw, bad: frozenset[int]) -> list[Draw]:
        """Return ``draws`` with good images alone.

        Args:
            draws: Any.
            captions: Chooses the caption of a draw that is shown another row.
            bad: The rows that are left out.
        """
        return [self._around(draw, captions, bad) if draw.row in bad else draw for draw in draws]

    def _can_do_without(self, row: int, bad: frozenset[int]) -> bool:
        held = self.kind(row)[0]
        return any(other not in bad and self.kind(other)[0] == held for other in self.rows)

    def _around(self, draw: Draw, captions: Redraw, bad: frozenset[int]) -> Draw:
        kind = self.kind(draw.row)
        row = self._next(draw.row, kind, bad)
        if row is None:
            row = self._next(draw.row, self._next_kind(kind, bad), bad)
        assert row is not None
        return captions(replace(draw, row=row), row)

    def _next(self, row: int, kind: Kind, bad: frozenset[int]) -> int | None:
        """Return the next good row of a kind, going round."""
        after = bisect_right(self.rows, row)
        for places in (range(after, len(self.rows)), range(after)):
            for place in places:
                if (other := self.rows[place]) not in bad and self.kind(other) == kind:
                    return other
        return None

    def _next_kind(self, kind: Kind, bad: frozenset[int]) -> Kind:
        """Return the next kind of another size that has a good image; ``judge`` saw to one."""
        good = {self.kind(row) for row in self.rows if row not in bad}
        there = sorted(other for other in good if other[0] == kind[0])
        return next((one for one in there if one > kind), there[0])

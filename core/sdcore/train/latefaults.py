"""Images that were good when training began and cannot be decoded any more."""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from sdcore.data import BadImageError
from sdcore.data.buckets import Size
from sdcore.train.latents import Draw

Redraw = Callable[[Draw, int], Draw]
Kind = tuple[bool, Size]


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
        tell: Told the name, the cause and how many there are by now.
        bad: The rows found bad so far.
    """

    skip: bool
    rows: Sequence[int]
    kind: Callable[[int], Kind]
    tell: Callable[[str, str, int], None]
    bad: set[int] = field(default_factory=set)

    def note(self, error: BadImageError, draws: Sequence[Draw], names: Sequence[str]) -> None:
        """Take the image of ``error`` out, or raise it.

        Raises:
            BadImageError: Bad images stop the run, or no good one is left.
        """
        found = {draw.row for draw, name in zip(draws, names, strict=True) if name == error.name}
        self.bad |= found
        held = {self.kind(row)[0] for row in found}
        good = {self.kind(row)[0] for row in self.rows if row not in self.bad}
        if not self.skip or not found or not held <= good:
            raise error
        self.tell(error.name, error.cause, len(self.bad))

    def around(self, draws: Sequence[Draw], captions: Redraw) -> list[Draw]:
        """Return ``draws`` with good images alone.

        Args:
            draws: Any.
            captions: Chooses the caption of a draw that is shown another row.
        """
        if not self.bad:
            return list(draws)
        return [self._around(draw, captions) for draw in draws]

    def _around(self, draw: Draw, captions: Redraw) -> Draw:
        if draw.row not in self.bad:
            return draw
        kind = self.kind(draw.row)
        row = self._next(draw.row, kind)
        if row is None:
            row = self._next(draw.row, self._next_kind(kind))
        assert row is not None
        return captions(replace(draw, row=row), row)

    def _next(self, row: int, kind: Kind) -> int | None:
        """Return the next good row of a kind, going round."""
        after = bisect_right(self.rows, row)
        for places in (range(after, len(self.rows)), range(after)):
            for place in places:
                if (other := self.rows[place]) not in self.bad and self.kind(other) == kind:
                    return other
        return None

    def _next_kind(self, kind: Kind) -> Kind:
        """Return the next kind of another size that has a good image; ``note`` saw to one."""
        good = {self.kind(row) for row in self.rows if row not in self.bad}
        there = sorted(other for other in good if other[0] == kind[0])
        return next((one for one in there if one > kind), there[0])

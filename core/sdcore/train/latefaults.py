"""Images that were good when training began and cannot be decoded any more."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from sdcore.data import BadImageError
from sdcore.train.latents import Draw

Redraw = Callable[[Draw, int], Draw]


@dataclass
class LateFaults:
    """Leaves such images out, or not, as ``on_bad_image`` says.

    Another image takes the place, the next good one by row, so that no window is short and every
    process and every resume chooses the same.

    Attributes:
        skip: Whether to go on without them.
        rows: Of the images that are trained on.
        tell: Told the name, the cause and how many there are by now.
        bad: The rows found bad so far.
    """

    skip: bool
    rows: Sequence[int]
    tell: Callable[[str, str, int], None]
    bad: set[int] = field(default_factory=set)

    def note(self, error: BadImageError, draws: Sequence[Draw], names: Sequence[str]) -> None:
        """Take the image of ``error`` out, or raise it.

        Raises:
            BadImageError: Bad images stop the run, or no good one is left.
        """
        found = {draw.row for draw, name in zip(draws, names, strict=True) if name == error.name}
        self.bad |= found
        if not self.skip or not found or len(self.bad) == len(self.rows):
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
        start = self.rows.index(draw.row)
        later = (self.rows[(start + i) % len(self.rows)] for i in range(1, len(self.rows)))
        row = next(row for row in later if row not in self.bad)
        return captions(replace(draw, row=row), row)

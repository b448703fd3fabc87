"""From pieces of a log to the steps of a run, in rising order and each once.

What is told was printed: a loss without a step is given the step of the bar that was redrawn right
behind it, as the Hugging Face Trainer does, or none. One loss is followed, under one name: lines
of their own go before bars, which round and skip.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

from sdcore.supervise.foreign.bars import Bar, parse_bar
from sdcore.supervise.foreign.epochs import Epochs
from sdcore.supervise.foreign.lines import parse_line
from sdcore.supervise.foreign.passes import Passes
from sdcore.supervise.foreign.pieces import Piece
from sdcore.supervise.foreign.said import Said
from sdcore.text import clean_line

_FALLS = 5  # lines with far lower steps, one after another, until the steps have begun anew
STARTS_OVER = (
    "the steps in train.log start over, and those of the whole run are not printed; no more are "
    "read. Print global_step, or give a pattern in [metrics]"
)
NO_STEPS = (
    "train.log has losses without the step they belong to, so there is no curve. Print "
    "step=N loss=X, or give a pattern in [metrics]"
)
NO_STEPS_OF_TRANSFORMERS = (
    "train.log has the losses of a Hugging Face Trainer without the step they belong to, which its "
    'progress bar tells, so there is no curve. Set disable_tqdm=False or report_to="tensorboard"'
)
NOT_STEPS = (
    "the progress bar in train.log counts {unit} and not steps, so there is no curve. Put the step "
    "into it: set_postfix(loss=..., step=...), or give a pattern in [metrics]"
)


class Curve:
    """Follows the training in a log.

    Attributes:
        found: What is read, for a person; None until there is a first step.
        trouble: Why nothing more is read, or can be.
        total: Steps of the whole run, when known.
    """

    def __init__(self) -> None:
        self.found: str | None = None
        self.trouble: str | None = None
        self.total: int | None = None
        self._passes, self._epochs = Passes(), Epochs()
        self._last = self._falls = 0
        self._lines = False  # whether lines of their own are followed, not bars
        self._name: str | None = None
        self._bar_kind: str | None = None
        self._paired_total: int | None = None
        self._pending: Said | None = None

    def take(self, piece: Piece) -> Iterator[Said]:
        """Yield the steps that a piece adds, at most two."""
        if piece.kind == "epoch":
            self._passes.epoch_seen(int(piece.text))
            self._epochs.epoch_seen(int(piece.text))
            return
        bar = parse_bar(piece.text)
        pending, self._pending = self._pending, None
        if pending is not None:
            yield from self._paired(pending, bar if piece.kind == "next" else None)
        if piece.kind == "next":
            return
        if bar is not None:
            yield from self._bar(bar)
        if piece.kind == "line":
            yield from self._line(piece.text if bar is None else bar.after)

    def _line(self, text: str) -> Iterator[Said]:
        line = parse_line(text)
        if line.loss is None:
            return
        if line.step is None:
            self._pending = line
            return
        placed = self._epochs.placed(line)
        if self._epochs.lost:
            self.trouble = STARTS_OVER
        if placed is not None:
            yield from self._step(placed, lines=True)

    def _paired(self, line: Said, bar: Bar | None) -> Iterator[Said]:
        """Give a line without a step that of the bar behind it, if that is the training's."""
        if bar is None or bar.said.loss is not None or not bar.steps or bar.total is None:
            self._stepless(NO_STEPS if line.lr is None or line.epoch is None
                           else NO_STEPS_OF_TRANSFORMERS)  # fmt: skip
        elif self._paired_total in {None, bar.total}:
            self._paired_total = bar.total
            rate = line.it_per_s or bar.said.it_per_s
            step = replace(line, step=bar.done, total=bar.total, it_per_s=rate)
            yield from self._step(step, lines=True)

    def _stepless(self, words: str) -> None:
        if self.found is None:
            self.trouble = words

    def _bar(self, bar: Bar) -> Iterator[Said]:
        if bar.said.loss is None:
            if bar.training and bar.steps and self.found is None:
                self.total = bar.total  # for losses that come from elsewhere
            return
        if self._bar_kind is None:
            self._bar_kind = bar.kind
        if bar.kind != self._bar_kind:
            return
        if bar.said.step is not None:
            whole = bar.done == bar.said.step and bar.said.epoch is None  # not of an epoch alone
            total = bar.said.total or (bar.total if whole else None)
            yield from self._step(replace(bar.said, total=total), lines=False)
        elif bar.steps:
            step = self._passes.step(bar, begins_at_zero="v_num" in bar.names)
            if self._passes.lost and not self._lines:
                self.trouble = STARTS_OVER
            if step is not None:
                told = replace(bar.said, step=step, total=self._passes.total)
                yield from self._step(told, lines=False)
        else:
            self._stepless(NOT_STEPS.format(unit=clean_line(bar.unit, 20)))

    def _step(self, told: Said, *, lines: bool) -> Iterator[Said]:
        if not self._is_followed(told, lines=lines) or told.step is None or told.step < 1:
            return
        if self._falls >= _FALLS:
            self.trouble = STARTS_OVER
            return
        if told.step <= self._last:
            # Far below: a rank that lags behind the others has not begun anew.
            self._falls += lines and 2 * told.step < self._last
            return
        self._last, self._falls = told.step, 0
        self.trouble = None
        if told.total is not None or not lines:
            self.total = told.total
        yield told

    def _is_followed(self, told: Said, *, lines: bool) -> bool:
        """Say whether this is the loss that the curve shows; the first one found decides."""
        if self._name is None or (lines and not self._lines):
            self._name, self._lines = told.loss_name, lines
            kind = "its lines show" if lines else "its progress bar shows"
            self.found = f"{kind} {self._name}"
        return told.loss_name == self._name


Match = Callable[[str], "Said | None"]


class Matched:
    """Follows what a pattern of the user's own finds; has what ``Curve`` has.

    Args:
        match: Returns what the pattern finds in a text.
    """

    def __init__(self, match: Match) -> None:
        self.found: str | None = None
        self.trouble: str | None = None
        self.total: int | None = None
        self._match, self._last = match, 0

    def take(self, piece: Piece) -> Iterator[Said]:
        """Yield the step that a piece adds, if any."""
        told = self._match(piece.text) if piece.kind in {"line", "bar"} else None
        if told is not None and told.loss is not None and (told.step or 0) > self._last:
            self._last = told.step or 0
            self.found, self.total = "the pattern of the preset finds it there", told.total
            yield told

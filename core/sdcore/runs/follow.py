"""Following a run: what is new in its streams, and the one true curve of its metrics.

Any number of followers read the same files at once, and none changes them. A caller polls at
most 4 times a second; there is nothing to gain from more.
"""

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, NamedTuple

from sdcore.runs.fields import Fields
from sdcore.runs.files import LineTail
from sdcore.runs.logs import LogReader
from sdcore.runs.paths import RunDir
from sdcore.runs.status import Status, read_status

PERIOD_S = 0.25  # between two polls, at least


class StepMetrics(NamedTuple):
    """One line of ``metrics.jsonl``, as ``events.Metrics`` describes it."""

    at: float
    attempt: int
    step: int
    epoch: float | None
    loss: float
    lr: float | None
    grad_norm: float | None
    images_per_s: float | None
    loss_scale: float | None
    skipped: int | None
    gpu_allocated: int | None
    gpu_peak: int | None
    val_loss: float | None = None
    val_loss_ema: float | None = None
    d: float | None = None
    it_per_s: float | None = None
    total: int | None = None
    source: str | None = None
    bad_images: int | None = None


@dataclass(frozen=True, slots=True)
class Update:
    """What one poll found.

    Attributes:
        status: Read before the streams: when it says the run is over, the streams are complete.
        metrics: New steps in order, none of them since replaced.
        rewound_to: Every earlier step from this one on is void: a resume began before it.
        events: New events of any kind, also of kinds this version does not know.
        log: New lines of the log, clean; empty unless the follower was asked for them.
        first: Whether this was the first poll, which brings all that happened before.
    """

    status: Status
    metrics: tuple[StepMetrics, ...] = ()
    rewound_to: int | None = None
    events: tuple[dict[str, Any], ...] = ()
    log: tuple[str, ...] = ()
    first: bool = False


class Follower:
    """Reads what a run adds to its files.

    Attributes:
        steps: The curve so far, by rising step, each step once: of a step that several attempts
            trained, the last one counts.
    """

    def __init__(self, run: RunDir, log: LogReader | None = None) -> None:
        self.run = run
        self.steps: list[StepMetrics] = []
        self._metrics, self._events, self._log = LineTail(run.metrics), LineTail(run.events), log
        self._first = True

    def poll(self) -> Update:
        """Return what is new; the caller waits ``PERIOD_S`` or more before the next."""
        status = read_status(self.run)
        fresh, rewound = self._merge()
        update = Update(
            status=status,
            metrics=fresh,
            rewound_to=rewound,
            events=tuple(_drain(self._events)),
            log=tuple(self._log_lines(final=status.over)),
            first=self._first,
        )
        self._first = False
        return update

    def _log_lines(self, *, final: bool) -> Iterator[str]:
        """Yield new lines of the log: up to 1 MiB, but all that is left when the run is over."""
        while self._log is not None:
            before = self._log.offset
            yield from self._log.read(final=final)
            if not final or self._log.offset == before:
                return

    def _merge(self) -> tuple[tuple[StepMetrics, ...], int | None]:
        """Take the new lines into ``steps``; return those that stand, and how far it went back."""
        known, restarts = len(self.steps), self._metrics.restarts
        lowest, rewound = known, None
        for record in _drain(self._metrics):
            if self._metrics.restarts != restarts:  # the file was cut: nothing read before counts
                restarts, lowest, known, rewound = self._metrics.restarts, 0, 0, 1
                self.steps.clear()
            line = step_metrics(record)
            if line is not None:
                lowest = min(lowest, self._put(line))
        if lowest < known:
            rewound = self.steps[lowest].step
        return tuple(self.steps[lowest:]), rewound

    def _put(self, line: StepMetrics) -> int:
        """Add one step and return its place; all later steps were those of a given-up attempt."""
        if self.steps and line.attempt < self.steps[-1].attempt:
            return len(self.steps)  # a rank of an ended attempt that wrote late
        if not self.steps or line.step > self.steps[-1].step:
            self.steps.append(line)
            return len(self.steps) - 1
        place = bisect_left(self.steps, line.step, key=attrgetter("step"))
        self.steps[place:] = [line]
        return place


def _drain(tail: LineTail) -> Iterator[dict[str, Any]]:
    """Yield everything that is there now, 1 MiB at a time."""
    while True:
        before = tail.offset
        yield from tail.records()
        if tail.offset == before:
            return


def step_metrics(record: dict[str, Any]) -> StepMetrics | None:
    """Return a line of ``metrics.jsonl`` if it has what every use needs.

    Those are step, attempt, time and loss; what else is missing or of the wrong type is None.
    """
    line = Fields(record)
    at, attempt, step = line.moment("at"), line.whole("attempt"), line.whole("step")
    loss = line.number("loss")
    if at is None or loss is None or not attempt or not step or attempt < 1 or step < 1:
        return None
    return StepMetrics(
        at=at,
        attempt=attempt,
        step=step,
        epoch=line.moment("epoch"),
        loss=loss,
        lr=line.number("lr"),
        grad_norm=line.number("grad_norm"),
        images_per_s=line.number("images_per_s"),
        loss_scale=line.number("loss_scale"),
        skipped=line.whole("skipped"),
        gpu_allocated=line.whole("gpu_allocated"),
        gpu_peak=line.whole("gpu_peak"),
        val_loss=line.number("val_loss"),
        val_loss_ema=line.number("val_loss_ema"),
        d=line.number("d"),
        it_per_s=line.number("it_per_s"),
        total=line.whole("total"),
        source=line.text("source"),
        bad_images=line.whole("bad_images"),
    )

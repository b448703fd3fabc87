"""Reads one open run for the screens: every file of it that they show, once a tick."""

from collections.abc import Callable
from typing import Any, TypeVar

from sdcore.runs.files import LineTail
from sdcore.runs.logs import Mask
from sdcore.runs.paths import RunDir
from sdcore.runs.status import read_status
from sdcore.text import clean, clean_line
from sdtui.live.checkpoints import checkpoints
from sdtui.live.curve import EMPTY, CurveReader
from sdtui.live.gpu_nodes import NodesReader
from sdtui.live.samples import SampleReader
from sdtui.live.snapshot import RunSnapshot
from sdtui.secrets import mask_of, masked, masked_status, tells
from sdtui.told import told

T = TypeVar("T")


class RunReader:
    """Follows one run; holds no descriptor between two polls.

    Attributes:
        trouble: What could not be read in the last poll, in words; the rest was.
    """

    def __init__(self, run: RunDir) -> None:
        self.run = run
        self._curve, self._samples = CurveReader(run), SampleReader(run)
        self._gpu = NodesReader(run)
        self._tail = LineTail(run.events)
        self._events: tuple[dict[str, Any], ...] = ()
        self._mask: Mask | None = None
        self.trouble = ""

    def poll(self) -> RunSnapshot:
        """Return the run as it is now."""
        status = read_status(self.run)  # first: when it says over, the rest is complete
        if tells(status):
            status = masked_status(status, self._masking())
        self.trouble = ""
        nothing: tuple[dict[str, Any], ...] = ()
        fresh = self._read(lambda: tuple(map(self._shown, self._tail.records())), nothing)
        if fresh:
            self._events += fresh
        return RunSnapshot(
            run=self.run,
            status=status,
            curve=self._read(self._curve.poll, EMPTY),
            events=self._events,
            gpu=self._gpu.poll(),
            samples=self._samples.poll(),
            checkpoints=checkpoints(self.run, self._events),
        )

    def _read(self, poll: Callable[[], T], nothing: T) -> T:
        """Return what ``poll`` finds; one file that cannot be read must not hide the others."""
        try:
            return poll()
        except OSError as error:
            self.trouble = self.trouble or told(str(error))
            return nothing

    def close(self) -> None:
        """Stop what still reads in the background."""
        self._curve.close()
        self._gpu.close()

    def _shown(self, record: dict[str, Any]) -> dict[str, Any]:
        """Return an event without what must not reach a screen."""
        return {key: masked(_clean(value), self._masking()) for key, value in record.items()}

    def _masking(self) -> Mask:
        """Return what masks the run's secrets; its task is frozen, so it is read once."""
        if self._mask is None:
            self._mask = mask_of(self.run)
        return self._mask


def _clean(value: Any) -> Any:
    """Return plain data with every text in it clean."""
    if isinstance(value, dict):
        return {clean_line(str(key), 80): _clean(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_clean(item) for item in value]
    return clean(value, 2000) if isinstance(value, str) else value

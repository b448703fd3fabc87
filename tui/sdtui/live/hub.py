"""The one background thread of the console: looks at the runs and hands on what it sees.

Nothing it meets in a file can end it: an error becomes a message on the screen and the next look
comes a tick later. It posts only what differs from the last view, so an idle console sends nothing.
"""

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from sdcore.errors import SdError
from sdcore.runs.paths import RunDir, runs_root
from sdtui.live.catalogue import Catalogue
from sdtui.live.snapshot import View
from sdtui.told import told, told_of

if TYPE_CHECKING:  # loaded by the thread, when a run is opened: NumPy is not for the first paint
    from sdtui.live.curve import Curve, CurveReader
    from sdtui.live.reader import RunReader
    from sdtui.live.samples import SampleReader, SampleSet

MOST_OVERLAYS = 6


class Listener(NamedTuple):
    """Whom the hub tells, always from its thread."""

    post: Callable[[View], None]  # every view that differs from the one before
    trouble: Callable[[str], object]  # the words of a problem, once until it changes
    broken: Callable[[Exception], object]  # last, an error that is a bug of ours


class Hub:
    """Follows all runs a little, and one run in full.

    Started before anybody listens, it waits with its first view in hand.

    Args:
        period_s: Seconds between two looks; may be changed at any time.
    """

    def __init__(self, period_s: float) -> None:
        self.period_s = period_s
        self._heard_by = Listener(_nobody, _nobody, _nobody)
        self._listened = threading.Event()
        self._catalogue = Catalogue()
        self._reader: RunReader | None = None
        self._overlays: dict[str, CurveReader] = {}
        self._wish: RunDir | None = None
        self._pictures: dict[str, SampleReader] = {}
        self._wish_over: tuple[str, ...] = ()
        self._wish_samples = False
        self._wake, self._ended = threading.Event(), threading.Event()
        self._view, self._told = View(), ""
        self._thread = threading.Thread(target=self._work, name="sdtui-hub", daemon=True)

    def start(self) -> None:
        """Begin to look, unless that was done."""
        if not self._thread.is_alive():
            self._thread.start()

    def listen(self, listener: "Listener") -> None:
        """Have everything handed on from now on, beginning with what was seen before."""
        self._heard_by = listener
        self._listened.set()

    def _listener(self) -> "Listener":
        """Return who listens; at the start, wait for somebody."""
        self._listened.wait()
        return self._heard_by

    def stop(self) -> None:
        """End the thread; it may still be inside one call of ``post``."""
        self._ended.set()
        self._listened.set()
        self._wake.set()

    @property
    def run(self) -> RunDir | None:
        """The run that is followed in full."""
        return self._wish

    @staticmethod
    def run_of(id_: str) -> RunDir:
        """Return the run with this id."""
        return RunDir(runs_root() / id_)

    def open(self, id_: str | None) -> None:
        """Follow a run in full from the next look on, which comes at once."""
        self._wish = None if id_ is None else self.run_of(id_)
        self.look()

    def overlay(self, ids: tuple[str, ...], *, samples: bool = False) -> None:
        """Read the curves of these runs, too, and perhaps their pictures; ``MOST_OVERLAYS``."""
        self._wish_over, self._wish_samples = ids[:MOST_OVERLAYS], samples
        self.look()

    def look(self) -> None:
        """Look now: something was just changed."""
        self._wake.set()

    def _work(self) -> None:
        while not self._ended.is_set():
            try:
                self._look()
                self._tell(self._reader.trouble if self._reader else "")
            except (OSError, ValueError) as error:
                self._tell(told(str(error)))
            except SdError as error:
                self._tell(told_of(told_of(error.what, error.cause), error.remedy))
            except Exception as error:  # noqa: BLE001  # told by ending the console with it
                self._listener().broken(error)
                break
            self._wake.wait(self.period_s)
            self._wake.clear()
        self._close(self._reader)
        for overlay in self._overlays.values():
            overlay.close()

    def _tell(self, words: str) -> None:
        """Tell a problem once, until it changes."""
        told, self._told = self._told, words
        if words and words != told:
            self._listener().trouble(words)

    def _look(self) -> None:
        wish = self._wish
        if (self._reader.run if self._reader else None) != wish:
            self._close(self._reader)
            self._reader = _reader_of(wish) if wish else None
            # The old run must not stand on the screen while the new one is read.
            self._view = self._view._replace(run=None)
        view = View(
            runs=self._catalogue.poll(),
            run=self._reader.poll() if self._reader else None,
            overlays=self._curves(),
            samples=self._samples(),
        )
        if view == self._view:
            return
        listener = self._listener()
        if not self._ended.is_set():
            self._view = view
            listener.post(view)

    def _curves(self) -> "tuple[tuple[str, Curve], ...]":
        wished = self._wish_over
        for id_ in [id_ for id_ in self._overlays if id_ not in wished]:
            self._overlays.pop(id_).close()
        for id_ in wished:
            if id_ not in self._overlays:
                from sdtui.live.curve import CurveReader  # noqa: PLC0415  # see above

                self._overlays[id_] = CurveReader(self.run_of(id_))
        return tuple((id_, self._overlays[id_].poll()) for id_ in wished)

    def _samples(self) -> "tuple[tuple[str, tuple[SampleSet, ...]], ...]":
        wished = self._wish_over if self._wish_samples else ()
        known, self._pictures = self._pictures, {}
        for id_ in wished:
            from sdtui.live.samples import SampleReader  # noqa: PLC0415  # see above

            self._pictures[id_] = known.get(id_) or SampleReader(self.run_of(id_))
        return tuple((id_, reader.poll()) for id_, reader in self._pictures.items())

    @staticmethod
    def _close(reader: "RunReader | None") -> None:
        if reader is not None:
            reader.close()


def _reader_of(run: RunDir) -> "RunReader":
    from sdtui.live.reader import RunReader  # noqa: PLC0415  # see above

    return RunReader(run)


def _nobody(_said: object) -> None:
    """Hear nothing: whom a hub tells that is stopped before anybody listened."""

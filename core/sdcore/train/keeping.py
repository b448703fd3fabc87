"""What the loop does to never lose a state: saves on time, waits when it must, tells how it went.

Called by all ranks alike; rank 0 copies and writes, the others wait for the copy. A full disk
pauses the training until there is room: the state is in memory, and so are the lines of the
streams that could not be written. The other ranks are told all the while that rank 0 is there.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TypeVar

from sdcore.errors import SdError
from sdcore.runs import requests
from sdcore.runs.files import is_full
from sdcore.train.checkpoint import DiskFullError, Progress, Saved, check_space
from sdcore.train.parts import Part
from sdcore.train.saving import Saver
from sdcore.train.session import Job
from sdcore.train.world import Beat
from sdcore.units import duration, size

_LOOK = 3.0  # s between two looks whether there is room
_TICK = 0.25  # s between two looks whether to stop
_REMIND = 60.0  # s between two lines that say that the run waits: a silent one may hang

_T = TypeVar("_T")


class Keeper:
    """Saves the parts of a training.

    Args:
        job: Where to, and whom to tell.
        parts: What a checkpoint is made of.

    Attributes:
        saved: Step of the newest checkpoint, on disk or on its way.
    """

    def __init__(self, job: Job, parts: Sequence[Part]) -> None:
        self.saved: int | None = None
        self._job = job
        self._saver = Saver(
            job.places.checkpoints, job.spec.checkpoints_total_limit, parts, job.world.device
        )
        self._flying: int | None = None  # the step on its way; the same on every rank
        self._copying = 0.0  # s that its copy took
        self._told_why = False
        self._record_due = False

    @property
    def due(self) -> bool:
        """Whether this rank needs a ``settle``: a save has ended, or lines wait for the disk."""
        return self._job.world.leads and (self._saver.landed or self._behind)

    def check_space(self) -> None:
        """Refuse to start what cannot save its first checkpoint.

        Raises:
            DiskFullError: It has no room.
        """
        self._job.world.lead(lambda: check_space(self._saver.parent, self._saver.size))

    def save(self, progress: Progress, *, wait: bool, must: bool) -> None:
        """Save a checkpoint, unless this step has one.

        Args:
            progress: The state of now.
            wait: Return when it is on disk, not when it is copied.
            must: A failure ends the training: the state would be lost. Otherwise it is a
                warning, and the last good checkpoint stays. Only with ``wait``.

        Raises:
            SdError: It failed and ``must``.
        """
        if self.saved != progress.step:
            self.settle()
            self._job.report.phase("saving")
            begun = time.monotonic()
            alone = self._job.world.lead(lambda: self._begin(progress))
            self.saved = self._flying = progress.step
            self._copying = time.monotonic() - begun
            wait = wait or not alone
        if wait:
            self.settle(must=must)

    def settle(self, *, must: bool = False) -> None:
        """Wait for the save on its way, if there is one, and tell how it ended.

        Where the disk is full, wait for room.

        Raises:
            SdError: It failed and ``must``; or a stop was asked for while the disk was full.
        """
        if self._flying is not None:
            step, self._flying = self._flying, None
            begun = time.monotonic()
            try:
                saved = self._job.world.lead_long(self._landed)
            except SdError as error:
                self.saved = None
                if must or isinstance(error, DiskFullError):
                    raise
                self._warn(error)
            else:
                self._tell(step, saved, time.monotonic() - begun)
        if self._record_due:
            self._record()
        self._job.world.lead_long(self._catch_up)

    def with_room(self, work: Callable[[], _T]) -> _T:
        """Do ``work`` on rank 0; while it fails for a full disk, wait and do it again.

        Raises:
            SdError: It failed for another reason; or a stop was asked for while the disk was full.
        """
        return self._job.world.lead_long(lambda beat: self._with_room(work, beat))

    def abandon(self) -> None:
        """Let a save on its way end, when this rank leaves by an error and others may be gone."""
        if self._flying is None or not self._saver.busy:
            return
        begun = time.monotonic()
        try:
            saved = self._saver.wait()
        except SdError as error:
            self._warn(error)
        else:
            self._tell(self._flying, saved, time.monotonic() - begun)

    def _begin(self, progress: Progress) -> bool:
        """Copy and start writing; say whether training may go on meanwhile."""
        copied = self._saver.copy(progress)
        if copied.because is not None and not self._told_why:
            self._told_why = True
            self._job.report.choice("saving", "training waits for the disk", copied.because)
        self._saver.start(copied.contents)
        return copied.alone

    def _tell(self, step: int, saved: Saved, waited: float) -> None:
        job, stall = self._job, self._copying + waited
        job.record.checkpoint = job.places.shown(saved.path)
        self._record()
        job.report.event(
            "checkpoint", step=step, path=job.record.checkpoint, size=saved.size,
            seconds=saved.seconds, stall=stall,
        )  # fmt: skip
        job.report.say(
            f"saved {job.record.checkpoint}  {size(saved.size)} in "
            f"{duration(saved.seconds)}, training waited {duration(stall)}"
        )

    def _warn(self, error: SdError) -> None:
        if self._job.world.leads:
            self._job.report.warn(f"{error.what}: {error.cause}; training goes on")

    @property
    def _behind(self) -> bool:
        return self._record_due or self._job.report.behind

    def _record(self) -> None:
        """Write this rank's record; on a full disk later."""
        try:
            self._job.record.write("running", "")
        except OSError as error:
            if not is_full(error):
                raise
            self._record_due = True
        else:
            self._record_due = False

    def _landed(self, beat: Beat) -> Saved:
        return self._with_room(lambda: self._saver.wait(beat), beat)

    def _catch_up(self, beat: Beat) -> None:
        """Write what a full disk did not take; wait until it does, or until a stop is asked for."""
        if self._behind:
            with suppress(DiskFullError):  # of a stop: what is more than lines is still to be saved
                self._with_room(self._write_lines, beat)

    def _write_lines(self) -> None:
        if self._record_due:
            self._record()
        if not self._job.report.catch_up() or self._record_due:
            raise DiskFullError(
                "the streams of the run could not be written",
                cause="the disk is full",
                remedy=f"free space in {self._job.places.run.root}",
            )

    def _with_room(self, work: Callable[[], _T], beat: Beat) -> _T:
        try:
            return work()
        except DiskFullError as error:
            return self._wait_for_room(work, beat, error)

    def _wait_for_room(self, work: Callable[[], _T], beat: Beat, error: SdError) -> _T:
        report, begun = self._job.report, time.monotonic()
        report.phase("paused")
        report.warn(f"{error.what}: {error.cause}; training waits for room: {error.remedy}")
        looked = told = begun
        while not self._stop_asked():
            time.sleep(_TICK)
            beat()
            now = time.monotonic()
            if now - told >= _REMIND:
                told = now
                report.phase("paused")
            if now - looked < _LOOK:
                continue
            looked = now
            try:
                result = work()
            except DiskFullError as again:
                error = again
                continue
            report.say(f"there is room again: training waited {duration(now - begun)}")
            return result
        raise DiskFullError(
            error.what,
            cause=f"{error.cause}, and a stop was asked for while training waited for room",
            remedy=error.remedy,
        )

    def _stop_asked(self) -> bool:
        run = self._job.places.run
        return self._job.stop.by is not None or requests.pending(run, "stop") is not None

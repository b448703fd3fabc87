"""The GPUs of one run: waited for, taken, sampled once a second into ``gpu.jsonl``."""

import os
import time
from pathlib import Path

from sdcore.errors import NotReadyError
from sdcore.gpu.samples import Unavailable, to_line
from sdcore.launch.plan import LaunchPlan
from sdcore.runs.paths import RunDir
from sdcore.supervise import gpus
from sdcore.supervise.record import LineFile
from sdcore.supervise.sampling import GpuSampler, Reading

# A run without GPUs hides those of the host from the trainer, and reads none.
NO_GPUS = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": ""}


def given_gpus() -> dict[str, str]:
    """Return the variables that hand on the devices of a cluster's job, also to a container.

    Slurm numbers them in PCI order; CUDA by itself begins with the fastest.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return {}
    return {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": visible}


class Devices:
    """Made for a run that wants GPUs; ``fileno()`` tells when there is something to ``take``.

    Attributes:
        uuids: The devices of the run; empty while it waits.
        peak: Most memory in use on any one of them, in bytes.
        note: What a person should know about the choice.
    """

    def __init__(
        self, run: RunDir, plan: LaunchPlan, folder: Path, path: Path | None = None
    ) -> None:
        self._run, self._plan, self._folder = run, plan, folder
        self._visible = {**os.environ, **plan.env}.get("CUDA_VISIBLE_DEVICES")
        self._sampler = GpuSampler()
        self._lines = LineFile(path or run.gpu)
        self._claim: gpus.Claim | None = None
        self._waits = False
        self._blind: str | None = None  # the reason for no readings that was written last
        self.uuids: list[str] = []
        self.peak: int | None = None
        self.note: str | None = None

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        return self._sampler.fileno()

    def ask(self) -> None:
        """Have the devices read: ours, or all of them while we wait."""
        self._sampler.ask(self.uuids or None)

    def take(self) -> Reading | None:
        """Return a new reading, recorded, if there is one."""
        reading = self._sampler.take()
        if isinstance(reading, Unavailable):
            if reading.reason != self._blind:  # one line for a silence, however long
                self._lines.write(reading.to_record(time.time()))
            self._blind = reading.reason
        elif reading is not None:
            self._blind = None
            if self.uuids:
                self._lines.write(to_line(reading, time.time()))
                used = [each.memory_used for each in reading if each.memory_used is not None]
                self.peak = max([*used, self.peak or 0]) if used else self.peak
        return reading

    def claim(self, reading: Reading) -> str | gpus.Claim:
        """Take the GPUs of the run, or say what it waits for.

        Raises:
            NotReadyError: At the first look, when waiting would not help.
        """
        try:
            if isinstance(reading, Unavailable):
                raise gpus.no_readings(reading)
            devices = gpus.usable(self._plan, reading, self._visible)
        except NotReadyError as error:
            if not self._waits:
                raise
            return f"{error.what}: {error.cause}"  # it was there, and may come back
        self._waits = True
        answer = gpus.try_claim(self._run, self._plan, devices, self._folder)
        if isinstance(answer, gpus.Claim):
            self._claim, self.uuids = answer, list(answer.uuids)
            names = {each.name for each in devices if each.uuid in self.uuids}
            self.note = gpus.other_type(self._plan.gpu_type, names)
        return answer

    def adopt(self, reading: Reading) -> bool:
        """Take the devices that a cluster's job was given; say whether they are just known.

        Nothing is locked: whoever gave them keeps others away.
        """
        if self.uuids or isinstance(reading, Unavailable):
            return False
        known = [each for each in reading if each.uuid is not None and not each.lost]
        # Inside a control group the driver may show the job's devices alone, numbered anew.
        if len(known) > self._plan.gpu_count:
            known = [each for each in known if gpus.is_visible(each, self._visible)]
        self.uuids = [each.uuid for each in known if each.uuid is not None]
        return bool(self.uuids)

    def release(self) -> None:
        """Give the devices to whoever waits next."""
        if self._claim is not None:
            self._claim.release()

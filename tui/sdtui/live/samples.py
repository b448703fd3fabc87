"""The pictures a run drew of its prompts.

``samples.json`` is written by the trainer, but a run directory may come from anywhere: a name in
it leads to a file in its own folder, or to none.
"""

import stat
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdcore.runs.fields import Fields
from sdcore.runs.files import read_json
from sdcore.runs.logs import Mask
from sdcore.runs.paths import RunDir, step_folders, step_of
from sdtui.secrets import mask_of

_MOST = 512  # pictures of one step
_LONGEST = 4 << 20  # bytes of samples.json
_SETTLED_NS = 2_000_000_000  # a folder changed more recently may change within the same tick


@dataclass(frozen=True, slots=True)
class Sample:
    """One picture.

    Attributes:
        path: The PNG file.
        prompt: What it shows; clean, without secrets.
        weights: ``raw``, ``ema`` or ``base``.
        seed: Of its noise.
    """

    path: Path
    prompt: str
    weights: str
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class SampleSet:
    """The pictures of one step, in the order of the prompts."""

    step: int
    samples: tuple[Sample, ...]

    @property
    def weights(self) -> tuple[str, ...]:
        """The kinds of weights that drew here, in the order of the file."""
        return tuple(dict.fromkeys(sample.weights for sample in self.samples))

    def of(self, weights: str) -> tuple[Sample, ...]:
        """Return the pictures of one kind of weights; of the first kind where there are none."""
        found = tuple(sample for sample in self.samples if sample.weights == weights)
        return found or tuple(s for s in self.samples if s.weights == self.samples[0].weights)


class SampleReader:
    """Lists the pictures of one run; ``poll`` returns an equal tuple while nothing is new."""

    def __init__(self, run: RunDir) -> None:
        self._run, self._folder = run, run.samples
        self._stamp: tuple[int, int] | None = None
        self._known: dict[str, tuple[tuple[int, int], SampleSet]] = {}
        self._sets: tuple[SampleSet, ...] = ()

    def poll(self) -> tuple[SampleSet, ...]:
        """Return the sets by rising step."""
        stamp = _stamp(self._folder)
        if stamp is None:
            self._sets, self._known, self._stamp = (), {}, None
        elif stamp != self._stamp:
            self._sets = self._list()
            settled = time.time_ns() - stamp[0] > _SETTLED_NS
            self._stamp = stamp if settled else None
        return self._sets

    def _list(self) -> tuple[SampleSet, ...]:
        try:
            folders = step_folders(self._folder)
        except OSError:  # removed while it was listed
            return self._sets
        known, self._known = self._known, {}
        mask = mask_of(self._run) if folders else Mask()
        for folder in folders:
            stamp = _stamp(folder)
            if stamp is None:
                continue
            before = known.get(folder.name)
            found = before[1] if before is not None and before[0] == stamp else _read(folder, mask)
            if found is not None:
                self._known[folder.name] = (stamp, found)
        by_step = {found.step: found for _stamp_of, found in self._known.values()}
        return tuple(by_step.values())


def _stamp(folder: Path) -> tuple[int, int] | None:
    """Return what changes with a folder's content; None when it is no folder, or a link to one."""
    try:
        found = folder.lstat()
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_ino) if stat.S_ISDIR(found.st_mode) else None


def _read(folder: Path, mask: Mask) -> SampleSet | None:
    listing = folder / "samples.json"
    try:
        told = listing.lstat()
    except OSError:
        return None
    if not stat.S_ISREG(told.st_mode) or told.st_size > _LONGEST:
        return None
    record = read_json(listing) or {}
    # Called "samples" before the trainer drew raw and averaged weights.
    listed = record.get("images", record.get("samples"))
    step = step_of(folder)
    if step is None or not isinstance(listed, list):
        return None
    found = (_sample(folder, entry, mask) for entry in listed[:_MOST] if isinstance(entry, dict))
    samples = tuple(sample for sample in found if sample is not None)
    return SampleSet(step, samples) if samples else None


def _sample(folder: Path, entry: dict[str, Any], mask: Mask) -> Sample | None:
    fields = Fields(entry)
    name = fields.raw("file")
    if name is None or name in {".", ".."} or "/" in name or len(name) > 255:
        return None
    path = folder / name
    try:
        is_file = stat.S_ISREG(path.lstat().st_mode)  # a link may lead anywhere
    except (OSError, ValueError):
        return None
    if not is_file:
        return None
    weights = (fields.text("weights") or "raw")[:20]
    return Sample(path, mask(fields.text("prompt") or ""), weights, fields.whole("seed"))

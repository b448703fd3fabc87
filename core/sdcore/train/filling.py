"""Fills the caches of images before a training: each is read, decoded and encoded once."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import PIL
import torch
from torch import Tensor

from sdcore.data import BadImageError, DataIndex
from sdcore.errors import NotReadyError
from sdcore.task.train_spec import TrainSpec
from sdcore.train.cache import PackWriter, Place, RecordStore, key_of
from sdcore.train.encoder import MomentsEncoder
from sdcore.train.images import RULE_VERSION, square
from sdcore.train.records import record_bytes, to_record
from sdcore.train.survey import Seen, Survey, in_order

Progress = Callable[[int, int], None]

_AHEAD = 32  # images decoded before they are needed: 25 MB at 512 px


@dataclass(frozen=True, slots=True)
class Share:
    """This process among those that fill the caches together."""

    rank: int
    world_size: int
    barrier: Callable[[], None]


@dataclass(frozen=True, slots=True)
class _Ready:
    seen: Seen
    pixels: Tensor | None  # (3, R, R); None for an image that cannot be used
    fault: BadImageError | None


class Filler:
    """The work of ``latents.build_latents``, step by step.

    Args:
        index: The data.
        spec: How images become squares, and what to do about bad ones.
        encoder: Gives the moments.
        cache_root: The folder of all caches.
        progress: Told (done, total) of this rank's share.
    """

    def __init__(
        self,
        index: DataIndex,
        spec: TrainSpec,
        encoder: MomentsEncoder,
        cache_root: Path,
        progress: Progress,
    ) -> None:
        self._index, self._spec, self._encoder = index, spec, encoder
        self._progress = progress
        self._root = cache_root
        self._survey = Survey(index, cache_root)
        self._flips = (False, True) if spec.random_flip else (False,)

    def look_at_all(self, pool: ThreadPoolExecutor, share: Share) -> None:
        """Decode every image that was never looked at.

        Raises:
            NotReadyError: A bad image, unless they are skipped.
        """
        self._look(pool, self._own(self._survey.unknown(), share))
        share.barrier()
        self._survey.load()
        self._look(pool, self._survey.unknown())  # of ranks that share no disk with this one

    def encode_all(self, pool: ThreadPoolExecutor, share: Share) -> RecordStore:
        """Encode every image whose moments are not in the cache, and return the cache.

        Raises:
            NotReadyError: A bad image, unless they are skipped; or no room.
        """
        size = record_bytes(self._encoder.shape, self._encoder.dtype)
        rule = key_of(self._encoder.hash, f"{RULE_VERSION} {PIL.__version__}").hex()[:32]
        store = RecordStore(self._root / "latents" / rule, size)
        missing = self._missing(store)
        store.need(len(missing) * len(self._flips))
        self._encode(pool, store, self._own(missing, share))
        share.barrier()
        self._survey.load()
        store.refresh()
        self._encode(pool, store, self._missing(store))  # as in look_at_all
        store.refresh()
        return store

    def all_square(self) -> bool:
        """Tell whether a random crop has no choice in any image; all were looked at."""
        return self._survey.all_square(self._spec.resolution)

    def usable(self, on_skip: Callable[[str], None]) -> list[int]:
        """Return the rows to train on, rising; all were looked at.

        Raises:
            NotReadyError: A bad image, unless they are skipped; or none is left.
        """
        rows = []
        for row in range(len(self._index)):
            fault = self._survey.fault(row, self._spec.resolution)
            if fault is None:
                rows.append(row)
                continue
            self._stop_at(fault)
            on_skip(fault.name)
        if not rows:
            raise NotReadyError(
                f"no image of {self._index.source} can be used",
                cause=f"all {len(self._index):,} were left out as bad",
                remedy='set train.on_bad_image = "stop" to see what is wrong with the first',
            )
        return rows

    def places(self, store: RecordStore, rows: Sequence[int]) -> list[Place]:
        """Return where the moments of ``rows`` are: plain, then mirrored, row by row."""
        found = [store.place(self._key(row, flip)) for row in rows for flip in self._flips]
        if None in found:
            raise NotReadyError(
                f"records are missing from the cache folder {store.folder}",
                cause="it was emptied while it was being filled",
                remedy="start again",
            )
        return [place for place in found if place is not None]

    def _look(self, pool: ThreadPoolExecutor, rows: Sequence[int]) -> None:
        # Only what was found comes back: 32 decoded photographs would be gigabytes.
        seen = in_order(pool, lambda row: self._survey.look(row)[0], rows, _AHEAD)
        with self._survey.writer() as writer:
            for done, one in enumerate(seen, 1):
                self._stop_at(one.fault)
                self._survey.add(one, writer)
                self._progress(done, len(rows))

    def _encode(self, pool: ThreadPoolExecutor, store: RecordStore, rows: Sequence[int]) -> None:
        batch: dict[bytes, tuple[str, Tensor]] = {}
        written: set[bytes] = set()
        with self._survey.writer() as survey, store.writer() as writer:
            ready = in_order(pool, self._prepare, rows, max(_AHEAD, self._encoder.batch))
            for done, one in enumerate(ready, 1):
                self._stop_at(one.fault)
                self._survey.add(one.seen, survey)
                # Only now is the content known: a moved or doubled image needs no encoding.
                batch |= self._wanted(one, store, written)
                if len(batch) >= self._encoder.batch or (batch and done == len(rows)):
                    self._write(batch, writer)
                    written |= batch.keys()
                    batch.clear()
                self._progress(done, len(rows))

    def _wanted(
        self, one: _Ready, store: RecordStore, written: set[bytes]
    ) -> dict[bytes, tuple[str, Tensor]]:
        """Return what of an image is in no record yet: its name and pixels by key."""
        if one.pixels is None:
            return {}
        keys = {self._key(one.seen.row, flip): flip for flip in self._flips}
        name = self._index.rows[one.seen.row].name
        return {
            key: (name, one.pixels.flip(-1) if flip else one.pixels)
            for key, flip in keys.items()
            if key not in store and key not in written
        }

    def _prepare(self, row: int) -> _Ready:
        seen, image = self._survey.look(row)
        if image is None:
            return _Ready(seen, None, seen.fault)
        spec, name = self._spec, self._index.rows[row].name
        mode = spec.image_interpolation_mode
        try:
            pixels = square(image, name, spec.resolution, mode, crop=None, flip=False)
        except BadImageError as fault:
            return _Ready(seen, None, fault)
        return _Ready(seen, pixels, None)

    def _write(self, batch: dict[bytes, tuple[str, Tensor]], writer: PackWriter) -> None:
        pixels = torch.stack([pixels for _, pixels in batch.values()])
        moments = self._encoder.encode(pixels, [name for name, _ in batch.values()]).cpu()
        for key, record in zip(batch, moments, strict=True):
            writer.put(key, to_record(record))

    def _missing(self, store: RecordStore) -> list[int]:
        return [row for row in range(len(self._index)) if self._lacks(store, row)]

    def _lacks(self, store: RecordStore, row: int) -> bool:
        if not self._survey.known(row):
            return True
        if not self._survey.trains(row, self._spec.resolution):
            return False
        return any(self._key(row, flip) not in store for flip in self._flips)

    def _key(self, row: int, flip: bool) -> bytes:
        spec = self._spec
        rule = f"{spec.resolution} {spec.image_interpolation_mode} center {int(flip)}"
        return key_of(self._survey.content(row), rule)

    def _own(self, rows: Sequence[int], share: Share) -> list[int]:
        """Return this rank's part: by row number, so that no rank need know what others found."""
        return [
            row for row in rows if row % share.world_size == share.rank or self._survey.private(row)
        ]

    def _stop_at(self, fault: BadImageError | None) -> None:
        if fault is not None and self._spec.on_bad_image == "stop":
            raise fault

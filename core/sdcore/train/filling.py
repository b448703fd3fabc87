"""Fills the caches of images before a training: each is read, decoded and encoded once."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import PIL
import torch
from torch import Tensor

from sdcore.data import BadImageError, DataIndex
from sdcore.data.buckets import Size
from sdcore.errors import NotReadyError
from sdcore.task.train_spec import TrainSpec
from sdcore.train.cache import PackWriter, Place, RecordStore, key_of
from sdcore.train.encoder import MomentsEncoder
from sdcore.train.framing import Framer, frame_of
from sdcore.train.images import RULE_VERSION, Aim, cut
from sdcore.train.records import record_bytes, to_record
from sdcore.train.survey import Hashes, Seen, Survey, in_order

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
    pixels: Tensor | None  # (3, H, W); None for an image that cannot be used
    fault: BadImageError | None


@dataclass
class _Shelf:
    """What is on its way into the records of one size."""

    store: RecordStore
    writer: PackWriter
    encoder: MomentsEncoder
    written: set[bytes] = field(default_factory=set)
    batch: dict[bytes, tuple[str, Tensor]] = field(default_factory=dict)

    def add(self, items: Mapping[bytes, tuple[str, Tensor]]) -> None:
        """Take the names and pixels that are in no record yet, by key."""
        fresh = {k: v for k, v in items.items() if k not in self.store and k not in self.written}
        self.batch |= fresh
        if len(self.batch) >= self.encoder.batch:
            self.flush()

    def flush(self) -> None:
        """Encode and write what waits."""
        if not self.batch:
            return
        pixels = torch.stack([pixels for _, pixels in self.batch.values()])
        moments = self.encoder.encode(pixels, [name for name, _ in self.batch.values()]).cpu()
        for key, record in zip(self.batch, moments, strict=True):
            self.writer.put(key, to_record(record))
        self.written |= self.batch.keys()
        self.batch.clear()


class Filler:
    """The work of ``latents.build_latents``, step by step.

    Args:
        index: The data.
        spec: How images are cut, and what to do about bad ones.
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
        self._aim = Aim.of(spec)
        self._survey = Survey(index, cache_root, self._aim)
        self._stores: dict[Size, RecordStore] = {}
        self._rule = key_of(encoder.hash, f"{RULE_VERSION} {PIL.__version__}").hex()[:32]
        self._flips = (False, True) if spec.random_flip else (False,)

    def stop_at_known(self) -> None:
        """Stop at a bad image that is known from before: not after an hour of encoding others.

        Raises:
            NotReadyError: There is one, and bad images are not skipped.
        """
        if self._spec.on_bad_image == "stop":
            for row in range(len(self._index)):
                if self._survey.known(row):
                    self._stop_at(self._survey.fault(row))

    def look_at_all(self, pool: ThreadPoolExecutor, share: Share) -> None:
        """Decode every image that was never looked at.

        Raises:
            NotReadyError: A bad image, unless they are skipped.
        """
        self._look(pool, self._own(self._survey.unknown(), share))
        share.barrier()
        self._survey.load()
        self._look(pool, self._survey.unknown())  # of ranks that share no disk with this one

    def encode_all(self, pool: ThreadPoolExecutor, share: Share) -> None:
        """Encode every image whose moments are not in the cache.

        Raises:
            NotReadyError: A bad image, unless they are skipped; or no room.
        """
        missing = self._missing()
        # No size has more pixels than the square, and those of unknown images are not known.
        self.store(self._aim.square).need(len(missing) * len(self._flips))
        self._encode(pool, self._own(missing, share))
        self._refresh()
        if share.world_size == 1:
            return
        share.barrier()
        self._survey.load()
        self._refresh()
        self._encode(pool, self._missing())  # as in look_at_all
        self._refresh()

    def store(self, size: Size) -> RecordStore:
        """Return the records of one size; they are of one length."""
        if size not in self._stores:
            shape = "" if size == self._aim.square else f"-{size[0]}x{size[1]}"
            length = record_bytes(self._encoder.shape(size), self._encoder.dtype)
            self._stores[size] = RecordStore(self._root / "latents" / (self._rule + shape), length)
        return self._stores[size]

    def no_choice(self) -> bool:
        """Tell whether a random crop has no choice in any image; all were looked at."""
        survey = self._survey
        return all(
            frame_of(*survey.sides(row), survey.target(row), None).exact
            for row in range(len(self._index))
            if survey.trains(row)
        )

    @property
    def contents(self) -> Hashes:
        """The SHA-256 of every row's encoded image, (rows, 32); all were looked at."""
        return self._survey.contents

    def framer(self, rows: Sequence[int]) -> Framer:
        """Return the frames of ``rows``, which can be trained on."""
        return Framer(
            {row: self._survey.sides(row) for row in rows},
            {row: self._survey.target(row) for row in rows},
            centred=self._spec.center_crop, mirrors=self._spec.random_flip,
        )  # fmt: skip

    def usable(self, on_skip: Callable[[str], None]) -> list[int]:
        """Return the rows to train on, rising; all were looked at.

        Raises:
            NotReadyError: A bad image, unless they are skipped; or none is left.
        """
        rows = []
        for row in range(len(self._index)):
            fault = self._survey.fault(row)
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
                self._stop_at(self._survey.unfit(one.row) if one.fault is None else None)
                self._progress(done, len(rows))

    def _encode(self, pool: ThreadPoolExecutor, rows: Sequence[int]) -> None:
        shelves: dict[Size, _Shelf] = {}
        with ExitStack() as stack:
            survey = stack.enter_context(self._survey.writer())
            ready = in_order(pool, self._prepare, rows, max(_AHEAD, self._encoder.batch))
            for done, one in enumerate(ready, 1):
                self._stop_at(one.fault)
                self._survey.add(one.seen, survey)
                if one.pixels is not None:
                    size = self._survey.target(one.seen.row)
                    if size not in shelves:
                        shelves[size] = self._shelf(size, stack)
                    # Only now is the content known: a moved or doubled image needs no encoding.
                    shelves[size].add(self._wanted(one.seen.row, one.pixels))
                for shelf in shelves.values():
                    if done == len(rows):
                        shelf.flush()
                    shelf.writer.sync_if_due()
                self._progress(done, len(rows))

    def _shelf(self, size: Size, stack: ExitStack) -> _Shelf:
        store = self.store(size)
        return _Shelf(store, stack.enter_context(store.writer()), self._encoder)

    def _wanted(self, row: int, pixels: Tensor) -> dict[bytes, tuple[str, Tensor]]:
        name = self._index.rows[row].name
        return {
            self._key(row, flip): (name, pixels.flip(-1) if flip else pixels)
            for flip in self._flips
        }

    def _prepare(self, row: int) -> _Ready:
        seen, image = self._survey.look(row)
        if image is None:
            return _Ready(seen, None, seen.fault)
        spec, name = self._spec, self._index.rows[row].name
        try:
            size = self._aim.size(*image.size, name)
        except BadImageError as fault:
            return _Ready(seen, None, fault)
        mode = spec.image_interpolation_mode
        return _Ready(seen, cut(image, size, mode, crop=None, flip=False), None)

    def _missing(self) -> list[int]:
        return [row for row in range(len(self._index)) if self._lacks(row)]

    def _lacks(self, row: int) -> bool:
        if not self._survey.known(row):
            return True
        if not self._survey.trains(row):
            return False
        store = self.store(self._survey.target(row))
        return any(self._key(row, flip) not in store for flip in self._flips)

    def _refresh(self) -> None:
        for store in self._stores.values():
            store.refresh()

    def _key(self, row: int, flip: bool) -> bytes:
        size = self._survey.target(row)
        # Squares go by one number, as before there were other sizes.
        shape = f"{size[0]}" if size == self._aim.square else f"{size[0]}x{size[1]}"
        rule = f"{shape} {self._spec.image_interpolation_mode} center {int(flip)}"
        return key_of(self._survey.content(row), rule)

    def _own(self, rows: Sequence[int], share: Share) -> list[int]:
        """Return this rank's part: by row number, so that no rank need know what others found."""
        return [
            row for row in rows if row % share.world_size == share.rank or self._survey.private(row)
        ]

    def _stop_at(self, fault: BadImageError | None) -> None:
        if fault is not None and self._spec.on_bad_image == "stop":
            raise fault

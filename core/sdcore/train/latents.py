"""Images as the moments of their latents: computed once and kept on disk, or at every step.

B draws, C latent channels (4), H and W latent rows and columns (pixels / 8).

The VAE costs 46 % of the U-Net's own work per image, and decoding JPEGs more CPU than most
hosts have; neither changes between epochs when the crop is fixed. Moments (mean and
log-variance, the log-variance not yet clamped) are kept rather than latents, so that each visit
still samples anew.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from sdcore.data import BadImageError, DataIndex, decode_image
from sdcore.data.buckets import Size
from sdcore.errors import NotReadyError
from sdcore.task.train_spec import TrainSpec
from sdcore.train import records
from sdcore.train.automatic import loader_threads
from sdcore.train.encoder import MomentsEncoder
from sdcore.train.filling import Filler, Progress, Share
from sdcore.train.framing import Frame, Framer
from sdcore.train.images import cut
from sdcore.train.records import TensorRecords
from sdcore.train.survey import Hashes

_PROBES = 8  # images looked at to tell a lost file from a lost folder


@dataclass(frozen=True, slots=True)
class Draw:
    """One visit to one image, all choices made.

    Attributes:
        position: Global sample index: which visit of the run this is.
        row: In the data index.
        caption: Which of the row's captions; None for the empty one.
        flip: Mirror left and right.
        crop: (u, v) in [0, 1): place of a random crop; not looked at with ``center_crop``.
    """

    position: int
    row: int
    caption: int | None
    flip: bool
    crop: tuple[float, float]


class LatentSource(Protocol):
    """Gives the moments for draws."""

    @property
    def rows(self) -> Sequence[int]:
        """The rows that can be drawn, rising; the same on every rank."""

    @property
    def cached(self) -> bool:
        """Whether moments come from the disk; then no VAE is needed any more."""

    @property
    def contents(self) -> Hashes:
        """The SHA-256 of the encoded image of every row, drawn or not, (rows, 32)."""

    def size(self, row: int) -> Size:
        """Return width and height at which a row is trained, px."""

    def frame(self, draw: Draw) -> Frame:
        """Return which part of which image a draw shows; reads nothing."""

    def shape(self, row: int) -> tuple[int, ...]:
        """Return the shape of a row's moments, (2C, H, W)."""

    def load(self, draws: Sequence[Draw]) -> Tensor:
        """Return the host's half of ``moments``: themselves when cached, else pixels, on the CPU.

        Of draws of one size; from any thread.

        Raises:
            BadImageError: An image went away or changed since the start.
            NotReadyError: None can be read any more.
        """

    def moments(self, draws: Sequence[Draw], loaded: Tensor | None = None) -> Tensor:
        """Return mean and log-variance, (B, 2C, H, W), float32; the log-variance unclamped.

        Of draws of one size. On the CPU when cached, else on the device. Not from two threads at
        once unless cached.

        Args:
            draws: What is shown.
            loaded: What ``load`` gave for them, on any device; loaded now if left out.

        Raises:
            SdError: As ``load``; or an image cannot be encoded.
        """


def build_latents(
    index: DataIndex,
    spec: TrainSpec,
    vae: Any,
    device: torch.device,
    dtype: torch.dtype,
    *,
    cache_root: Path,
    rank: int,
    world_size: int,
    barrier: Callable[[], None],
    progress: Progress,
    on_skip: Callable[[str], None],
) -> LatentSource:
    """Make the images of ``index`` ready for training.

    Cached when ``spec.cache_latents`` and the crop is fixed: ``center_crop``, or nothing is cut
    off any image once it is resized. Ranks share the encoding and see each other's records; ranks
    on hosts without a common disk each do what they miss. Not cached, every image is still
    decoded once before training, so that a corrupt one stops now and not at step 9,000.

    Args:
        index: The data.
        spec: Resolution, crop, flip, interpolation, and what to do about bad images.
        vae: An ``AutoencoderKL``; moved to ``device`` and ``dtype``, frozen.
        device: Where to encode.
        dtype: In what precision; fp16 falls back to fp32 where it overflows.
        cache_root: The folder of all caches.
        rank: Of this process.
        world_size: Number of processes.
        barrier: Waits for all of them.
        progress: Told (done, total) in images, of this rank's share.
        on_skip: Told the name of each image left out, on every rank.

    Raises:
        NotReadyError: A bad image, unless they are skipped; no usable image; no room.
    """
    encoder = MomentsEncoder(vae, device, dtype, spec.resolution)
    filler = Filler(index, spec, encoder, cache_root, progress)
    share = Share(rank, world_size, barrier)
    threads = _threads(spec)
    cached = False
    filler.stop_at_known()
    with ThreadPoolExecutor(threads, "images") as pool:
        if not (spec.cache_latents and spec.center_crop):
            filler.look_at_all(pool, share)
        if spec.cache_latents and (spec.center_crop or filler.no_choice()):
            filler.encode_all(pool, share)
            cached = True
    rows = filler.usable(on_skip)
    framer = filler.framer(rows)
    if cached:
        return _cached(filler, rows, framer, encoder, flips=1 + spec.random_flip)
    return LiveLatents(index, spec, encoder, rows, framer, filler.contents, threads)


def _cached(
    filler: Filler, rows: Sequence[int], framer: Framer, encoder: MomentsEncoder, *, flips: int
) -> "CachedLatents":
    """Open the records of each size; together they are copied into memory, or none is."""
    by_size: dict[Size, list[int]] = {}
    for row in rows:
        by_size.setdefault(framer.target(row), []).append(row)
    total = sum(
        len(some) * flips * filler.store(size).record_bytes for size, some in by_size.items()
    )
    found = {
        size: TensorRecords(
            filler.store(size), filler.places(filler.store(size), some), encoder.shape(size),
            encoder.dtype, in_memory=total <= records.IN_MEMORY,
        )
        for size, some in by_size.items()
    }  # fmt: skip
    slots = {row: slot * flips for some in by_size.values() for slot, row in enumerate(some)}
    return CachedLatents(found, slots, rows, framer, filler.contents, flips=flips)


class CachedLatents:
    """Moments from the disk, or from memory when they are few. Implements ``LatentSource``.

    Args:
        found: The moments of each size, plain and then mirrored where flips is 2.
        slots: Of each row among those of its size.
        rows: The rows that can be drawn.
        framer: Of these.
        contents: Hashes of the images.
        flips: 1 or 2.
    """

    cached = True

    def __init__(
        self, found: Mapping[Size, TensorRecords], slots: Mapping[int, int], rows: Sequence[int],
        framer: Framer, contents: Hashes, *, flips: int,
    ) -> None:  # fmt: skip
        self.rows, self.contents = rows, contents
        self._found, self._slots, self._framer, self._flips = found, slots, framer, flips

    def size(self, row: int) -> Size:
        """Return width and height at which a row is trained, px."""
        return self._framer.target(row)

    def frame(self, draw: Draw) -> Frame:
        """Return which part of which image a draw shows; the crop lies in the centre."""
        return self._framer.frame(draw.row, draw.crop, flip=draw.flip)

    def shape(self, row: int) -> tuple[int, ...]:
        """Return the shape of a row's moments, (2C, H, W)."""
        return self._found[self._framer.target(row)].shape

    def load(self, draws: Sequence[Draw]) -> Tensor:
        """Return (B, 2C, H, W), float32, on the CPU; safe from several threads."""
        (size,) = {self._framer.target(draw.row) for draw in draws}
        mirrored = self._flips - 1
        slots = [self._slots[draw.row] + (mirrored if draw.flip else 0) for draw in draws]
        return self._found[size].take(slots).to(torch.float32)

    def moments(self, draws: Sequence[Draw], loaded: Tensor | None = None) -> Tensor:
        """Return what ``load`` gives; safe from several threads."""
        return self.load(draws) if loaded is None else loaded


class LiveLatents:
    """Moments computed at each visit, for crops that differ. Implements ``LatentSource``."""

    cached = False

    def __init__(
        self,
        index: DataIndex,
        spec: TrainSpec,
        encoder: MomentsEncoder,
        rows: Sequence[int],
        framer: Framer,
        contents: Hashes,
        threads: int,
    ) -> None:
        self.rows, self.contents = rows, contents
        self._index, self._spec, self._encoder, self._framer = index, spec, encoder, framer
        self._pool = ThreadPoolExecutor(threads, "images")

    def size(self, row: int) -> Size:
        """Return width and height at which a row is trained, px."""
        return self._framer.target(row)

    def frame(self, draw: Draw) -> Frame:
        """Return which part of which image a draw shows."""
        return self._framer.frame(draw.row, draw.crop, flip=draw.flip)

    def shape(self, row: int) -> tuple[int, ...]:
        """Return the shape of a row's moments, (2C, H, W)."""
        return self._encoder.shape(self._framer.target(row))

    def load(self, draws: Sequence[Draw]) -> Tensor:
        """Return pixels, (B, 3, P, Q), float32, on the CPU; see ``LatentSource``."""
        return torch.stack(list(self._pool.map(self._prepare, draws)))

    def moments(self, draws: Sequence[Draw], loaded: Tensor | None = None) -> Tensor:
        """Return (B, 2C, H, W), float32, on the device; see ``LatentSource``."""
        pixels = self.load(draws) if loaded is None else loaded
        names = [self._index.rows[draw.row].name for draw in draws]
        size = self._encoder.batch
        parts = [
            self._encoder.encode(pixels[at : at + size], names[at : at + size])
            for at in range(0, len(draws), size)
        ]
        return torch.cat(parts).to(torch.float32)

    def _prepare(self, draw: Draw) -> Tensor:
        spec, name = self._spec, self._index.rows[draw.row].name
        image = decode_image(self._read(draw.row, name), name)
        if image.size != self._framer.original(draw.row):
            raise BadImageError(name, "it has another size than at the start")
        return cut(
            image,
            self._framer.target(draw.row),
            spec.image_interpolation_mode,
            crop=None if spec.center_crop else draw.crop,
            flip=draw.flip and spec.random_flip,
        )

    def _read(self, row: int, name: str) -> bytes:
        try:
            return self._index.read(row)
        except NotReadyError as error:
            if self._all_gone():
                raise
            raise BadImageError(name, error.cause) from error

    def _all_gone(self) -> bool:
        """Say whether not one image went away but their folder: none of a few can be read.

        Left out one by one, a data set whose mount is lost for a minute would melt away.
        """
        for row in self.rows[:: -(-len(self.rows) // _PROBES)]:
            with suppress(NotReadyError):
                self._index.read(row)
                return False
        return True


def _threads(spec: TrainSpec) -> int:
    if spec.dataloader_num_workers is not None:
        return max(1, spec.dataloader_num_workers)
    return loader_threads()[0]

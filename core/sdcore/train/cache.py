"""A store of fixed-size records on disk, by content: what was computed once is kept.

A folder holds packs: ``<name>.bin``, records one after another, and ``<name>.keys``, the 32-byte
SHA-256 of each. A key is appended only after its record is on the disk, so the first
``min(records, keys)`` entries of a pack are whole whatever kills the writer, and a cut tail is
not looked at. One process writes a pack, which no other ever opens for writing; any number read
it, mapped into memory. So there are no locks, and nothing to repair.

When the disk is full the store does not fall back to memory or to computing each record again:
that would turn hours into days without a word. It stops and says how many bytes are missing.
"""

import errno
import hashlib
import os
import secrets
import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from sdcore import units
from sdcore.errors import NotReadyError
from sdcore.runs.files import PRIVATE
from sdcore.runs.paths import make_private

KEY_BYTES = 32
# Records are synced in groups of about this size: a sync costs milliseconds on a network disk,
# and what a power cut can lose is computed again.
_GROUP_BYTES = 16 << 20
_GROUP_S = 2.0  # and no older than this: small records would take hours to fill a group
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_MANY = {errno.EMFILE, errno.ENFILE}

Records = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Usage:
    """What a cache takes.

    Attributes:
        files: Number of files.
        size: Bytes.
    """

    files: int
    size: int


@dataclass(frozen=True, slots=True)
class Place:
    """Where a record is: valid for the store that gave it."""

    pack: int
    index: int


def usage(root: Path) -> Usage:
    """Count the files below ``root`` and their bytes; nothing is there yet: zeros."""
    sizes = []
    for folder, _, names in os.walk(root):
        sizes += [_size(Path(folder) / name) for name in names]
    return Usage(len(sizes), sum(sizes))


def key_of(*parts: bytes | str) -> bytes:
    """Return the key for a record that follows from ``parts``, in order, and nothing else."""
    digest = hashlib.sha256()
    for part in parts:
        raw = part.encode("utf-8", "surrogateescape") if isinstance(part, str) else part
        digest.update(len(raw).to_bytes(8, "little"))
        digest.update(raw)
    return digest.digest()


class RecordStore:
    """The records in one folder, as of the last ``refresh``.

    Reads are safe from several threads; ``refresh`` is not while others read.

    Args:
        folder: Made when it is not there. Named by whatever decides how records are made, so
            that all records in it are alike.
        record_bytes: Size of every record.

    Raises:
        NotReadyError: The folder cannot be made or read.
    """

    def __init__(self, folder: Path, record_bytes: int) -> None:
        self.folder, self.record_bytes = folder, record_bytes
        self._places: dict[bytes, Place] = {}
        self._packs: list[Records] = []
        self._entries: dict[str, int] = {}
        try:
            make_private(folder)
        except OSError as error:
            raise _refused(folder, error, record_bytes) from error
        self.refresh()

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, key: bytes) -> bool:
        return key in self._places

    def refresh(self) -> None:
        """See what writers have added since; places given before stay valid."""
        try:
            names = sorted(path.stem for path in self.folder.glob("*.keys"))
            for name in names:
                self._map(name)
        except OSError as error:
            raise _refused(self.folder, error, self.record_bytes) from error

    def place(self, key: bytes) -> Place | None:
        """Return where the record of ``key`` is, or None."""
        return self._places.get(key)

    def forget_keys(self) -> None:
        """Drop the index, for readers that hold their places: 200 bytes a record."""
        self._places = {}

    def record(self, place: Place) -> Records:
        """Return the bytes of a record, (record_bytes,), read-only, straight from the map."""
        found: Records = self._packs[place.pack][place.index]
        return found

    def gather(self, places: Iterable[Place]) -> Records:
        """Return a copy of several records, (N, record_bytes)."""
        return np.stack([self.record(place) for place in places])

    def writer(self) -> "PackWriter":
        """Return a writer of a new pack; its files are made with the first record."""
        return PackWriter(self.folder, self.record_bytes)

    def need(self, records: int) -> None:
        """Make sure that ``records`` more fit on the disk.

        Raises:
            NotReadyError: They do not; says how much is missing.
        """
        wanted = records * (self.record_bytes + KEY_BYTES)
        free = shutil.disk_usage(self.folder).free
        if wanted > free:
            raise _no_room(self.folder, wanted, f"only {units.size(free)} are free")

    def _map(self, name: str) -> None:
        """Add the whole records of a pack that are not known yet."""
        known = self._entries.get(name, 0)
        try:
            keys = (self.folder / f"{name}.keys").read_bytes()
            records = _size(self.folder / f"{name}.bin") // self.record_bytes
            count = min(len(keys) // KEY_BYTES, records)
            if count <= known:
                return
            pack: Records = np.memmap(
                self.folder / f"{name}.bin", np.uint8, "r", shape=(count, self.record_bytes)
            )
        except FileNotFoundError:
            return  # someone is emptying the cache: what is gone is computed again
        number = len(self._packs)
        self._packs.append(pack)
        self._entries[name] = count
        for index in range(known, count):
            key = keys[index * KEY_BYTES : (index + 1) * KEY_BYTES]
            self._places.setdefault(key, Place(number, index))


class PackWriter:
    """Appends records to a pack of its own; use as a context.

    Records are readable by others once synced: by groups, after some seconds, and all at the end
    of the context.
    """

    def __init__(self, folder: Path, record_bytes: int) -> None:
        self._folder, self._record_bytes = folder, record_bytes
        self._name = f"{os.getpid()}-{secrets.token_hex(8)}"
        self._records: int | None = None
        self._keys: int | None = None
        self._waiting: list[bytes] = []
        self._synced = time.monotonic()
        self._torn = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if not isinstance(error, NotReadyError):  # a full disk would only fail again
                self.sync()
        finally:
            self._close()

    def put(self, key: bytes, record: bytes | memoryview) -> None:
        """Append a record, contiguous in memory; after an error the writer takes no more.

        Raises:
            NotReadyError: The disk is full or cannot be written; names folder and bytes.
        """
        data = memoryview(record).cast("B")
        if data.nbytes != self._record_bytes or len(key) != KEY_BYTES:
            raise ValueError(f"a record of {data.nbytes} bytes, not {self._record_bytes}")
        if self._torn:
            raise ValueError("a record was cut short here: one more would lie at a wrong place")
        self._torn = True
        try:
            if self._records is None:
                self._open()
            assert self._records is not None
            _write_all(self._records, data)
        except OSError as error:
            raise _refused(self._folder, error, self._record_bytes) from error
        self._torn = False
        self._waiting.append(key)
        self.sync_if_due()

    def sync_if_due(self) -> None:
        """Put records on the disk that fill a group or have waited long.

        Raises:
            NotReadyError: As ``put``.
        """
        full = len(self._waiting) * self._record_bytes >= _GROUP_BYTES
        if full or time.monotonic() - self._synced >= _GROUP_S:
            self.sync()

    def sync(self) -> None:
        """Put the records on the disk, then their keys.

        Raises:
            NotReadyError: As ``put``.
        """
        if not self._waiting or self._records is None or self._keys is None:
            return
        try:
            # In this order: after a power cut a key without its record would name zeros.
            os.fdatasync(self._records)
            _write_all(self._keys, memoryview(b"".join(self._waiting)))
            os.fdatasync(self._keys)
        except OSError as error:
            raise _refused(self._folder, error, self._record_bytes) from error
        self._waiting.clear()
        self._synced = time.monotonic()

    def _open(self) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        self._records = os.open(self._folder / f"{self._name}.bin", flags, PRIVATE)
        self._keys = os.open(self._folder / f"{self._name}.keys", flags, PRIVATE)

    def _close(self) -> None:
        for descriptor in (self._records, self._keys):
            if descriptor is not None:
                os.close(descriptor)
        self._records = self._keys = None


def _write_all(descriptor: int, data: memoryview) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _refused(folder: Path, error: OSError, wanted: int) -> NotReadyError:
    if error.errno in _FULL:
        return _no_room(folder, wanted, f"the disk or your quota is full ({error.strerror})")
    remedy = "make it writable for you, or set SDTUI_HOME to a folder that is"
    if error.errno in _MANY:
        remedy = "raise the limit with `ulimit -n 65536`, or use a larger bucket_reso_steps"
    return NotReadyError(
        f"the cache folder {folder} cannot be used",
        cause=str(error),
        remedy=remedy,
    )


def _no_room(folder: Path, wanted: int, cause: str) -> NotReadyError:
    return NotReadyError(
        f"no room in the cache folder {folder}",
        cause=f"at least {units.size(wanted)} are needed and {cause}",
        remedy="free some room, set SDTUI_HOME to a larger disk, "
        "or use --set train.cache_latents=false (slower: images are encoded at every step)",
    )

"""Data sets of the `datasets` library: saved to disk by it, or on the hub."""

import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from os import environ
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import datasets
import huggingface_hub.constants as hub

from sdcore.data.captions import CaptionReader
from sdcore.data.index import DataIndex, DataProblems, Few, Form, Row, empty_captions, gone
from sdcore.data.metadata import missing_column
from sdcore.data.parquet import check_image_type
from sdcore.data.wording import listed, shown, why
from sdcore.errors import NotReadyError

PROBE_S = 3.0  # without a network the hub client itself retries for 24 s (measured)


class ArrowReader:
    """Reads images out of a memory-mapped data set. Implements ``index.Reader``."""

    def __init__(self, data: Any, column: str, files: Sequence[Path]) -> None:
        self._data, self._column, self._files = data, column, files
        stats = [path.stat() for path in files]
        self._sizes = [status.st_size for status in stats]
        self._stamp = "\0".join(
            f"{path}\0{status.st_ino}\0{status.st_size}\0{status.st_mtime_ns}"
            for path, status in zip(files, stats, strict=True)
        )
        self._lock = threading.Lock()  # `datasets` does not promise to be thread-safe

    @property
    def containers(self) -> Sequence[tuple[str, int]]:
        """The arrow files; by name alone, as a copied set is still the same set."""
        return [(path.name, size) for path, size in zip(self._files, self._sizes, strict=True)]

    def read(self, i: int) -> bytes:
        """Return the encoded image of row ``i``."""
        try:
            with self._lock:
                value = self._data[i][self._column]
            data = value if isinstance(value, bytes) else value["bytes"]
            path = None if isinstance(value, bytes) else value.get("path")
            if data is None and path:
                data = Path(path).read_bytes()  # saved without embedding the files
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise gone(f"of row {i}", error) from error
        if not isinstance(data, bytes):
            raise gone(f"of row {i}", ValueError("the row holds neither bytes nor a path"))
        return data

    def size(self, i: int) -> int:  # noqa: ARG002 -- one signature for all readers
        """Return 0: the sizes of the arrow files stand for those of the images."""
        return 0

    def stamp(self, i: int) -> str | None:
        """Return the arrow files with their times, column and row; None for a set in memory."""
        return f"{self._stamp}\0{self._column}\0{i}" if self._files else None


def open_saved(root: Path, image_column: str, caption_column: str) -> DataIndex:
    """Open a folder that ``Dataset.save_to_disk`` wrote.

    Raises:
        NotReadyError: It is damaged, has no train split, or lacks a column.
    """
    try:
        loaded = datasets.load_from_disk(str(root))
    except Exception as error:  # the library raises its own, Arrow's and JSON's
        raise NotReadyError(
            f"{shown(str(root), 300)} cannot be opened as a saved data set",
            cause=why(error),
            remedy="copy the folder again, whole, or save the data set anew",
        ) from error
    return _index(
        "saved dataset", str(root), _split(str(root), loaded), image_column, caption_column
    )


def open_hub(
    name: str, config: str | None, cache_dir: str | None, image_column: str, caption_column: str
) -> DataIndex:
    """Open a data set of the hub, from the local cache when there is no network.

    Raises:
        NotReadyError: No network and not in the cache; unknown; or it lacks a column.
    """
    try:
        with _no_retries_without_network():
            loaded = datasets.load_dataset(name, config, cache_dir=cache_dir)
    except Exception as error:  # as in open_saved, and the hub client's own
        raise NotReadyError(
            f"the data set {shown(name)} cannot be loaded",
            cause=f"there is no such folder here, and from the hub: {why(error)}",
            remedy="check the name and the network, or copy the data here and give its folder",
        ) from error
    return _index("hub", name, _split(name, loaded), image_column, caption_column)


def _split(source: str, loaded: Any) -> Any:
    if isinstance(loaded, datasets.Dataset):
        return loaded
    names = list(loaded)
    if "train" in names or len(names) == 1:
        return loaded["train" if "train" in names else names[0]]
    raise NotReadyError(
        f"{shown(source, 300)} has no split 'train'",
        cause=f"its splits are: {listed(names) or 'none'}",
        remedy="save the split to train on by itself",
    )


def _index(form: Form, source: str, data: Any, image: str, caption: str) -> DataIndex:
    columns = list(data.column_names)
    if image not in columns:
        raise missing_column(source, image, columns, "image_column")
    if caption not in columns:
        others = [name for name in columns if name != image]
        raise missing_column(source, caption, others, "caption_column")
    if isinstance(data.features[image], datasets.Image):
        data = data.cast_column(image, datasets.Image(decode=False))  # bytes, not pictures
    else:
        check_image_type(source, image, data.features.arrow_schema.field(image).type)
    rows = list(_rows(source, data, caption))
    if not rows:
        raise NotReadyError(
            f"{shown(source, 300)} holds no images",
            cause="it has no rows",
            remedy="name a data set with images in it",
        )
    files = [Path(str(file["filename"])) for file in data.cache_files]
    return DataIndex(
        form=form, source=source, rows=rows, reader=ArrowReader(data, image, files),
        problems=DataProblems(empty_captions=empty_captions(rows), other_splits=Few()),
    )  # fmt: skip


def _rows(source: str, data: Any, caption: str) -> Iterator[Row]:
    captions = CaptionReader(caption, "row")
    number = 0
    for table in data.select_columns([caption]).with_format("arrow").iter(batch_size=10_000):
        for value in table.column(caption).to_pylist():
            yield Row(f"row#{number}", captions.take(value, source, number))
            number += 1


@contextmanager
def _no_retries_without_network() -> Iterator[None]:
    """Look only into the local cache while the hub's name cannot be resolved."""
    if hub.HF_HUB_OFFLINE or _reachable():
        yield
        return
    hub.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        hub.HF_HUB_OFFLINE = False


def _reachable() -> bool:
    """Tell whether the hub's name resolves; with a proxy only the proxy needs to."""
    if any(environ.get(key) for key in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")):
        return True
    found: list[bool] = []
    host = urlsplit(hub.ENDPOINT).hostname or ""
    probe = threading.Thread(target=_resolve, args=(host, found), daemon=True)
    probe.start()
    probe.join(PROBE_S)
    return bool(found)


def _resolve(host: str, found: list[bool]) -> None:
    try:
        found.append(bool(socket.getaddrinfo(host, 443)))
    except OSError:
        return  # not found: the caller sees an empty list

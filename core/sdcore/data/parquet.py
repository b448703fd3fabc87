"""Parquet files with the images inside, as the hub and most exporters write them.

Captions are read at once, images one row group at a time: a file is never held whole. Reading
in order costs one pass; reading at random costs a row group per image once the groups in use
exceed ``KEPT_BYTES``, which is why training reads such a set once, in order, into its cache.
"""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sdcore.data.captions import CaptionReader
from sdcore.data.index import DataIndex, DataProblems, Few, Row, empty_captions, gone
from sdcore.data.metadata import missing_column
from sdcore.data.wording import shown, why
from sdcore.errors import NotReadyError

KEPT_BYTES = 512 << 20  # of decoded row groups; at least one is always kept


@dataclass(frozen=True, slots=True)
class _File:
    path: Path
    name: str
    size: int
    stamp: str
    groups: tuple[int, ...]  # first row of each row group, and the number of rows last


class ParquetReader:
    """Reads single images out of parquet files. Implements ``index.Reader``."""

    def __init__(self, files: Sequence[_File], column: str) -> None:
        self._files, self._column = files, column
        self._ends = np.cumsum([file.groups[-1] for file in files])
        self._kept: OrderedDict[tuple[int, int], pa.ChunkedArray] = OrderedDict()
        # One lock for look-up and load: threads that want the same group wait for one load.
        self._lock = threading.Lock()

    @property
    def containers(self) -> Sequence[tuple[str, int]]:
        """The parquet files."""
        return [(file.name, file.size) for file in self._files]

    def read(self, i: int) -> bytes:
        """Return the encoded image of row ``i`` over all files."""
        file, row = self._find(i)
        name = f"{self._files[file].name}#{row}"
        starts = self._files[file].groups
        group = int(np.searchsorted(starts, row, side="right")) - 1
        try:
            with self._lock:
                column = self._group(file, group)
        except (OSError, pa.ArrowException) as error:
            raise gone(shown(name, 300), error) from error
        return _bytes_of(column[row - starts[group]].as_py(), name)

    def size(self, i: int) -> int:  # noqa: ARG002 -- one signature for all readers
        """Return 0: the size of the file stands for those of its images."""
        return 0

    def stamp(self, i: int) -> str | None:
        """Return path, inode, size and time of the file, and the column and row in it."""
        file, row = self._find(i)
        return f"{self._files[file].stamp}\0{self._column}\0{row}"

    def _find(self, i: int) -> tuple[int, int]:
        file = int(np.searchsorted(self._ends, i, side="right"))
        return file, i - (int(self._ends[file - 1]) if file else 0)

    def _group(self, file: int, group: int) -> pa.ChunkedArray:
        key = (file, group)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        with pq.ParquetFile(self._files[file].path) as opened:
            column = opened.read_row_group(group, columns=[self._column]).column(self._column)
        self._kept[key] = column
        while len(self._kept) > 1 and sum(c.nbytes for c in self._kept.values()) > KEPT_BYTES:
            self._kept.popitem(last=False)
        return column


def open_parquet(
    root: Path, paths: Sequence[str], image_column: str, caption_column: str
) -> DataIndex:
    """Open parquet files as one set, in the order of ``paths``.

    Where the folder holds several splits, only the files of the train split are used.

    Args:
        root: The folder that ``paths`` are relative to.
        paths: The parquet files.
        image_column: A column of bytes, or of structs with ``bytes`` (and ``path``).
        caption_column: A column of strings or of lists of strings.

    Raises:
        NotReadyError: A file is no parquet, lacks a column, or holds no images.
    """
    paths, others = _train_split(paths)
    captions = CaptionReader(caption_column, "row")
    rows: list[Row] = []
    files = []
    for path in paths:
        file, values = _open_file(root, path, image_column, caption_column)
        files.append(file)
        for number, value in enumerate(values):
            rows.append(Row(f"{path}#{number}", captions.take(value, root / path, number)))
    if not rows:
        raise NotReadyError(
            f"{shown(str(root), 300)} holds no images",
            cause="its parquet files have no rows",
            remedy="name a data set with images in it",
        )
    problems = DataProblems(other_splits=Few.of(others), empty_captions=empty_captions(rows))
    reader = ParquetReader(files, image_column)
    return DataIndex(form="parquet", source=str(root), rows=rows, reader=reader, problems=problems)


def _train_split(paths: Sequence[str]) -> tuple[list[str], list[str]]:
    """Part ``paths`` into those to train on and those of other splits, as the hub names them."""
    train = [path for path in paths if _split_of(path) == "train"]
    others = [path for path in paths if _split_of(path) == "other"]
    return (list(paths), []) if not train or not others else (train, others)


def _split_of(path: str) -> str:
    words = {
        part for piece in path.lower().split("/") for part in piece.replace(".", "-").split("-")
    }
    if "train" in words or "training" in words:
        return "train"
    return "other" if words & {"test", "validation", "valid", "val", "dev", "eval"} else "?"


def _open_file(root: Path, name: str, image: str, caption: str) -> tuple[_File, list[Any]]:
    """Return where the rows of one file are, and its captions."""
    path = root / name
    try:
        status = path.stat()
        with pq.ParquetFile(path) as opened:
            _check_columns(str(path), opened.schema_arrow, image, caption)
            values = opened.read(columns=[caption]).column(caption).to_pylist()
            counts = [opened.metadata.row_group(g).num_rows for g in range(opened.num_row_groups)]
    except (OSError, pa.ArrowException) as error:
        raise NotReadyError(
            f"{shown(str(path), 300)} is not a readable parquet file",
            cause=why(error, 200),
            remedy="copy it again; a Git LFS pointer needs `git lfs pull`",
        ) from error
    stamp = f"{path}\0{status.st_ino}\0{status.st_size}\0{status.st_mtime_ns}"
    groups = (0, *(int(end) for end in np.cumsum(counts))) if counts else (0,)
    return _File(path, name, status.st_size, stamp, groups), values


def _check_columns(what: str, schema: pa.Schema, image: str, caption: str) -> None:
    if image not in schema.names:
        raise missing_column(what, image, schema.names, "image_column")
    if caption not in schema.names:
        others = [name for name in schema.names if name != image]
        raise missing_column(what, caption, others, "caption_column")
    check_image_type(what, image, schema.field(image).type)


def check_image_type(what: str, column: str, kind: pa.DataType) -> None:
    """Refuse an image column that holds something else than encoded image files.

    Raises:
        NotReadyError: Neither bytes nor a struct with ``bytes``.
    """
    inner = kind.field("bytes").type if _has_bytes(kind) else kind
    if not (pa.types.is_binary(inner) or pa.types.is_large_binary(inner)):
        raise NotReadyError(
            f"column '{shown(column)}' of {shown(what)} holds no images",
            cause=f"it is of type {shown(str(kind))}; an image is bytes, or a struct with bytes",
            remedy="set train.image_column to the column that holds the image files",
        )


def _has_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0)


def _bytes_of(value: Any, name: str) -> bytes:
    data = value.get("bytes") if isinstance(value, dict) else value
    if isinstance(data, bytes):
        return data
    raise NotReadyError(
        f"the image {shown(name, 300)} is not in its parquet file",
        cause="the row holds a path or nothing, no bytes",
        remedy="write the data set anew with the images embedded",
    )

"""Reads ``metadata.jsonl``, ``.csv`` and ``.parquet``: one image name and caption per row."""

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from sdcore.data.wording import listed, nearest, shown, why
from sdcore.errors import NotReadyError

NAMES = ("metadata.jsonl", "metadata.csv", "metadata.parquet")
EXAMPLE = '{"file_name": "0001.png", "text": "a drawing of a red bird"}'


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of a metadata file, unchecked.

    Attributes:
        file_name: The image, relative to the folder of the metadata file.
        caption: Whatever stands in the caption column.
        number: Line in a text file, row in parquet, counted from 1.
    """

    file_name: object
    caption: object
    number: int


_Record = tuple[int, Mapping[str, object]]


def read_metadata(path: Path, image_column: str, caption_column: str) -> Iterator[Entry]:
    """Yield the rows of a metadata file in order.

    Raises:
        NotReadyError: It cannot be read, a line is broken, or a column is not there; with the
            file, the line, the columns there are and the nearest of them.
    """
    read: Callable[[Path], Iterator[_Record]] = {
        ".jsonl": _jsonl,
        ".csv": _csv,
        ".parquet": _parquet,
    }[path.suffix]
    key: str | None = None
    try:
        for number, record in read(path):
            if key is None:
                key = _file_key(path, record, image_column)
                _check_column(path, record, caption_column)
            yield _entry(path, number, record, key, caption_column)
    except OSError as error:
        raise NotReadyError(
            f"{shown(str(path))} cannot be read",
            cause=why(error),
            remedy="make the file readable for you, or copy the data set anew",
        ) from error


def unit(path: Path) -> str:
    """Return what a row of this file is called: ``line``, or ``row`` in parquet."""
    return "row" if path.suffix == ".parquet" else "line"


def missing_column(what: str, column: str, columns: list[str], key: str) -> NotReadyError:
    """Build the error for a column that is not there.

    Args:
        what: The file that lacks it.
        column: The name asked for.
        columns: The names there are.
        key: The setting of ``[train]`` that asked.
    """
    near = nearest(column, columns)
    return NotReadyError(
        f"{shown(what)} has no column '{shown(column)}'",
        cause=f"its columns are: {listed(columns) or 'none'}",
        remedy=f'set train.{key} = "{shown(near) if near else "one of them"}", '
        f"or rename the column to '{shown(column)}'",
    )


def _entry(path: Path, number: int, record: Mapping[str, object], key: str, column: str) -> Entry:
    for name in (key, column):
        if name not in record:
            raise NotReadyError(
                f"{unit(path)} {number} of {shown(str(path))} has no '{shown(name)}'",
                cause=f"it has: {listed(list(record)) or 'nothing'}; earlier rows have it",
                remedy=f"add '{shown(name)}' to it, or remove it",
            )
    return Entry(record[key], record[column], number)


def _file_key(path: Path, record: Mapping[str, object], image_column: str) -> str:
    """Return the key that names the image: ``file_name``, as the `datasets` library has it."""
    accepted = [f"{image_column}_file_name", "file_name"]
    for key in accepted:
        if key in record:
            return key
    raise NotReadyError(
        f"{shown(str(path))} does not say which image a row is about",
        cause=f"it has no '{accepted[1]}' or '{shown(accepted[0])}'; "
        f"its columns are: {listed(list(record)) or 'none'}",
        remedy=f"name the image in a column 'file_name', as in {EXAMPLE}",
    )


def _check_column(path: Path, record: Mapping[str, object], column: str) -> None:
    if column not in record:
        columns = [name for name in record if name != "file_name"]
        raise missing_column(str(path), column, columns, "caption_column")


def _jsonl(path: Path) -> Iterator[_Record]:
    with path.open("rb") as file:  # bytes: only \n ends a line, not the U+2028 of a caption
        for number, raw in enumerate(file, 1):
            line = raw.removeprefix(b"\xef\xbb\xbf") if number == 1 else raw
            if line.strip():
                yield number, _json_object(path, number, line)


def _json_object(path: Path, number: int, line: bytes) -> Mapping[str, object]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:  # ValueError: JSON or UTF-8
        raise _broken(path, number, shown(str(error)), "one JSON object") from error
    if not isinstance(record, dict):
        raise _broken(path, number, f"it is a {type(record).__name__}", "one JSON object")
    return record


def _csv(path: Path) -> Iterator[_Record]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, restkey="", strict=True)
        start = 2  # of a row that may span lines: the header is line 1
        try:
            for record in reader:
                if "" in record:
                    fault = "it has more values than the header; text with a comma needs quotes"
                    raise _broken(path, start, fault, "one value per column")
                yield start, record
                start = reader.line_num + 1
        except (csv.Error, UnicodeDecodeError) as error:
            raise _broken(path, start, shown(str(error)), "CSV in UTF-8") from error


def _broken(path: Path, number: int, fault: str, wanted: str) -> NotReadyError:
    return NotReadyError(
        f"line {number} of {shown(str(path))} cannot be read",
        cause=fault,
        remedy=f"correct the line: it must be {wanted}, for example {EXAMPLE}"
        if path.suffix == ".jsonl"
        else f"correct the line: it must be {wanted}",
    )


def _parquet(path: Path) -> Iterator[_Record]:
    import pyarrow as pa  # noqa: PLC0415 -- 0.2 s, only for sets that have such a file
    import pyarrow.parquet as pq  # noqa: PLC0415

    try:
        number = 0
        for batch in pq.ParquetFile(path).iter_batches():
            for record in batch.to_pylist():
                number += 1
                yield number, record
    except pa.ArrowException as error:
        raise NotReadyError(
            f"{shown(str(path))} is not a readable parquet file",
            cause=why(error),
            remedy="write the file anew, or use metadata.jsonl",
        ) from error

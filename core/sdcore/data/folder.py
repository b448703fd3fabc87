"""Folders of loose images: with metadata files, or with a ``.txt`` of the same name each."""

import errno
import os
import posixpath
from collections.abc import Iterable, Sequence
from pathlib import Path

from sdcore.data.captions import CaptionReader
from sdcore.data.decode import SUFFIXES
from sdcore.data.index import DataIndex, DataProblems, Few, Form, Row, empty_captions, gone
from sdcore.data.metadata import EXAMPLE, NAMES, read_metadata, unit
from sdcore.data.wording import listed, nearest, shown, why
from sdcore.errors import NotReadyError
from sdcore.units import count


class FileReader:
    """Reads loose image files below one folder. Implements ``index.Reader``."""

    def __init__(self, root: Path, paths: Sequence[str], sizes: Sequence[int]) -> None:
        self._root, self._paths, self._sizes = root, paths, sizes

    @property
    def containers(self) -> Sequence[tuple[str, int]]:
        """None: each image is a file of its own."""
        return ()

    def read(self, i: int) -> bytes:
        """Return the bytes of the file of row ``i``."""
        try:
            return (self._root / self._paths[i]).read_bytes()
        except OSError as error:
            raise gone(shown(self._paths[i], 300), error) from error

    def size(self, i: int) -> int:
        """Return bytes of the file when the folder was read."""
        return self._sizes[i]

    def stamp(self, i: int) -> str | None:
        """Return path, inode, size and times: any write or replacement changes one of them."""
        path = self._root / self._paths[i]
        try:
            status = path.stat()
        except OSError as error:
            raise gone(shown(self._paths[i], 300), error) from error
        return (
            f"{path}\0{status.st_ino}\0{status.st_size}\0{status.st_mtime_ns}\0{status.st_ctime_ns}"
        )


def list_files(root: Path) -> dict[str, int]:
    """Return the regular files below ``root``, by path with ``/``, each with its size in bytes.

    Sorted by path. Hidden names are left out: ``.ipynb_checkpoints`` and macOS's ``._a.png``
    hold copies that are no data. A linked folder is followed once, so that a loop ends.

    Raises:
        NotReadyError: A folder cannot be listed.
    """
    found: dict[str, int] = {}
    seen: set[tuple[int, int]] = set()
    waiting = [""]
    try:
        while waiting:
            below = waiting.pop()
            status = (root / below).stat()
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            waiting += _list_one(root, below, found)
    except OSError as error:
        raise NotReadyError(
            f"the data folder {shown(str(root), 300)} cannot be listed",
            cause=why(error),
            remedy="make it and its sub-folders readable for you",
        ) from error
    return dict(sorted(found.items()))


def _list_one(root: Path, below: str, found: dict[str, int]) -> list[str]:
    """Add the files of one folder to ``found`` and return its sub-folders."""
    folders = []
    with os.scandir(root / below) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            path = f"{below}/{entry.name}" if below else entry.name
            try:
                if entry.is_dir():
                    folders.append(path)
                elif entry.is_file():  # a FIFO named a.png would block whoever opens it
                    found[path] = entry.stat().st_size
            except OSError as error:
                if error.errno != errno.ELOOP:  # a link to itself leads nowhere, like a torn one
                    raise
    return folders


def is_image(path: str) -> bool:
    """Tell by the suffix whether a file is an image we read."""
    return posixpath.splitext(path)[1].lower() in SUFFIXES


def open_imagefolder(
    root: Path, files: dict[str, int], image_column: str, caption_column: str
) -> DataIndex:
    """Open a folder whose images are described by metadata files, here or in sub-folders.

    Args:
        root: The data folder.
        files: What ``list_files`` found in it.
        image_column: ``image``, or the X of a column ``X_file_name``.
        caption_column: The column with a caption or a list of captions.

    Raises:
        NotReadyError: See ``metadata.read_metadata`` and ``captions``; or images are missing.
    """
    rows: list[tuple[str, tuple[str, ...]]] = []
    missing = _Missing(files)
    for path in _metadata_files(root, files):
        file, folder = root / path, posixpath.dirname(path)
        captions = CaptionReader(caption_column, unit(file))
        for entry in read_metadata(file, image_column, caption_column):
            image = _image_path(file, folder, entry.file_name, entry.number)
            if image in files:
                rows.append((image, captions.take(entry.caption, file, entry.number)))
            else:
                missing.add(file, entry.number, image)
    missing.stop()
    return _index("imagefolder", root, files, rows)


def open_captions(root: Path, files: dict[str, int]) -> DataIndex:
    """Open a folder where ``a.png`` is described by ``a.txt`` beside it.

    Each non-empty line of the text file is one caption; training picks one at each visit.

    Raises:
        NotReadyError: A caption file cannot be read or is no UTF-8.
    """
    texts = {path for path in files if path.lower().endswith(".txt")}
    rows = []
    used = set()
    for image in filter(is_image, files):
        text = _caption_file(image, texts)
        if text is not None:
            used.add(text)
            rows.append((image, _caption_lines(root / text)))
    spare = [path for path in sorted(texts - used) if not _about_the_set(path)]
    return _index("captions", root, files, rows, spare)


def without_metadata(root: Path, files: dict[str, int]) -> NotReadyError:
    """Build the error for a folder that has files but nothing that says which caption is whose."""
    images = [path for path in files if is_image(path)]
    if not images:
        return _no_images(root, files)
    wrong = nearest_metadata(files)
    return NotReadyError(
        f"{shown(str(root), 300)} has {count(len(images), 'image')} but no captions",
        cause=f"there is no metadata.jsonl, .csv or .parquet, and no .txt beside an image"
        f"{f'; {shown(wrong)} is not read under that name' if wrong else ''}",
        remedy=_rename(wrong) if wrong else f"write metadata.jsonl with one line per image: "
        f'{EXAMPLE.replace("0001.png", shown(images[0]))}',
    )  # fmt: skip


def nearest_metadata(files: Iterable[str]) -> str | None:
    """Return a file that was probably meant as the metadata file, or None."""
    tables = [p for p in files if p.lower().endswith((".jsonl", ".csv", ".json", ".jsonl.txt"))]
    named = [p for p in tables if posixpath.basename(p).lower().startswith("metadata")]
    return next(iter(named or tables), None)


def _rename(path: str) -> str:
    folder = posixpath.dirname(path)
    suffix = ".csv" if path.lower().endswith(".csv") else ".jsonl"
    better = posixpath.join(folder, "metadata" + suffix)
    form = "" if suffix == ".csv" else f" with one JSON object per line: {EXAMPLE}"
    return f"rename {shown(path)} to {shown(better)}{form}"


def _no_images(root: Path, files: dict[str, int]) -> NotReadyError:
    kinds: dict[str, int] = {}
    for path in files:
        suffix = posixpath.splitext(path)[1].lower() or "no suffix"
        kinds[suffix] = kinds.get(suffix, 0) + 1
    most = sorted(kinds, key=lambda kind: (-kinds[kind], kind))
    found = listed([f"{kinds[kind]:,} x {kind}" for kind in most])
    packed = any(kind in kinds for kind in (".zip", ".tar", ".tgz", ".gz", ".7z", ".rar"))
    return NotReadyError(
        f"{shown(str(root), 300)} holds no images",
        cause=f"found {found}" if found else "the folder is empty",
        remedy="unpack the archive in it"
        if packed
        else "name a folder with .png, .jpg, .webp or parquet files in it",
    )


def _no_rows(root: Path, files: dict[str, int]) -> NotReadyError:
    if not any(map(is_image, files)):
        return _no_images(root, files)
    return NotReadyError(
        f"{shown(str(root), 300)} describes no image",
        cause="the metadata has no rows",
        remedy=f"write one line per image: {EXAMPLE}",
    )


def _metadata_files(root: Path, files: Iterable[str]) -> list[str]:
    """Return the metadata files; two in one folder are refused, as none of them would count."""
    by_folder: dict[str, str] = {}
    for path in files:
        folder, name = posixpath.split(path)
        if name not in NAMES:
            continue
        if folder in by_folder:
            raise NotReadyError(
                f"{shown(str(root / folder))} has two metadata files",
                cause=f"both {posixpath.basename(by_folder[folder])} and {name} are there",
                remedy="keep the one that counts and remove or rename the other",
            )
        by_folder[folder] = path
    return list(by_folder.values())


def _image_path(metadata: Path, folder: str, value: object, number: int) -> str:
    """Return the image's path below the data folder; never one outside of it."""
    name = value if isinstance(value, str) else ""
    fault = None
    if not name:
        fault = f"file_name is {shown(repr(value), 60)}, not the name of a file"
    elif "://" in name:
        fault = f"{shown(name)} is an address; images are not downloaded"
    elif name.startswith("/") or ".." in name.split("/"):
        fault = f"{shown(name)} leads out of the folder of the metadata file"
    if fault:
        raise NotReadyError(
            f"{unit(metadata)} {number} of {shown(str(metadata))} names no image of this folder",
            cause=fault,
            remedy="put the image below that folder and write its path from there",
        )
    return posixpath.normpath(posixpath.join(folder, name))


class _Missing:
    """Collects rows whose image is not there; one error names the first five."""

    def __init__(self, files: dict[str, int]) -> None:
        self._files = files
        self._rows: list[tuple[Path, int, str]] = []

    def add(self, metadata: Path, number: int, image: str) -> None:
        self._rows.append((metadata, number, image))

    def stop(self) -> None:
        """Raise if any row was added."""
        if not self._rows:
            return
        metadata, _, image = self._rows[0]
        names = [f"{shown(image)} ({unit(m)} {number})" for m, number, image in self._rows]
        raise NotReadyError(
            f"{shown(str(metadata))} names {count(len(names), 'image')} that "
            f"{'is' if len(names) == 1 else 'are'} not there",
            cause=f"missing: {listed(names)}",
            remedy=self._hint(image),
        )

    def _hint(self, image: str) -> str:
        slashed = image.replace("\\", "/")
        if slashed in self._files:
            return f"write file names with / instead of \\: {shown(slashed)}"
        near = next((path for path in self._files if path.lower() == image.lower()), None)
        if near is not None:
            return f"write the names in the case the files have: {shown(near)}"
        same_stem = posixpath.splitext(image)[0] + "."
        near = next((p for p in self._files if p.startswith(same_stem) and is_image(p)), None)
        near = near or nearest(image, filter(is_image, list(self._files)[:1000]))
        hint = f" (there is {shown(near)})" if near else ""
        return f"correct the names{hint}, copy the images there, or remove the rows"


def _caption_file(image: str, texts: set[str]) -> str | None:
    stem = posixpath.splitext(image)[0]
    return next((p for p in (f"{stem}.txt", f"{stem}.TXT", f"{image}.txt") if p in texts), None)


def _about_the_set(path: str) -> bool:
    stem = posixpath.splitext(posixpath.basename(path))[0].lower()
    return stem in {"readme", "license", "licence", "classes", "requirements", "notice"}


def _caption_lines(path: Path) -> tuple[str, ...]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise NotReadyError(
            f"the caption file {shown(str(path), 300)} cannot be read",
            cause=why(error),
            remedy="make it readable for you and save it as UTF-8 text",
        ) from error
    lines = tuple(line.strip() for line in text.split("\n") if line.strip())
    return lines or ("",)


def _index(
    form: Form,
    root: Path,
    files: dict[str, int],
    found: list[tuple[str, tuple[str, ...]]],
    spare_texts: Sequence[str] = (),
) -> DataIndex:
    rows: list[Row] = []
    taken: dict[str, int] = {}
    repeated: dict[str, None] = {}
    for path, captions in found:
        visits = taken[path] = taken.get(path, 0) + 1
        if visits > 1:
            repeated[path] = None
        # "#2": no two rows of a set have one name, or a report could not tell them apart.
        rows.append(Row(path if visits == 1 else f"{path}#{visits}", captions))
    if not rows:
        raise _no_rows(root, files)
    paths = [path for path, _ in found]
    problems = DataProblems(
        images_without_row=Few.of(p for p in files if is_image(p) and p not in taken),
        captions_without_image=Few.of(spare_texts),
        duplicates=Few.of(repeated),
        empty_captions=empty_captions(rows),
    )
    reader = FileReader(root, paths, [files[path] for path in paths])
    return DataIndex(form=form, source=str(root), rows=rows, reader=reader, problems=problems)

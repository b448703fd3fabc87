"""Finds out which form a data source has, and opens it."""

import posixpath
import re
from pathlib import Path

from sdcore.data.folder import (
    is_image,
    list_files,
    open_captions,
    open_imagefolder,
    without_metadata,
)
from sdcore.data.index import DataIndex
from sdcore.data.metadata import NAMES
from sdcore.data.wording import shown
from sdcore.errors import NotReadyError
from sdcore.text import from_home

_HUB_ID = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}", re.ASCII)
# Names that old guides give and the hub no longer has, with what is used instead.
_GONE = {"lambdalabs/pokemon-blip-captions": "lambdalabs/naruto-blip-captions"}


def open_data(
    source: str,
    *,
    image_column: str = "image",
    caption_column: str = "text",
    config_name: str | None = None,
    cache_dir: str | None = None,
    max_samples: int | None = None,
    seed: int = 0,
) -> DataIndex:
    """Open a data set of any form and check every row, without reading an image.

    Args:
        source: A folder with metadata files or ``.txt`` captions, a parquet file or a folder of
            them, a folder of ``save_to_disk``, or a data set's id on the hub.
        image_column: Column with the image; for metadata files ``image`` means ``file_name``.
        caption_column: Column with a caption or a list of captions.
        config_name: Configuration of a data set on the hub.
        cache_dir: Where hub downloads are kept.
        max_samples: Keep this many rows, the first of a shuffle by ``seed``; None keeps all.
        seed: For ``max_samples``.

    Raises:
        NotReadyError: The source cannot be trained on; says which file, line and next step.
    """
    path = Path(from_home(source))
    if source and path.is_dir():
        index = _open_folder(path.absolute(), image_column, caption_column)
    elif path.is_file():
        index = _open_file(path.absolute(), image_column, caption_column)
    else:
        index = _open_hub(source, config_name, cache_dir, image_column, caption_column)
    return index if max_samples is None else index.sample(max_samples, seed)


def _open_folder(root: Path, image_column: str, caption_column: str) -> DataIndex:
    if (root / "dataset_dict.json").is_file() or (root / "state.json").is_file():
        from sdcore.data.saved import open_saved  # noqa: PLC0415 -- `datasets`: 1 s to import

        return open_saved(root, image_column, caption_column)
    if root == Path("/"):
        raise NotReadyError(
            "the data folder / is the whole machine",
            cause="every file below it would be looked at",
            remedy="name the folder that holds the images",
        )
    files = list_files(root)
    if any(posixpath.basename(path) in NAMES for path in files):
        return open_imagefolder(root, files, image_column, caption_column)
    tables = [path for path in files if path.endswith(".parquet")]
    if tables:
        from sdcore.data.parquet import open_parquet  # noqa: PLC0415 -- pyarrow: 0.2 s

        return open_parquet(root, tables, image_column, caption_column)
    stems = {posixpath.splitext(path)[0] for path in files if is_image(path)}
    if any(path.lower().endswith(".txt") and path[:-4] in stems for path in files):
        return open_captions(root, files)
    raise without_metadata(root, files)


def _open_file(path: Path, image_column: str, caption_column: str) -> DataIndex:
    if path.suffix == ".parquet":
        from sdcore.data.parquet import open_parquet  # noqa: PLC0415

        return open_parquet(path.parent, [path.name], image_column, caption_column)
    raise NotReadyError(
        f"{shown(str(path), 300)} is a file, not a data set",
        cause="only a .parquet file can be a data set by itself",
        remedy=f"name the folder it is in: {shown(str(path.parent), 300)}",
    )


def _open_hub(
    source: str, config: str | None, cache_dir: str | None, image_column: str, caption_column: str
) -> DataIndex:
    if source in _GONE:
        raise NotReadyError(
            f"the data set {source} is no longer on the hub",
            cause="its owner withdrew it in 2024; it can only be read from a local copy",
            remedy=f"mount your copy, for example at /mnt/dataset, and name that folder, "
            f"or use {_GONE[source]}, its usual replacement",
        )
    if not _HUB_ID.fullmatch(source) or source.startswith("."):
        raise NotReadyError(
            f"the data folder {shown(source, 300)} does not exist",
            cause="there is no file or folder of that name on this machine",
            remedy="check the path; data on another machine has to be copied or mounted first",
        )
    from sdcore.data.saved import open_hub  # noqa: PLC0415 -- `datasets`: 1 s to import

    return open_hub(source, config, cache_dir, image_column, caption_column)

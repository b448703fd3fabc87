"""Writes a curve and its chart to files of one's own: CSV, SVG, PNG.

Nothing that exists is written over, and each file appears whole or not at all, readable for its
owner alone. Drawing a million steps takes a second: call this from a thread.
"""

import io
import itertools
import math
from collections.abc import Sequence
from pathlib import Path

from sdcore.errors import SdError, UsageError
from sdcore.runs.files import write_bytes
from sdcore.runs.paths import make_private
from sdcore.text import clean_line
from sdtui.language import _
from sdtui.live.curve import Curve
from sdtui.live.curve_columns import NAMES
from sdtui.widgets.chart_picture import Picture, png, svg

_COLUMNS = ("step", *(name for name in NAMES if name != "step"))
_WHOLE = {"step", "gpu_allocated", "gpu_peak"}
_AT_ONCE = 4096  # rows written in one go; another thread gets its turn between them


def export_csv(curve: Curve, path: Path) -> None:
    """Write every column of a curve; a loss that is no number stands as ``nan`` or ``inf``.

    Raises:
        SdError: The curve is still being read, or the file cannot be written.
    """
    if curve.coarse:
        raise UsageError(
            _("the curve is not complete yet"),
            cause=_("its file is still being read"),
            remedy=_("export again when the chart no longer says so"),
        )
    file = io.StringIO()
    file.write(",".join(_COLUMNS) + "\n")
    for begin in range(0, len(curve), _AT_ONCE):
        part = slice(begin, begin + _AT_ONCE)
        columns = [_words(name, getattr(curve, name)[part].tolist()) for name in _COLUMNS]
        file.writelines(",".join(row) + "\n" for row in zip(*columns, strict=True))
    _write(path, file.getvalue().encode())


def export_svg(picture: Picture, path: Path) -> None:
    """Write the chart as SVG.

    Raises:
        SdError: The file cannot be written.
    """
    _write(path, svg(picture))


def export_png(picture: Picture, path: Path) -> None:
    """Write the chart as PNG.

    Raises:
        SdError: The file cannot be written.
    """
    _write(path, png(picture))


def export_all(
    folder: Path, stem: str, picture: Picture, curves: Sequence[tuple[str, Curve]]
) -> list[Path]:
    """Write a chart and the curves in it.

    Args:
        folder: Is made when it is not there.
        stem: What the names of all files begin with; a number follows where they exist already.
        picture: The chart.
        curves: With the name of each one's run; the first is the chart's own.

    Returns:
        The files: the curves in their order, then SVG and PNG.

    Raises:
        SdError: Something cannot be written; what is already there then stays.
    """
    try:
        make_private(folder)
    except OSError as error:
        raise _trouble(folder, error) from error
    safe = [_safe(name) for name, _curve in curves[1:]]
    ends = [".csv", *(f"-{number}-{name}.csv" for number, name in enumerate(safe, 2)),
            ".svg", ".png"]  # fmt: skip
    paths = _free(folder, _safe(stem), ends)
    for (_name, curve), path in zip(curves, paths, strict=False):
        export_csv(curve, path)
    export_svg(picture, paths[-2])
    export_png(picture, paths[-1])
    return paths


def _free(folder: Path, stem: str, ends: Sequence[str]) -> list[Path]:
    """Return names that none of which is taken, all with the same beginning."""
    for number in itertools.count(1):
        begin = stem if number == 1 else f"{stem}-{number}"
        paths = [folder / (begin + end) for end in ends]
        if not any(path.exists() or path.is_symlink() for path in paths):
            return paths
    raise AssertionError("count ends never")


def _safe(name: str) -> str:
    """Return a part of a file name that holds nothing a shell or a path could trip over."""
    kept = "".join(sign if sign.isalnum() or sign in "._-" else "-" for sign in name)[:80]
    return kept.strip(".-") or "chart"


def _words(name: str, values: list[float]) -> list[str]:
    """Write one column; what was not measured is empty."""
    if name in _WHOLE:
        return ["" if math.isnan(value) else f"{value:.0f}" for value in values]
    if name == "loss":
        return [repr(value) for value in values]
    return ["" if math.isnan(value) else repr(value) for value in values]


def _write(path: Path, content: bytes) -> None:
    try:
        write_bytes(path, content)
    except OSError as error:
        raise _trouble(path, error) from error


def _trouble(path: Path, error: OSError) -> SdError:
    return SdError(
        _("{path} cannot be written").format(path=clean_line(str(path))),
        cause=clean_line(error.strerror or str(error)),
        remedy=_("choose a folder of yours with room in it"),
    )

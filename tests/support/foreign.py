"""Reads logs of trainers that are not ours, as the reader does."""

import os
from collections.abc import Iterator
from pathlib import Path

from sdcore.supervise.foreign.curve import (
    Curve,
    Matched,
)
from sdcore.supervise.foreign.pieces import Tail
from sdcore.supervise.foreign.said import Said

LOGS = Path(__file__).parents[1] / "data" / "foreign"
BAR = "\r{desc}: {p}%|#2   | {n}/{total} [{at}<05:02, 1.45it/s, {post}]"


def bar(desc: str, n: int, total: int, post: str, at: str = "00:41") -> str:
    return BAR.format(desc=desc, p=100 * n // total, n=n, total=total, post=post, at=at)


def read(tail: Tail, curve: Curve | Matched, *, final: bool = True) -> Iterator[Said]:
    """Read what is there, as the reader does."""
    while (pieces := tail.read(final=final)) is not None:
        for piece in pieces:
            yield from curve.take(piece)


def told(path: Path, content: str | None = None) -> tuple[list[tuple[int | None, float]], Curve]:
    if content is not None:
        path.write_text(content, newline="")
    curve = Curve()
    steps = [(each.step, each.loss or 0.0) for each in read(Tail(path), curve)]
    return steps, curve


def fed(path: Path, cuts: list[int], curve: Curve) -> list[Said]:
    """Have a log grow up to each of ``cuts`` and be read there."""
    content, grown = path.read_bytes(), path.with_suffix(".grown")
    tail, found = Tail(grown), []
    with grown.open("wb") as file:
        before = 0
        for cut in [*sorted(cuts), len(content)]:
            file.write(content[before:cut])
            file.flush()
            before = cut
            found += list(read(tail, curve, final=False))
    return found + list(read(tail, curve))


def fed_copy(path: Path, cuts: list[int]) -> list[Said]:
    copy = Path(os.environ["SDTUI_HOME"]) / path.name
    copy.parent.mkdir(parents=True, exist_ok=True)
    copy.write_bytes(path.read_bytes())
    return fed(copy, cuts, Curve())

"""Keeps an installed package out of the sight of others while they are imported."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def hidden(package: str) -> Iterator[None]:
    """Let every import find that ``package`` is not installed, unless it is loaded already."""
    if package in sys.modules:
        yield
        return
    sys.modules[package] = None  # type: ignore[assignment]  # as the import system's own mark
    try:
        yield
    finally:
        if sys.modules.get(package, package) is None:
            del sys.modules[package]

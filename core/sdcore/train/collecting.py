"""Keeps Python's garbage collector from searching what a start has just imported.

The imports of torch, diffusers and transformers make half a million objects. The collector goes
through them again and again while they come, for more than a second of a start, and none of them
is garbage.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collecting_later() -> Iterator[None]:
    """Collect no garbage until ``collect_again``, or until the end of this context."""
    gc.disable()
    try:
        yield
    finally:
        gc.unfreeze()
        gc.enable()


def collect_again() -> None:
    """Collect garbage from now on; what there is by now stays, and is not looked at again."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()

"""Garbage is collected when nobody types."""

import gc
import time
from collections.abc import Iterator

import pytest

from sdtui import tidying
from sdtui.tidying import Tidier


@pytest.fixture(autouse=True)
def own_collector() -> Iterator[None]:
    """Give Python's collector back as it was."""
    thresholds = gc.get_threshold()
    yield
    gc.set_threshold(*thresholds)
    gc.unfreeze()


class _Knot:
    """Refers to itself: only the collector can end it."""

    alive = 0

    def __init__(self) -> None:
        _Knot.alive += 1
        self.own = self

    def __del__(self) -> None:
        _Knot.alive -= 1


def test_what_is_old_is_collected_in_a_quiet_moment_and_at_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A key would wait for it, or memory would grow for ever."""
    monkeypatch.setattr(tidying, "_PAUSE_S", 0.0)
    tidier = Tidier()
    _Knot()
    gc.collect(1)
    aged = [_Knot() for _ in range(3)]
    gc.collect(1)  # they live, so they are old now
    aged.clear()
    for _ in range(200):
        gc.collect(1)
    assert _Knot.alive == 3
    tidier.tidy(typed=time.monotonic())
    assert _Knot.alive == 3
    tidier.tidy(typed=time.monotonic() - 10)
    assert _Knot.alive == 0
    assert gc.isenabled()

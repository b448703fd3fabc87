"""What a start imports is not searched for garbage; what a training leaves is collected."""

import gc
from typing import Any

import pytest

from sdcore.train import collecting, loop


def test_a_training_collects_its_garbage(train: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A collector that stays off makes a run grow until the host kills it."""
    seen: list[bool] = []
    forward = loop.Loop.forward

    def looking(self: Any, micro: int) -> Any:
        seen.append(gc.isenabled() and gc.get_freeze_count() > 0)
        return forward(self, micro)

    monkeypatch.setattr(loop.Loop, "forward", looking)
    assert train("--max_train_steps", "2").code == 0
    assert seen
    assert all(seen)
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0


def test_a_start_that_fails_leaves_the_collector_on(train: Any) -> None:
    assert train("--max_train_steps", "2", "--pretrained_model_name_or_path", "/none").code == 3
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0


def test_nothing_is_kept_for_good_without_a_start() -> None:
    """Who builds a training in a process of their own decides about their collector."""
    collecting.collect_again()
    assert gc.get_freeze_count() == 0

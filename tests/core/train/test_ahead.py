"""Batches prepared ahead in a thread are those that the main thread would have made."""

import os
import signal
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from sdcore.data import BadImageError
from sdcore.train import loop, validating
from sdcore.train.ahead import Ahead
from sdcore.train.batches import Batches
from sdcore.train.latents import Draw, LiveLatents
from support.tiny_model import make_shapes
from support.trained import Trained

SHAPES = [(60, 40), (40, 60), (44, 40), (62, 41), (41, 42), (38, 62), (44, 45), (66, 43)]
FLAGS = [
    "--max_train_steps", "9", "--gradient_accumulation_steps", "2", "--random_flip", "--use_ema",
    "--learning_rate", "0.01", "--checkpointing_steps", "4", "--validation_split", "2",
    "--validation_steps", "3", "--proportion_empty_prompts", "0.2", "--noise_offset", "0.1",
]  # fmt: skip


@pytest.fixture(autouse=True)
def _few_visits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validating, "_LEAST_VISITS", 4)


@pytest.fixture
def photos(tmp_path: Path) -> list[str]:
    """Flags of a training on images that are cropped at random, so read at every visit."""
    return [*FLAGS, "--train_data_dir", str(make_shapes(tmp_path / "photos", SHAPES))]


@pytest.fixture
def spoiled(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[int, int]], None]:
    """Let images be bad from a position on, whenever and wherever that is prepared."""
    prepare = LiveLatents._prepare

    def order(rows: dict[int, int]) -> None:
        def spoil(self: LiveLatents, draw: Draw) -> torch.Tensor:
            if draw.position >= rows.get(draw.row, 1 << 40):
                raise BadImageError(self._index.rows[draw.row].name, "spoiled")
            return prepare(self, draw)

        monkeypatch.setattr(LiveLatents, "_prepare", spoil)

    return order


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the threads in which batches are loaded."""
    names: list[str] = []
    load = Batches.load

    def noting(self: Batches, *arguments: Any) -> Any:
        names.append(threading.current_thread().name)
        return load(self, *arguments)

    monkeypatch.setattr(Batches, "load", noting)
    return names


def ahead(monkeypatch: pytest.MonkeyPatch, passes: int) -> None:
    monkeypatch.setattr(loop, "passes_ahead", lambda _device: passes)


def alive() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("batches")]


def test_a_run_prepared_ahead_is_the_run_that_is_not_to_the_last_bit(
    train: Callable[..., Trained],
    photos: list[str],
    spoiled: Callable[[dict[int, int]], None],
    threads: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Over random crops, images that rot, validation, a stop in the middle and a resume.

    Made from a state that was past when it was shown, a batch would be of another image.
    """
    spoiled({1: 9, 4: 14, 6: 22})
    flags = [*photos, "--on_bad_image", "skip"]
    ahead(monkeypatch, 0)
    whole = train(*flags, out="whole")
    assert whole.code == 0, whole.err
    assert set(threads) == {"MainThread"}
    assert whole.metrics()[9]["bad_images"] == 3
    threads.clear()
    ahead(monkeypatch, 2)
    forward = loop.Loop.forward

    def stopping(self: Any, micro: int) -> Any:
        if self.step == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        return forward(self, micro)

    with monkeypatch.context() as patch:
        patch.setattr(loop.Loop, "forward", stopping)
        stopped = train(*flags)
    assert stopped.code == 4, stopped.err
    assert alive() == []
    done = train(*flags, "--resume_from_checkpoint", "latest")
    assert done.code == 0, done.err
    assert "bit for bit" in done.err
    assert threads.count("batches_0") > 12
    assert done.losses() == whole.losses()
    assert done.bits(9) == whole.bits(9)
    for step, line in whole.metrics().items():
        for name in ("val_loss", "val_loss_ema", "bad_images"):
            assert done.metrics()[step].get(name) == line.get(name)
    told, expected = ([e["text"] for e in run.events("warning")] for run in (done, whole))
    assert told == expected
    assert alive() == []


def test_an_error_comes_at_the_step_it_would_come_without(
    train: Callable[..., Trained],
    photos: list[str],
    spoiled: Callable[[dict[int, int]], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Raised as soon as the thread has it, it would cost the steps before it."""
    spoiled({2: 20})
    found = []
    for passes in (0, 2):
        ahead(monkeypatch, passes)
        done = train(*photos, out=f"out-{passes}")
        assert done.code == 3
        assert "the image 2.png cannot be used" in done.err
        assert alive() == []
        found.append((done.losses(), done.rank()["step"], done.steps))
    assert found[0] == found[1]
    assert found[0][1] >= 4


def test_the_next_batch_is_made_while_a_step_computes(
    train: Callable[..., Trained], photos: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Made by the main thread after its wait for the device, it lets the device wait in turn."""
    ahead(monkeypatch, 1)
    load, forward = Batches.load, loop.Loop.forward
    begun = threading.Event()

    def noting(self: Batches, positions: Any, bad: Any) -> Any:
        if positions[0] == 4:  # of the second step: two passes of two images each
            begun.set()
        return load(self, positions, bad)

    def computing(self: Any, micro: int) -> Any:
        loss = forward(self, micro)
        if (self.step, micro) == (0, 1):
            assert begun.wait(20), "the first step is not done, and the second's batch is not begun"
        return loss

    monkeypatch.setattr(Batches, "load", noting)
    monkeypatch.setattr(loop.Loop, "forward", computing)
    done = train(*photos, "--max_train_steps", "2")
    assert done.code == 0, done.err


def test_what_was_prepared_from_a_past_state_is_made_again() -> None:
    """Another process found an image bad meanwhile: the batch that lies ready still shows it."""
    faults = SimpleNamespace(bad=frozenset[int]())
    asked: list[tuple[int, frozenset[int]]] = []

    def load(positions: list[int], bad: frozenset[int]) -> Any:
        asked.append((positions[0], bad))
        if positions[0] == 6 and not bad:
            raise BadImageError("6.png", "of a state that is past")
        return SimpleNamespace(before=bad, after=bad, positions=positions)

    batches: Any = SimpleNamespace(
        faults=faults, device=torch.device("cpu"), load=load,
        place=lambda loaded: (loaded.positions[0], loaded.before),
    )  # fmt: skip
    with closing(Ahead(batches, 2, 3)) as under_test:
        assert under_test.take([0, 1]) == (0, frozenset())
        assert under_test.take([2, 3]) == (2, frozenset())
        faults.bad = frozenset({5})
        assert under_test.take([4, 5]) == (4, {5})
        assert under_test.take([6, 7]) == (6, {5})
        assert under_test.take([100, 101]) == (100, {5}), "nothing follows one another here"
    assert alive() == []
    assert (4, frozenset({5})) in asked

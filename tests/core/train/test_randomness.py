"""Random numbers follow from seed and position alone."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sdcore.train.randomness import (
    Order,
    Stream,
    draw_seed,
    integers,
    micro_positions,
    normal,
    uniform,
)

SEEDS = st.integers(0, 2**63 - 1)
PINNED = [-0.5532611608505249, -0.5673727989196777, -1.3970829248428345]


@given(
    world=st.integers(1, 5), passes=st.integers(1, 4), batch=st.integers(1, 4),
    start=st.integers(0, 10**9),
)  # fmt: skip
def test_any_split_of_a_window_covers_its_positions_once(
    world: int, passes: int, batch: int, start: int
) -> None:
    """Two ranks on the same position train twice on one image and never on another."""
    seen = [
        position
        for micro in range(passes)
        for rank in range(world)
        for position in micro_positions(start, micro, rank, world, batch)
    ]
    assert seen == list(range(start, start + world * passes * batch))


@given(seed=SEEDS, count=st.integers(1, 60), epoch=st.integers(0, 1000))
def test_each_epoch_shows_each_row_once(seed: int, count: int, epoch: int) -> None:
    order = Order(seed, count)
    rows = [order.row(epoch * count + i) for i in range(count)]
    assert sorted(rows) == list(range(count))


def test_epochs_seeds_and_streams_differ() -> None:
    order = Order(7, 50)
    first = [order.row(i) for i in range(50)]
    assert first != [order.row(50 + i) for i in range(50)]
    assert first != [Order(8, 50).row(i) for i in range(50)]
    draws = {tuple(normal(7, stream, [0], (4,))[0].tolist()) for stream in Stream}
    assert len(draws) == len(Stream)


@given(seed=SEEDS, positions=st.lists(st.integers(0, 2**40), min_size=1, max_size=6))
@settings(max_examples=30)
def test_a_sample_gets_its_noise_whatever_its_batch_is(seed: int, positions: list[int]) -> None:
    together = normal(seed, Stream.NOISE, positions, (4, 2, 2))
    alone = [normal(seed, Stream.NOISE, [position], (4, 2, 2))[0] for position in positions]
    assert torch.equal(together, torch.stack(alone))
    assert integers(seed, Stream.TIMESTEP, positions, 1000) == [
        integers(seed, Stream.TIMESTEP, [position], 1000)[0] for position in positions
    ]


def test_the_numbers_of_a_seed_are_pinned() -> None:
    """A NumPy that draws differently would break every resume across the upgrade unseen."""
    assert integers(1, Stream.TIMESTEP, [0, 1, 2, 2**40], 1000) == [309, 243, 112, 488]
    assert uniform(1, Stream.FLIP, 0) == 0.8519430877379673
    assert normal(1, Stream.NOISE, [5], (3,))[0].tolist() == PINNED


def test_noise_is_normal_and_timesteps_are_uniform() -> None:
    noise = normal(3, Stream.NOISE, range(200), (4, 8, 8)).numpy()
    assert abs(noise.mean()) < 0.02
    assert abs(noise.std() - 1) < 0.02
    neighbours = np.corrcoef(noise[:-1].reshape(-1), noise[1:].reshape(-1))[0, 1]
    assert abs(neighbours) < 0.02
    steps = np.array(integers(3, Stream.TIMESTEP, range(5000), 1000))
    assert steps.min() >= 0
    assert steps.max() <= 999
    assert abs(steps.mean() - 499.5) < 15


def test_a_drawn_seed_is_a_seed() -> None:
    seeds = {draw_seed() for _ in range(5)}
    assert len(seeds) == 5
    assert all(0 <= seed < 2**31 for seed in seeds)

"""The arithmetic of a run: how many images a step takes, how many steps there are, what is due."""

import math
from dataclasses import dataclass

from sdcore.task.train_spec import TrainSpec


@dataclass(frozen=True, slots=True)
class Plan:
    """Numbers that follow from settings, data and processes.

    Attributes:
        images: Usable rows of the data, > 0.
        window: Images per optimizer step over all ranks and passes.
        steps: Optimizer steps of the whole run.
        seed: Of all randomness.
        sample_every: Steps between two samplings; None: no prompts.
    """

    images: int
    window: int
    steps: int
    seed: int
    sample_every: int | None

    @property
    def steps_per_epoch(self) -> float:
        """Optimizer steps in one pass over the data; below 1 for a window larger than it."""
        return self.images / self.window

    def epochs_at(self, samples: int) -> float:
        """Return the passes over the data that ``samples`` images make."""
        return samples / self.images

    def samples_due(self, step: int) -> bool:
        """Say whether pictures are drawn after ``step``; the last step always draws them."""
        if self.sample_every is None:
            return False
        return step == self.steps or step % self.sample_every == 0


def make_plan(spec: TrainSpec, images: int, world_size: int, seed: int) -> Plan:
    """Count. An epoch that ends within a window counts as reached when the window is done."""
    window = world_size * spec.train_batch_size * spec.gradient_accumulation_steps
    steps = spec.max_train_steps or math.ceil(spec.num_train_epochs * images / window)
    every = None
    if spec.validation_prompts:
        by_epoch = max(1, round(spec.validation_epochs * images / window))
        every = spec.validation_steps or by_epoch
    return Plan(images, window, steps, seed, every)

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
        validate_every: Steps between two validations; None: no image is held out.
    """

    images: int
    window: int
    steps: int
    seed: int
    sample_every: int | None
    validate_every: int | None = None

    @property
    def steps_per_epoch(self) -> float:
        """Optimizer steps in one pass over the data; below 1 for a window larger than it."""
        return self.images / self.window

    def epochs_at(self, samples: int) -> float:
        """Return the passes over the data that ``samples`` images make."""
        return samples / self.images

    def samples_due(self, step: int) -> bool:
        """Say whether pictures are drawn after ``step``; the last step always draws them."""
        return self._due(step, self.sample_every)

    def validation_due(self, step: int) -> bool:
        """Say whether the held-out images are looked at after ``step``; as with pictures."""
        return self._due(step, self.validate_every)

    def _due(self, step: int, every: int | None) -> bool:
        return every is not None and (step == self.steps or step % every == 0)


def make_plan(spec: TrainSpec, images: int, world_size: int, seed: int) -> Plan:
    """Count. An epoch that ends within a window counts as reached when the window is done."""
    window = world_size * spec.train_batch_size * spec.gradient_accumulation_steps
    steps = spec.max_train_steps or math.ceil(spec.num_train_epochs * images / window)
    by_epoch = max(1, round(spec.validation_epochs * images / window))
    every = spec.validation_steps or by_epoch
    return Plan(
        images, window, steps, seed,
        sample_every=every if spec.validation_prompts else None,
        validate_every=every if spec.validation_split else None,
    )  # fmt: skip

"""What a training loop works with."""

from dataclasses import dataclass

import torch

from sdcore.train.batches import Batches
from sdcore.train.ema import Ema
from sdcore.train.optimizing import Updater
from sdcore.train.parts import Part
from sdcore.train.plan import Plan
from sdcore.train.samples import Sampler
from sdcore.train.step import Objective
from sdcore.train.trackers import Trackers
from sdcore.train.trainees import Trainee
from sdcore.train.validating import Validator


@dataclass(frozen=True, slots=True)
class Kit:
    """The parts a loop works with, all on their device.

    Attributes:
        net: What predicts, as it is called: wrapped, with several processes.
        trainee: What is trained, without the wrapper.
        parts: What a checkpoint is made of.
        fingerprint: Of the data, for checkpoints.
        dropout: Whether ``net`` draws random numbers of its own.
    """

    plan: Plan
    batches: Batches
    net: torch.nn.Module
    trainee: Trainee
    objective: Objective
    updater: Updater
    ema: Ema | None
    sampler: Sampler | None
    validator: Validator | None
    trackers: Trackers
    parts: tuple[Part, ...]
    fingerprint: str
    dropout: bool

"""What the client leaves for a cluster's job: the plan, and the environment to carry it out in."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sdcore.launch.plan import LaunchPlan
from sdcore.runs.files import read_json
from sdcore.runs.paths import FORMAT


@dataclass(frozen=True, slots=True)
class Order:
    """What the client left for the job.

    Attributes:
        plan: Of the first attempt of this job.
        again: The command line of every later one, which goes on from the newest checkpoint.
        env: Of the shell that submitted, as far as it means something here.
        spread: One launcher, or one start of the command, on each node; else one on the first.
        ranks: Training processes on each node.
        restarts: How often the job may go back to the queue.
        grace_s: Seconds before the time limit at which Slurm signals.
    """

    plan: LaunchPlan
    again: list[str]
    env: dict[str, str]
    spread: bool
    ranks: int
    restarts: int
    grace_s: int

    def to_record(self) -> dict[str, Any]:
        """Return plain data for JSON; it holds secrets."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {**fields, "plan": self.plan.to_record(), "format": FORMAT}

    @classmethod
    def read(cls, path: Path) -> "Order | None":
        """Read it; None when it was taken away, because the run is over."""
        record = read_json(path)
        if record is None:
            return None
        plan = LaunchPlan.from_json(json.dumps(record["plan"]))
        fields = {name: record[name] for name in cls.__dataclass_fields__}
        return cls(**{**fields, "plan": plan})

    def plan_of(self, attempt: int) -> LaunchPlan:
        """Return what is started in ``attempt``; every later one goes on from a checkpoint."""
        argv = self.plan.argv if attempt == self.plan.attempt else self.again
        return replace(self.plan, argv=argv, attempt=attempt)

"""What will be executed, in full: the planner's answer and the supervisor's order.

The client hands the plan to the supervisor on a pipe, secrets and all, and writes a masked copy
as ``launch.json``. Only the standard library: the supervisor has to stay small.
"""

import json
import re
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

MASK = "***"
_SECRET = re.compile(r"TOKEN|KEY|SECRET|PASSWORD", re.IGNORECASE)


def is_secret(name: str) -> bool:
    """Say whether a variable of this name may hold a secret."""
    return _SECRET.search(name) is not None


def mask_env(env: dict[str, str]) -> dict[str, str]:
    """Return ``env`` with the value of every secret replaced."""
    return {name: MASK if is_secret(name) else value for name, value in env.items()}


@dataclass(frozen=True, slots=True)
class LaunchPlan:
    """One start of one run.

    Attributes:
        name: The run's name.
        argv: The launcher and its arguments; nothing here passes through a shell again.
        cwd: Where it starts.
        env: What is added to the environment the client had, ``SDTUI_*`` included.
        attempt: 1 for the first start, one more for each resume.
        gpu_count: Devices to take; 0 trains on the CPU.
        gpu_type: The device name asked for, for example ``NVIDIA-H800``; None takes any.
        gpu_share: Take devices that programs outside sdtui use, too.
        cooperative: The child reads ``requests/stop.json`` and saves before it leaves.
        total_steps: Optimizer steps of the whole run, when known.
        runtime: ``host``: no container, no mount points.
        stop_grace_s: From a stop request until SIGTERM, in seconds.
        term_grace_s: From SIGTERM until SIGKILL, in seconds.
    """

    name: str
    argv: list[str]
    cwd: str
    env: dict[str, str] = field(default_factory=dict)
    attempt: int = 1
    gpu_count: int = 0
    gpu_type: str | None = None
    gpu_share: bool = False
    cooperative: bool = False
    total_steps: int | None = None
    runtime: str = "host"
    stop_grace_s: float = 300.0
    term_grace_s: float = 30.0

    def masked(self) -> Self:
        """Return a copy that may be shown and stored."""
        return replace(self, env=mask_env(self.env))

    def to_record(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read what ``json.dumps(plan.to_record())`` wrote; unknown keys are ignored."""
        record = json.loads(text)
        known = {name: record[name] for name in cls.__dataclass_fields__ if name in record}
        return cls(**known)

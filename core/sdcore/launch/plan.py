"""What will be executed, in full: the planner's answer and the supervisor's order.

The client hands the plan to the supervisor on a pipe, secrets and all, and writes a masked copy
as ``launch.json``. Only the standard library: the supervisor has to stay small.
"""

import json
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

from sdcore.masking import mask_env


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
        runtime: What surrounds the command; ``host`` is nothing.
        why: Why this runtime, in words.
        term_to: Who gets SIGTERM: ``all`` processes, those ``below`` the launcher, or the
            ``launcher`` alone, which passes it on.
        deaf: It is started with SIGHUP, SIGINT and SIGTERM ignored.
        end_argv: Ends what outlives the launcher: a container of a daemon.
        device_words: Go into ``argv`` at ``devices_at``; see ``argv_for``.
        devices_at: Index in ``argv``.
        device_env: Variables in which ``{uuids}`` stands for the devices.
        stop_grace_s: From a stop request until SIGTERM, in seconds.
        term_grace_s: From SIGTERM until SIGKILL, in seconds.
        metrics_source: Of a start command: where its losses are read; see ``MetricsSpec``.
        metrics_pattern: Likewise.
        end_hook: What bash runs on this host when the run is over; empty for nothing.
        hook_limit_s: Seconds it may take.
        hook_cwd: Where it starts.
        hook_env: What it finds in its environment: the task's own, without secrets, and the
            folders of this host. ``env`` is for the training, and may name what is a rank's.
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
    why: str = ""
    term_to: str = "all"
    deaf: bool = False
    end_argv: list[str] = field(default_factory=list)
    device_words: list[str] = field(default_factory=list)
    devices_at: int = 0
    device_env: dict[str, str] = field(default_factory=dict)
    stop_grace_s: float = 300.0
    term_grace_s: float = 30.0
    metrics_source: str = "auto"
    metrics_pattern: str | None = None
    end_hook: str = ""
    hook_limit_s: float = 60.0
    hook_cwd: str = ""
    hook_env: dict[str, str] = field(default_factory=dict)

    def argv_for(self, visible: str) -> list[str]:
        """Return ``argv`` for the devices of ``visible``, UUIDs with commas in between.

        A container's client has to be told them; the variable alone says nothing to it.
        """
        words: list[str] = []
        for word in self.device_words if visible else []:
            if "{uuid}" in word:
                words += [word.replace("{uuid}", uuid) for uuid in visible.split(",")]
            else:
                words.append(word.replace("{uuids}", visible))
        return [*self.argv[: self.devices_at], *words, *self.argv[self.devices_at :]]

    def env_for(self, visible: str) -> dict[str, str]:
        """Return the variables that tell a container's client its devices."""
        return {name: value.replace("{uuids}", visible) for name, value in self.device_env.items()}

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

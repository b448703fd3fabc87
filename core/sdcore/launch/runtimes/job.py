"""What a planner of a runtime is given, and what it answers."""

from dataclasses import dataclass, field
from typing import Literal

from sdcore.launch.runtimes.facts import RuntimeFacts

# Who is told to end: every process, every one below the launcher, or the launcher alone.
TermTo = Literal["all", "below", "launcher"]


@dataclass(frozen=True, slots=True)
class Bind:
    """A folder of this host and where the task sees it."""

    source: str
    target: str
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class Job:
    """A command and what it needs around it.

    Attributes:
        argv: The command, as it stands inside.
        env: The variables of the task, by name; the shell's are not among them.
        binds: Mounts, ``/output`` and the run's own folder, all absolute.
        folder: Where the command starts, inside.
        run: The run's folder, which the task sees at the same path.
        image: What follows ``rootfs:``, or the image's name; None for the host's own root.
        name: Of the container, unique on this host.
        gpus: How many devices it will get.
        given: A cluster gives the devices, by its own numbers.
        log: Where the command may write by itself; None where several nodes write one log.
        facts: Of the host.
    """

    argv: list[str]
    env: dict[str, str]
    binds: tuple[Bind, ...]
    folder: str
    run: str = ""
    image: str | None = None
    name: str = "sdtui"
    gpus: int = 0
    given: bool = False
    log: str | None = None
    facts: RuntimeFacts = field(default_factory=RuntimeFacts)


@dataclass(frozen=True, slots=True)
class Wrapped:
    """How the command is started.

    Attributes:
        argv: What is executed.
        env: Added to the job's variables.
        term_to: See ``TermTo``.
        deaf: The launcher is started with SIGHUP, SIGINT and SIGTERM ignored.
        end_argv: Ends what outlives the launcher; empty when nothing does.
        device_words: Go into ``argv`` at ``devices_at`` when the devices are known; ``{uuids}``
            stands for all of them, a word with ``{uuid}`` is repeated for each.
        devices_at: Index in ``argv``.
        device_env: Variables with ``{uuids}``.
    """

    argv: list[str]
    env: dict[str, str] = field(default_factory=dict)
    term_to: TermTo = "all"
    deaf: bool = False
    end_argv: list[str] = field(default_factory=list)
    device_words: list[str] = field(default_factory=list)
    devices_at: int = 0
    device_env: dict[str, str] = field(default_factory=dict)

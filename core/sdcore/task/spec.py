"""What a task is: the platform's form as a type.

The same object drives the form, ``--run``, ``--dry-run``, a resume and the printed command.
Limits are types and units are data, so that the form can be drawn from the fields.
"""

import posixpath
import re
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeInt,
    ValidationError,
    model_validator,
)

from sdcore.names import NAME
from sdcore.task.hooks import HooksSpec
from sdcore.task.image import image_kind, rootfs_of, unfit_for_pyxis
from sdcore.task.metrics import MetricsSpec
from sdcore.task.platform_env import PLATFORM_ENV
from sdcore.task.sbatch import refused_option, seconds_of
from sdcore.task.train_spec import TrainSpec

Runtime = Literal[
    "auto",
    "host",
    "bubblewrap",
    "unshare",
    "docker",
    "podman",
    "apptainer",
    "enroot",
    "pyxis",
]

# Where the platform's form mounts things; the last part is the role.
MOUNT_ROOT = "/mnt/"
DATASET, MODEL, PROJECT, OUTPUT = "/mnt/dataset", "/mnt/model", "/mnt/project", "/output"
_RESERVED = ("/", "/bin", "/boot", "/dev", "/etc", "/lib", "/lib64", "/proc", "/run", "/sbin",
             "/sys", "/usr", "/var")  # fmt: skip

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SLURM_WORD = r"^[A-Za-z0-9][A-Za-z0-9._,+@&|*:=-]{0,127}$"
_SLURM_TIME = r"^(\d+-\d{1,2}(:\d{2}){0,2}|\d+(:\d{2}){0,2}|UNLIMITED)$"
_SLURM_MEM = r"^\d+[KMGT]?$"


def _plain(value: Any) -> Any:
    if isinstance(value, str) and _CONTROL.search(value):
        raise ValueError("holds control characters")
    return value


def _number(value: Any) -> Any:
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise ValueError(f'must be text: write "{value}" with quotes')  # noqa: TRY004
    return value


Plain = Annotated[str, BeforeValidator(_plain)]


def _digits(value: Any) -> Any:
    return str(value) if type(value) is int else value


# A whole number, of minutes or of megabytes, is one of Slurm's own forms, and needs no quotes.
_SlurmTimeText = Annotated[str, Field(pattern=_SLURM_TIME)]
_SlurmMemText = Annotated[str, Field(pattern=_SLURM_MEM)]
SlurmTime = Annotated[
    _SlurmTimeText, BeforeValidator(_digits, json_schema_input_type=_SlurmTimeText | NonNegativeInt)
]
SlurmMem = Annotated[
    _SlurmMemText, BeforeValidator(_digits, json_schema_input_type=_SlurmMemText | NonNegativeInt)
]


class _Part(BaseModel):
    # A misspelt key must fail here: ignored, a task would run for hours on a default.
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class GpuSpec(_Part):
    """Which devices the task takes."""

    type: Plain | None = Field(None, description="Device name, e.g. NVIDIA-H800; any if left out.")
    count: int = Field(1, ge=0, le=64, description="Devices; 0 trains on the CPU.")
    share: bool = Field(False, description="Take devices that other programs are using, too.")
    processes: int | None = Field(
        None, ge=1, le=64, description="Training processes per machine on the CPU; 1 if left out."
    )

    @model_validator(mode="after")
    def _processes_fit(self) -> Self:
        if self.count and self.processes not in {None, self.count}:
            raise ValueError(
                f"processes {self.processes} with count {self.count}: there is one process for "
                "each GPU; leave processes out, or set count = 0 to train on the CPU"
            )
        return self

    @property
    def ranks(self) -> int:
        """Training processes on each machine."""
        return self.count or self.processes or 1


class Mount(_Part):
    """A folder of the host and the place where the task sees it."""

    source: Plain = Field(min_length=1, description="Folder on this host; ~ is your home.")
    target: Plain = Field(description="Absolute path inside the task, e.g. /mnt/dataset.")
    read_only: bool = Field(False, description="Forbid writing to it.")

    @model_validator(mode="after")
    def _target_is_safe(self) -> Self:
        target = self.target
        # normpath keeps a leading "//", with which "//proc" would be no folder of the system.
        normal = posixpath.normpath(target) == target and not target.startswith("//")
        if not target.startswith("/") or not normal:
            raise ValueError(f"target {target!r} must be an absolute path without . or .. or //")
        if target in _RESERVED or target.startswith(("/proc/", "/sys/", "/dev/", "/etc/")):
            raise ValueError(f"target {target!r} would cover a folder of the system")
        if target == OUTPUT:
            raise ValueError(f"target {OUTPUT} is the run's own output folder")
        if any(sign in path for path in (self.source, target) for sign in ":,"):
            raise ValueError("a path with : or , cannot be mounted by every runtime")
        if any(sign in path for path in (self.source, target) for sign in "\n\t"):
            raise ValueError("a path with a line break or a tab cannot be mounted")
        return self


class ClusterSpec(_Part):
    """Where the task runs when not on this machine. Names are Slurm's."""

    engine: Literal["slurm"] = Field(description="The scheduler that starts the task.")
    nodes: int = Field(1, ge=1, le=4096, description="Machines; gpu.count is per machine.")
    partition: str | None = Field(None, pattern=_SLURM_WORD, description="Partition.")
    account: str | None = Field(None, pattern=_SLURM_WORD, description="Account to charge.")
    qos: str | None = Field(None, pattern=_SLURM_WORD, description="Quality of service.")
    constraint: str | None = Field(None, pattern=_SLURM_WORD, description="Node features.")
    time_limit: SlurmTime | None = Field(
        None, description="Slurm's form: minutes, HH:MM:SS or D-HH:MM:SS."
    )
    cpus_per_task: int | None = Field(None, ge=1, le=4096, description="Cores per machine.")
    mem: SlurmMem | None = Field(None, description="Memory per machine.")
    grace_s: int = Field(
        180, ge=10, le=3600, description="Seconds before the time limit at which it saves."
    )
    restarts: int = Field(
        10, ge=0, le=1000, description="How often it goes back to the queue by itself; 0: never."
    )
    command_on: Literal["every node", "first node"] = Field(
        "every node",
        description="Where a start command is started; on the first node it spreads by itself.",
    )
    extra: tuple[Annotated[str, Field(pattern=r"^--[a-z][a-z-]*(=[^\s\x00-\x1f\x7f]+)?$")], ...] = (
        Field((), strict=False, description="Further sbatch options, e.g. --exclusive.")
    )

    @model_validator(mode="after")
    def _options_keep_the_contract(self) -> Self:
        for option in self.extra:
            if reason := refused_option(option):
                raise ValueError(f"extra: {option.partition('=')[0]} cannot be used: {reason}")
        limit = seconds_of(self.time_limit) if self.time_limit else None
        if limit is not None and limit <= self.grace_s:
            raise ValueError(
                f"time_limit {self.time_limit} leaves no time to train: saving begins grace_s = "
                f"{self.grace_s} seconds before it; lengthen time_limit, or lower grace_s"
            )
        return self


class TaskSpec(_Part):
    """A task: what to train, with what, on what."""

    name: str = Field("task", pattern=rf"^{NAME.pattern}$", description="Names the run's folder.")
    description: Plain = Field("", max_length=4000, description="Free text.")
    image: Plain | None = Field(
        None, description="Container image, or rootfs:/path; the host runtime ignores it."
    )
    runtime: Runtime = Field("auto", description="What surrounds the start command.")
    command: str | None = Field(
        None,
        min_length=1,
        description="Start command, run by bash; left out: built-in trainer. {dataset}, {model}, "
        "{project} and {output} stand for the folders on this host.",
    )
    gpu: GpuSpec = GpuSpec()
    mounts: tuple[Mount, ...] = Field((), strict=False)
    env: dict[str, Annotated[str, BeforeValidator(_number)]] = Field(
        default_factory=dict, description="Environment of the task."
    )
    train: TrainSpec = TrainSpec()
    cluster: ClusterSpec | None = None
    metrics: MetricsSpec = MetricsSpec()
    hooks: HooksSpec = HooksSpec()

    @model_validator(mode="after")
    def _parts_agree(self) -> Self:
        targets = [mount.target for mount in self.mounts]
        for target in targets:
            if targets.count(target) > 1:
                raise ValueError(f"two mounts have the target {target}")
            outer = next((t for t in (*targets, OUTPUT) if target.startswith(t + "/")), None)
            if outer is not None:
                raise ValueError(f"the target {target} lies inside the target {outer}")
        self._check_image()
        for name, value in self.env.items():
            if _ENV_NAME.fullmatch(name) is None:
                raise ValueError(f"env: {name!r} is not the name of a variable")
            # The system takes 128 KiB for one variable, name included.
            if "\0" in value or len(value.encode(errors="surrogatepass")) > 100_000:
                raise ValueError(f"env.{name}: a value has no NUL and at most 100,000 bytes")
        if self.command is None and self.metrics != MetricsSpec():
            raise ValueError(
                "metrics: the built-in trainer writes its metrics itself, and [metrics] says where "
                "to find those of a start command; leave [metrics] out, or give a command"
            )
        if self.command is None:
            self.effective_train()  # raises what a value of the environment table breaks
        return self

    @property
    def world_size(self) -> int:
        """Training processes on all machines together."""
        return self.gpu.ranks * (self.cluster.nodes if self.cluster else 1)

    @property
    def spread(self) -> bool:
        """True where each node of a cluster's job starts a launcher of its own."""
        if self.cluster is None or self.cluster.nodes == 1:
            return False
        return self.command is None or self.cluster.command_on == "every node"

    def _check_image(self) -> None:
        """Refuse a runtime that could do nothing with the image, or nothing without one."""
        kind, runtime = image_kind(self.image), self.runtime
        if kind == "rootfs" and not (self.image and rootfs_of(self.image).startswith(("/", "~"))):
            raise ValueError("image = 'rootfs:...' needs the absolute path of a folder")
        if runtime in {"docker", "podman", "apptainer", "enroot", "pyxis"} and kind != "reference":
            given = f"not {self.image!r}" if kind else "and image is left out"
            raise ValueError(f"runtime = {runtime!r} needs the name of an image, {given}")
        if runtime in {"docker", "podman"} and self.cluster is not None and self.gpu.count:
            raise ValueError(
                f"runtime = {runtime!r} with [cluster] and GPUs: Slurm counts the job's devices, "
                f"{runtime} those of the machine, and would take another job's; use pyxis, enroot "
                "or apptainer"
            )
        if runtime == "pyxis":
            if self.cluster is None:
                raise ValueError(
                    "runtime = 'pyxis' is an option of Slurm's srun: add [cluster] engine = "
                    "'slurm', or use another runtime on this machine"
                )
            if reason := unfit_for_pyxis(self.image or ""):
                raise ValueError(f"image: {reason}")
        if runtime in {"bubblewrap", "unshare"} and kind == "reference":
            raise ValueError(
                f"runtime = {runtime!r} runs no image such as {self.image!r}; "
                "it takes image = 'rootfs:/path' or none"
            )

    def mount(self, target: str) -> Mount | None:
        """Return the mount at ``target``, or None."""
        return next((mount for mount in self.mounts if mount.target == target), None)

    def effective_train(self) -> TrainSpec:
        """Return ``train`` with the platform's six variables applied.

        Raises:
            ValueError: A variable is no number, out of range, or contradicts ``[train]``.
        """
        settings = self.train.model_dump(exclude_unset=True)
        for variable, key in PLATFORM_ENV.items():
            if variable not in self.env:
                continue
            value = self._platform_value(variable, key)
            if key in settings and settings[key] != value:
                raise ValueError(
                    f"env.{variable} = {self.env[variable]!r} and train.{key} = "
                    f"{settings[key]!r} contradict each other; leave one of them out"
                )
            settings[key] = value
        return TrainSpec.model_validate(settings)

    def _platform_value(self, variable: str, key: str) -> Any:
        try:
            probe = TrainSpec.model_validate_strings(
                {key: self.env[variable].strip()}, strict=False
            )
        except ValidationError as error:
            problem = error.errors()[0]["msg"]
            raise ValueError(f"env.{variable} = {self.env[variable]!r}: {problem}") from None
        return getattr(probe, key)

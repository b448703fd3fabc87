"""Where a run keeps its files, and the only code that knows their names.

A run directory is the whole contract among three processes that share no memory: the console
reads; the supervisor and the training process write. Every file has one writer. Records are
replaced whole; streams grow by whole lines. Nothing here decides what a state means: see
``status``.
"""

import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sdcore.errors import UsageError
from sdcore.names import check_name
from sdcore.text import clean_line

FORMAT = 1  # of the run directory; a reader of this version reads every earlier one
_STEP = re.compile(r"step-(\d+)")
LORA_WEIGHTS = "pytorch_lora_weights.safetensors"  # diffusers' own name for adapters in a folder
SINGLE_FILE = "single_file.safetensors"  # beside the parts of a pipeline: all of them at once


def home() -> Path:
    """Return the folder of all state: ``$SDTUI_HOME``, else under the XDG state directory.

    Raises:
        UsageError: It is named after a person that this host does not know, or we have no home.
    """
    chosen = os.environ.get("SDTUI_HOME")
    state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    folder = Path(chosen) if chosen else Path(state, "sdtui")
    try:
        return folder.expanduser().absolute()
    except (RuntimeError, FileNotFoundError) as error:  # no such user; no current folder
        raise UsageError(
            f"the folder of runs, {clean_line(str(folder))}, cannot be found",
            cause=clean_line(str(error)),
            remedy="set SDTUI_HOME to a folder of yours, with its full path",
        ) from error


def runs_root() -> Path:
    """Return the folder that holds the run directories."""
    return home() / "runs"


def new_run_id(name: str, now: datetime) -> str:
    """Return ``YYYYMMDD-HHMMSS-<name>`` in local time, so that names sort by age."""
    return f"{now:%Y%m%d-%H%M%S}-{check_name(name)}"


@dataclass(frozen=True, slots=True)
class RunDir:
    """The files of one run, by name."""

    root: Path

    @property
    def id(self) -> str:
        """``YYYYMMDD-HHMMSS-<name>``."""
        return self.root.name

    @property
    def name(self) -> str:
        """The name a person gave the run."""
        return self.id[16:].split("~")[0] or self.id

    @property
    def created(self) -> datetime:
        """When the run was made, by its id, UTC; the epoch for a foreign folder name."""
        try:
            local = datetime.fromisoformat(self.id[:15].replace("-", "T", 1)).astimezone()
        except ValueError:
            return datetime.fromtimestamp(0, UTC)
        return local.astimezone(UTC)

    def inside(self, path: str | None) -> Path | None:
        """Make a path of a record absolute; one that is absolute lies outside the run."""
        return None if path is None else self.root / path

    # Records: replaced whole.
    @property
    def task(self) -> Path:
        """The frozen, resolved task; loadable as a preset. Writer: launcher."""
        return self.root / "task.toml"

    @property
    def launch(self) -> Path:
        """Argv, masked environment, runtime, versions, data fingerprint. Writer: launcher."""
        return self.root / "launch.json"

    @property
    def lock(self) -> Path:
        """Held with ``flock`` while the run lives. Holder: launcher, then supervisor."""
        return self.root / "supervisor.lock"

    @property
    def supervisor(self) -> Path:
        """Pid, start time, boot id, host. Writer: supervisor."""
        return self.root / "supervisor.json"

    @property
    def state(self) -> Path:
        """Phase, since when, attempt, reason. Writer: supervisor."""
        return self.root / "state.json"

    @property
    def exit(self) -> Path:
        """How the run ended; present = over. Writer: supervisor, last."""
        return self.root / "exit.json"

    @property
    def hook(self) -> Path:
        """The command of ``[hooks] end`` and how it ended. Writer: its keeper."""
        return self.root / "hook.json"

    def earlier_exit(self, attempt: int) -> Path:
        """Where a resume keeps the exit record of ``attempt``."""
        return self.root / f"exit-{attempt}.json"

    @property
    def cluster(self) -> Path:
        """The cluster's job that runs it; missing on this machine's own runs. Writer: launcher."""
        return self.root / "cluster.json"

    @property
    def cluster_folder(self) -> Path:
        """What only the job and its launcher look at; ``job-N.log`` is the job's own output."""
        return self.root / "cluster"

    def failed_node(self, attempt: int) -> Path:
        """Where a start command on several nodes failed first. Writer: that node, ``O_EXCL``."""
        return self.cluster_folder / f"failed-{attempt}.json"

    @property
    def order(self) -> Path:
        """Plan and environment for the job, secrets and all, 0600. Writer: launcher."""
        return self.cluster_folder / "order.json"

    @property
    def environment(self) -> Path:
        """What of that a Python needs to start, for the job's shell, 0600. Writer: launcher."""
        return self.cluster_folder / "env.sh"

    @property
    def allocation(self) -> Path:
        """The job that runs now, or ran last, and its nodes. Writer: supervisor."""
        return self.cluster_folder / "allocation.json"

    def job_log(self, job: str) -> Path:
        """What ``job`` wrote itself, of all its attempts: normally nothing. Writer: Slurm."""
        return self.cluster_folder / f"job-{job}.log"

    def job_end(self, job: str) -> Path:
        """How the cluster says ``job`` ended, where nobody else could. Writer: any reader."""
        return self.cluster_folder / f"end-{job}.json"

    def rank(self, rank: int) -> Path:
        """What the training process of ``rank`` says of itself. Writer: that rank."""
        return self.root / "ranks" / f"rank-{rank}.json"

    # Streams: grow by whole lines, except train.log, which holds raw bytes.
    @property
    def metrics(self) -> Path:
        """One flat JSON object per optimizer step. Writer: training, rank 0.

        Of a start command that does not write it: the supervisor's reader, see ``foreign``.
        """
        return self.root / "metrics.jsonl"

    @property
    def events(self) -> Path:
        """Rare things: phases, checkpoints, samples, warnings. Writer: training, rank 0."""
        return self.root / "events.jsonl"

    @property
    def gpu(self) -> Path:
        """NVML samples at 1 Hz. Writer: supervisor; in a job of several nodes, the first one."""
        return self.root / "gpu.jsonl"

    def gpu_of(self, node: str) -> Path:
        """The same of a further node of a job. Writer: that node."""
        return self.root / f"gpu-{node}.jsonl"

    @property
    def log(self) -> Path:
        """Raw stdout and stderr of the child, by direct descriptor."""
        return self.root / "train.log"

    def log_of(self, node: str) -> Path:
        """What a start command says on a further node of a job. Writer: that node."""
        return self.root / f"train-{node}.log"

    @property
    def supervisor_log(self) -> Path:
        """The supervisor's own words: normally empty. Writer: supervisor."""
        return self.root / "supervisor.log"

    @property
    def hook_log(self) -> Path:
        """What the command of ``[hooks] end`` wrote. Writer: its keeper."""
        return self.root / "hook.log"

    # Folders.
    @property
    def requests(self) -> Path:
        """Wishes of a console: see ``requests``. Writer: any console, ``O_EXCL``."""
        return self.root / "requests"

    @property
    def output(self) -> Path:
        """What the training leaves; mounted at ``/output``."""
        return self.root / "output"

    @property
    def pipeline(self) -> Path:
        """The final pipeline, or the adapters of a LoRA training."""
        return self.output / "checkpoint"

    @property
    def finished(self) -> bool:
        """Whether the result is there: the last file of a pipeline, or the one of a LoRA."""
        return any((self.pipeline / name).is_file() for name in ("model_index.json", LORA_WEIGHTS))

    @property
    def checkpoints(self) -> Path:
        """Holds ``step-N/``."""
        return self.output / "checkpoints"

    @property
    def samples(self) -> Path:
        """Holds ``step-N/*.png`` and ``samples.json``."""
        return self.output / "samples"


def step_of(folder: Path) -> int | None:
    """Return N of a folder named ``step-N``, or None."""
    match = _STEP.fullmatch(folder.name)
    return int(match.group(1)) if match else None


def step_folders(parent: Path) -> list[Path]:
    """Return the ``step-N`` folders of ``parent`` by rising N; unfinished ones have other names."""
    if not parent.is_dir():
        return []
    found = [(step, entry) for entry in parent.iterdir() if (step := step_of(entry)) is not None]
    return [entry for _, entry in sorted(found)]


def make_private(folder: Path) -> Path:
    """Create ``folder`` and its parents, each new one open to its owner alone."""
    missing = [folder, *folder.parents]
    for part in reversed([part for part in missing if not part.exists()]):
        part.mkdir(mode=0o700, exist_ok=True)
    return folder

"""From a task to argv, environment and folder; touches nothing, so ``--dry-run`` can show it.

Beside the task it looks at the caller's environment alone, which the run inherits.
"""

import os
import re
import shlex
import sys
from pathlib import Path
from typing import Any

from sdcore.errors import NotReadyError
from sdcore.launch.plan import LaunchPlan, mask_env
from sdcore.runs.paths import RunDir
from sdcore.task.spec import DATASET, MODEL, OUTPUT, PROJECT, TaskSpec
from sdcore.task.train_spec import PLATFORM_ENV, TrainSpec
from sdcore.text import from_home

# Settings that never reach the trainer's command line: the launcher places the output.
_PLACED = {"output_dir", "local_rank", "resume_from_checkpoint"}
_PATHS = ("pretrained_model_name_or_path", "train_data_dir", "dataset_name", "cache_dir")
_ACCELERATE = Path(__file__).with_name("accelerate.yaml")  # see there why
# Told to a start command as {dataset} and as $DATASET_DIR, and so on.
_FOLDERS = {"dataset": DATASET, "model": MODEL, "project": PROJECT}
PLACEHOLDERS = (*_FOLDERS, "output")
_PLACEHOLDER = re.compile(rf"(?<!\$)\{{({'|'.join(PLACEHOLDERS)})\}}")


def host_path(task: TaskSpec, path: str) -> str:
    """Return where ``path``, as the task sees it, lies on this host: below a mount's source."""
    for mount in task.mounts:
        if path == mount.target or path.startswith(mount.target + "/"):
            return mount.source + path[len(mount.target) :]
    return from_home(path)


def model_source(task: TaskSpec) -> str | None:
    """Return the model's folder on this host or its hub id; None when the task names none."""
    given = task.train.pretrained_model_name_or_path
    if given is not None:
        return host_path(task, given)
    mount = task.mount(MODEL)
    return mount.source if mount else None


def data_source(task: TaskSpec) -> str | None:
    """Return the data set's folder on this host or its hub id; None when the task names none."""
    given = task.train.dataset_name or task.train.train_data_dir
    if given is not None:
        return host_path(task, given)
    mount = task.mount(DATASET)
    return mount.source if mount else None


def plan_launch(
    task: TaskSpec, run: RunDir, *, attempt: int = 1, total_steps: int | None = None
) -> LaunchPlan:
    """Plan one start of ``task`` in ``run``.

    Args:
        task: Checked; mount sources are absolute.
        run: The run directory, which need not exist yet.
        attempt: Above 1 the trainer goes on from its newest valid checkpoint.
        total_steps: Optimizer steps of the whole run, when known.

    Raises:
        NotReadyError: The runtime asked for is none we can start.
    """
    runtime = "host" if task.runtime == "auto" else task.runtime
    if runtime != "host":
        raise NotReadyError(
            f"runtime = {runtime!r} cannot be used",
            cause="this version starts tasks on the host itself; containers are not built yet",
            remedy='set runtime = "host"',
        )
    if task.cluster is not None:
        raise NotReadyError(
            f"cluster.engine = {task.cluster.engine!r} cannot be used",
            cause="this version starts tasks on this machine; clusters are not built yet",
            remedy="remove the [cluster] table",
        )
    own = task.command is None
    return LaunchPlan(
        name=task.name,
        argv=_trainer_argv(task, attempt) if own else ["bash", "-c", _command(task, run)],
        cwd=_working_folder(task, run),
        env=_environment(task, run, attempt),
        attempt=attempt,
        gpu_count=task.gpu.count,
        gpu_type=task.gpu.type,
        gpu_share=task.gpu.share,
        cooperative=own,
        total_steps=total_steps,
        runtime=runtime,
    )


def command_line(plan: LaunchPlan) -> str:
    """Return what will run as one line a shell takes; values of secrets are masked.

    The folders of the run are in the environment too, so that the line alone repeats the run.
    """
    words = [f"{name}={shlex.quote(value)}" for name, value in mask_env(plan.env).items()]
    return " ".join(["cd", shlex.quote(plan.cwd), "&&", "env", *words, shlex.join(plan.argv)])


def _environment(task: TaskSpec, run: RunDir, attempt: int) -> dict[str, str]:
    folders = {f"{role.upper()}_DIR": path for role, path in _folders(task, run).items()}
    ours = {
        "OUTPUT_DIR": folders.pop("OUTPUT_DIR"),
        "SDTUI_RUN_DIR": str(run.root),
        "SDTUI_ATTEMPT": str(attempt),
        # tqdm and print through a file would otherwise sit in a buffer for minutes.
        "PYTHONUNBUFFERED": "1",
    }
    if task.gpu.count == 0:
        # Without it every rank of a CPU run believes it is alone.
        ours["ACCELERATE_USE_CPU"] = "true"
    return {**folders, **_threads(task), **_strays(task), **task.env, **ours}


def _folders(task: TaskSpec, run: RunDir) -> dict[str, str]:
    """Return the folders of this host by role; the mounted ones and the output."""
    mounted = {role: m.source for role, target in _FOLDERS.items() if (m := task.mount(target))}
    return {**mounted, "output": str(run.output)}


def _strays(task: TaskSpec) -> dict[str, str]:
    """Empty the platform's six variables where only the shell has them.

    The trainer reads them; an ``lr`` exported for something else is not part of the task.
    """
    return {} if task.command is not None else dict.fromkeys(PLATFORM_ENV.keys() & os.environ, "")


def _threads(task: TaskSpec) -> dict[str, str]:
    """Return the OpenMP settings that the user has not made, in the task or in the shell."""
    if task.gpu.count == 0:
        # With spinning threads a step took ten times as long whenever another program wanted one
        # of two cores.
        wanted = {"OMP_WAIT_POLICY": "PASSIVE"}
    else:
        # Accelerate would set 1, and images are prepared on these threads.
        cores = len(os.sched_getaffinity(0))
        wanted = {"OMP_NUM_THREADS": str(max(1, cores // task.gpu.count))}
    return {name: value for name, value in wanted.items() if name not in os.environ}


def _working_folder(task: TaskSpec, run: RunDir) -> str:
    project = task.mount(PROJECT)
    return project.source if project else str(run.output)


def _command(task: TaskSpec, run: RunDir) -> str:
    """Fill in ``{dataset}`` and its like, which stand for the folders on this host."""
    values = _folders(task, run)

    def fill(match: re.Match[str]) -> str:
        return shlex.quote(values[match.group(1)]) if match.group(1) in values else match.group(0)

    assert task.command is not None
    return _PLACEHOLDER.sub(fill, task.command)


def unmounted_targets(task: TaskSpec) -> list[str]:
    """Return the mount points a start command names that the host runtime cannot make."""
    if task.command is None:
        return []
    mounted = (mount.target for mount in task.mounts)
    targets = dict.fromkeys([*mounted, *_FOLDERS.values(), OUTPUT])
    return [t for t in targets if re.search(rf"{re.escape(t)}(/|\b)", task.command)]


def _trainer_argv(task: TaskSpec, attempt: int) -> list[str]:
    count = task.gpu.count
    train = task.effective_train()
    launcher = [
        *(sys.executable, "-m", "accelerate.commands.launch"),
        *("--num_machines", "1", "--num_processes", str(max(1, count))),
        *("--mixed_precision", _launcher_precision(train), "--dynamo_backend", "no"),
    ]
    if count == 0:
        launcher.append("--cpu")
    else:
        launcher += ["--config_file", str(_ACCELERATE)]
    if count > 1:
        launcher += ["--multi_gpu", "--main_process_port", "0"]
    settings = trainer_settings(task)
    if attempt > 1:
        settings["resume_from_checkpoint"] = "latest"
    elif train.resume_from_checkpoint is not None:
        settings["resume_from_checkpoint"] = host_path(task, train.resume_from_checkpoint)
    return [*launcher, "-m", "sdcore.train", *flags(settings)]


def _launcher_precision(train: TrainSpec) -> str:
    """Accelerate knows no "auto": the trainer, which can ask the device, decides that itself."""
    return train.mixed_precision if train.mixed_precision in {"fp16", "bf16"} else "no"


def trainer_settings(task: TaskSpec) -> dict[str, Any]:
    """Return what the trainer's command line says: all that differs from a default.

    The platform's six variables stay in the environment when that is where they were given.
    """
    train = task.effective_train()
    settings = {
        name: value
        for name, value in train.model_dump().items()
        if name not in _PLACED and value != TrainSpec.model_fields[name].default
    }
    for variable, key in PLATFORM_ENV.items():
        if variable in task.env:
            settings.pop(key, None)
    for name in _PATHS:
        if isinstance(settings.get(name), str):
            settings[name] = host_path(task, settings[name])
    if train.push_to_hub and train.hub_model_id is None:
        settings["hub_model_id"] = task.name  # else it would be named after the output folder
    model, data = model_source(task), data_source(task)
    if model is not None:
        settings["pretrained_model_name_or_path"] = model
    if data is not None and "dataset_name" not in settings:
        settings["train_data_dir"] = data
    return settings


def flags(settings: dict[str, Any]) -> list[str]:
    """Write settings as flags: ``--use_ema``, ``--no-use_ema``, ``--resolution=512``, lists."""
    argv: list[str] = []
    for name, value in settings.items():
        if value is None:
            continue
        if isinstance(value, bool):
            argv.append(f"--{name}" if value else f"--no-{name}")
        elif isinstance(value, list | tuple):
            argv += [f"--{name}={item}" for item in value]  # an item may begin with a dash
        else:
            argv.append(f"--{name}={value}")
    return argv

"""From a task to argv, environment and folder; touches nothing, so ``--dry-run`` can show it.

Beside the task it looks at the caller's environment, which the run inherits, and at what
``runtimes.probe`` found of the host.
"""

import os
import re
import shlex
from typing import Any

from sdcore.launch.inside import ROLES, Inside, surround
from sdcore.launch.plan import LaunchPlan
from sdcore.launch.runtimes.choice import BEFORE, BEHIND, choose
from sdcore.launch.runtimes.facts import RuntimeFacts
from sdcore.launch.runtimes.probe import gather
from sdcore.launch.slurm import distributed, world_of_command
from sdcore.masking import is_secret, mask_env
from sdcore.runs.paths import RunDir
from sdcore.task.platform_env import PLATFORM_ENV
from sdcore.task.spec import DATASET, MODEL, OUTPUT, TaskSpec
from sdcore.task.train_spec import TrainSpec
from sdcore.text import from_home, shell_word

# Settings that never reach the trainer's command line: the launcher places the output.
_PLACED = {"output_dir", "local_rank", "resume_from_checkpoint"}
_PATHS = (
    "pretrained_model_name_or_path", "pretrained_vae_model_name_or_path", "train_data_dir",
    "dataset_name", "cache_dir",
)  # fmt: skip
# The trainer's own default follows from the model: what the task says must reach it in any case.
_ALWAYS = {"resolution"}
# A pod or a launcher may have left others in the shell: the trainer would wait for processes.
# -1 is alone; with 0 accelerate, which opens the trackers, looks for a MASTER_ADDR to meet others.
ALONE = {
    "WORLD_SIZE": "1", "RANK": "0", "LOCAL_RANK": "-1", "ACCELERATE_MIXED_PRECISION": "no",
}  # fmt: skip
PLACEHOLDERS = (*ROLES, "output")
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
    task: TaskSpec,
    run: RunDir,
    *,
    attempt: int = 1,
    total_steps: int | None = None,
    facts: RuntimeFacts | None = None,
    back_to: str | None = None,
) -> LaunchPlan:
    """Plan one start of ``task`` in ``run``.

    Args:
        task: Checked; mount sources are absolute.
        run: The run directory, which need not exist yet.
        attempt: Above 1 the trainer goes on from its newest valid checkpoint.
        total_steps: Optimizer steps of the whole run, when known.
        facts: About the host, for the choice of a runtime; looked up when left out.
        back_to: One of the run's checkpoints, from which this attempt goes on instead.

    Raises:
        NotReadyError: No runtime that fits the task works on this host.
    """
    if facts is None:
        facts = gather(task, run)
    choice = choose(task, facts)
    inside = Inside.of(task, run, choice.runtime)
    argv, env = _unwrapped(task, run, attempt, inside, back_to)
    wrapped = surround(inside, argv, env, facts, attempt)
    return LaunchPlan(
        name=task.name,
        argv=wrapped.argv,
        cwd=inside.start_folder,
        env={**env, **wrapped.env},
        attempt=attempt,
        gpu_count=task.gpu.count,
        gpu_type=task.gpu.type,
        gpu_share=task.gpu.share,
        cooperative=task.command is None,
        total_steps=total_steps,
        metrics_source=task.metrics.source,
        metrics_pattern=task.metrics.pattern,
        runtime=choice.runtime,
        why=choice.why,
        term_to=wrapped.term_to,
        deaf=wrapped.deaf,
        end_argv=wrapped.end_argv,
        device_words=wrapped.device_words,
        devices_at=wrapped.devices_at,
        device_env=wrapped.device_env,
        **_hook(task, run),
    )


def _hook(task: TaskSpec, run: RunDir) -> dict[str, Any]:
    """Return what the plan says of the command at the end; it sees the folders of this host."""
    if not task.hooks.wanted:
        return {}
    outside = Inside.of(task, run, "host")
    folders = {f"{role.upper()}_DIR": path for role, path in outside.folders.items()}
    return {
        "end_hook": task.hooks.end,
        "hook_limit_s": float(task.hooks.timeout_s),
        "hook_cwd": outside.start_folder,
        "hook_env": {n: v for n, v in task.env.items() if not is_secret(n)} | folders,
    }


def bare(
    task: TaskSpec, run: RunDir, *, runtime: str, attempt: int
) -> tuple[list[str], dict[str, str]]:
    """Return command line and environment under ``runtime``, without what surrounds them.

    For a job file, in which an engine of its own makes the mounts; pure.
    """
    return _unwrapped(task, run, attempt, Inside.of(task, run, runtime))


def _unwrapped(
    task: TaskSpec, run: RunDir, attempt: int, inside: Inside, back_to: str | None = None
) -> tuple[list[str], dict[str, str]]:
    if task.command is None:
        argv = _trainer_argv(task, attempt, inside, back_to)
    else:
        argv = ["bash", "-c", _command(task, inside)]
    return argv, _environment(task, run, attempt, inside)


def command_line(plan: LaunchPlan) -> str:
    """Return what will run as one line a shell takes; values of secrets are masked.

    The folders of the run are in the environment too, so that the line alone repeats the run.
    """
    words = [f"{name}={shell_word(value)}" for name, value in mask_env(plan.env).items()]
    argv = [shell_word(word) for word in plan.argv]
    return " ".join(["cd", shell_word(plan.cwd), "&&", "env", *words, *argv])


def _environment(task: TaskSpec, run: RunDir, attempt: int, inside: Inside) -> dict[str, str]:
    folders = {f"{role.upper()}_DIR": path for role, path in inside.folders.items()}
    ours = {
        "OUTPUT_DIR": folders.pop("OUTPUT_DIR"),
        "SDTUI_RUN_DIR": str(run.root),
        "SDTUI_ATTEMPT": str(attempt),
        # tqdm and print through a file would otherwise sit in a buffer for minutes.
        "PYTHONUNBUFFERED": "1",
        **inside.env,
    }
    if inside.image is None:
        ours["SDTUI_PYTHON"] = inside.python  # for a train.sh that runs the built-in trainer
    # Without it every rank of a CPU run believes it is alone, and a shell may have another word.
    ours["ACCELERATE_USE_CPU"] = "false" if task.gpu.count else "true"
    if task.command is None and task.world_size == 1:
        ours |= ALONE
    if (first := _first_checkpoint(task, inside)) not in {None, "latest"}:
        ours["SDTUI_FIRST_CHECKPOINT"] = first  # for a later attempt that finds none of its own
    return {**folders, **_threads(task), **_strays(task), **_world(task), **task.env, **ours}


def _world(task: TaskSpec) -> dict[str, str]:
    """Return what tells a start command on how many machines it runs, and which this one is."""
    if task.command is None:
        return {}
    nodes = task.cluster.nodes if task.cluster is not None and task.spread else 1
    return world_of_command(nodes, gpus=task.gpu.count, processes=task.gpu.ranks)


def _strays(task: TaskSpec) -> dict[str, str]:
    """Empty the platform's six variables where only the shell has them.

    The trainer reads them; an ``lr`` exported for something else is not part of the task.
    """
    return {} if task.command is not None else dict.fromkeys(PLATFORM_ENV.keys() & os.environ, "")


def _threads(task: TaskSpec) -> dict[str, str]:
    """Return the OpenMP settings that the user has not made, in the task or in the shell."""
    if task.gpu.count == 0:
        # How often libgomp's threads look for work before they sleep: as often as it does itself
        # where threads outnumber cores. By its own default a step took up to ten times as long
        # when another program wanted one of two cores; without any, two cores are hardly faster
        # than one.
        told = "OMP_WAIT_POLICY" in os.environ | task.env
        wanted = {} if told else {"GOMP_SPINCOUNT": "1000"}
    elif task.cluster is not None:
        wanted = {}  # the job sees how many cores it got
    else:
        # Accelerate would set 1, and images are prepared on these threads.
        cores = len(os.sched_getaffinity(0))
        wanted = {"OMP_NUM_THREADS": str(max(1, cores // task.gpu.count))}
    return {name: value for name, value in wanted.items() if name not in os.environ}


def _command(task: TaskSpec, inside: Inside) -> str:
    """Fill in ``{dataset}`` and its like, which stand for the folders as the command sees them."""
    values = inside.folders

    def fill(match: re.Match[str]) -> str:
        return shlex.quote(values[match.group(1)]) if match.group(1) in values else match.group(0)

    assert task.command is not None
    return _PLACEHOLDER.sub(fill, task.command)


def unmounted_targets(task: TaskSpec, runtime: str = "host") -> list[str]:
    """Return the mount points a start command names that ``runtime`` will not make."""
    if task.command is None:
        return []
    mounted = [mount.target for mount in task.mounts]
    made = {*mounted, OUTPUT} if runtime != "host" else set()
    targets = dict.fromkeys([*mounted, *ROLES.values(), OUTPUT])
    named = (t for t in targets if re.search(rf"{BEFORE}{re.escape(t)}{BEHIND}", task.command))
    return [target for target in named if target not in made]


def _trainer_argv(task: TaskSpec, attempt: int, inside: Inside, back_to: str | None) -> list[str]:
    settings = trainer_settings(task, inside)
    if attempt > 1:
        settings["resume_from_checkpoint"] = back_to or "latest"
    elif (first := _first_checkpoint(task, inside)) is not None:
        settings["resume_from_checkpoint"] = first
    return [*_launcher(task, inside), "-m", "sdcore.train", *flags(settings)]


def _first_checkpoint(task: TaskSpec, inside: Inside) -> str | None:
    """Return what the first attempt goes on from: ``latest``, or a checkpoint of another run."""
    wish = None if task.command is not None else task.effective_train().resume_from_checkpoint
    return None if wish is None else _seen(task, inside, wish)


def _launcher(task: TaskSpec, inside: Inside) -> list[str]:
    """Return what starts the trainer's processes.

    One process needs no launcher: accelerate's imports torch for that alone, which takes 2 s and
    250 MB as long as the run lives.
    """
    size, nodes = task.world_size, task.cluster.nodes if task.cluster else 1
    if size == 1:
        return [inside.python]
    place = distributed(nodes) if nodes > 1 else ("--num_machines", "1", "--main_process_port", "0")
    return [
        *(inside.python, "-m", "accelerate.commands.launch", *place),
        # Also on the CPU, where ACCELERATE_USE_CPU decides; --cpu would ask for MPI.
        *("--num_processes", str(size), "--multi_gpu"),
        *("--mixed_precision", _launcher_precision(task.effective_train())),
        *("--dynamo_backend", "no"),
        *("--config_file", f"{inside.package}/launch/accelerate.yaml"),
    ]


def _launcher_precision(train: TrainSpec) -> str:
    """Accelerate knows no "auto": the trainer, which can ask the device, decides that itself."""
    return train.mixed_precision if train.mixed_precision in {"fp16", "bf16"} else "no"


def trainer_settings(task: TaskSpec, inside: Inside) -> dict[str, Any]:
    """Return what the trainer's command line says: size, and all that differs from a default.

    The platform's six variables stay in the environment when that is where they were given.
    """
    train = task.effective_train()
    settings = {
        name: value
        for name, value in train.model_dump().items()
        if name not in _PLACED
        and (name in _ALWAYS or value != TrainSpec.model_fields[name].default)
    }
    for variable, key in PLATFORM_ENV.items():
        if variable in task.env:
            settings.pop(key, None)
    for name in _PATHS:
        if isinstance(settings.get(name), str):
            settings[name] = _seen(task, inside, settings[name])
    if train.push_to_hub and train.hub_model_id is None:
        settings["hub_model_id"] = task.name  # else it would be named after the output folder
    for name, role in (("pretrained_model_name_or_path", "model"), ("train_data_dir", "dataset")):
        if role in inside.folders and "dataset_name" not in (settings if role == "dataset" else ()):
            settings.setdefault(name, inside.folders[role])
    return settings


def _seen(task: TaskSpec, inside: Inside, path: str) -> str:
    """Return ``path``, which the task names as it sees it, as the trainer will see it."""
    return from_home(path) if inside.mounted else host_path(task, path)


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

"""What is wrong with a task on this host, judged from facts: no weights, no images, no waiting."""

import difflib
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

from sdcore import units
from sdcore.checks.findings import Finding
from sdcore.checks.host import HostFacts, existing_parent
from sdcore.checks.plan import PlanFacts
from sdcore.checks.scripts import is_shell, line_end_findings, script_of
from sdcore.launch.planner import PLACEHOLDERS, host_path, unmounted_targets
from sdcore.runs.paths import runs_root
from sdcore.task.image import image_kind
from sdcore.task.spec import DATASET, MODEL, MOUNT_ROOT, TaskSpec
from sdcore.task.train_spec import TrainSpec

_NAMED = 4  # settings, in one line
_MANY_UNSEEN = 1000  # images; to prepare fewer takes a GPU some seconds
_PLACEHOLDER = re.compile(r"(?<!\$)\{([a-z]+)\}")


def host_findings(task: TaskSpec, host: HostFacts) -> list[Finding]:
    """Judge GPUs and precision. Pure."""
    if task.cluster is not None:  # this host only submits
        return _cpu_findings(task) if task.command is None and task.gpu.count == 0 else []
    found = [Finding("warning", what, cause, remedy) for what, cause, remedy in host.warnings()]
    count = task.gpu.count
    if count > len(host.gpus):
        have = units.count(len(host.gpus), "GPU") if host.gpus else "no GPU"
        reason = f" ({host.gpu_reason})" if host.gpu_reason else ""
        found.append(
            Finding(
                "error",
                f"the task wants {units.count(count, 'GPU')}",
                cause=f"this host has {have}{reason}",
                remedy="use --set gpu.count=0 to train on the CPU"
                if not host.gpus
                else f"use --set gpu.count={len(host.gpus)}",
            )
        )
    if task.gpu.type and host.gpus and not any(_same_gpu(task.gpu.type, g.name) for g in host.gpus):
        found.append(
            Finding(
                "warning",
                f"the task is meant for {task.gpu.type}",
                cause=f"this host has {host.gpus[0].name}",
                remedy="check that memory suffices; any GPU will be taken",
            )
        )
    if task.command is None and count == 0:
        found += _cpu_findings(task)
    return found


def _cpu_findings(task: TaskSpec) -> list[Finding]:
    train = task.effective_train()
    found = []
    if train.mixed_precision == "fp16":
        found.append(
            Finding(
                "error",
                'mixed_precision = "fp16" cannot run on a CPU',
                cause="gpu.count is 0, and torch has no fp16 training on the CPU",
                remedy="use --set train.mixed_precision=no (or bf16), or ask for a GPU",
            )
        )
    if train.use_8bit_adam:
        found.append(
            Finding(
                "error",
                "use_8bit_adam cannot run on a CPU",
                cause="bitsandbytes keeps its 8-bit state on a CUDA device",
                remedy="use --set train.use_8bit_adam=false",
            )
        )
    return found


def _same_gpu(wanted: str, name: str | None) -> bool:
    words = wanted.upper().replace("-", " ").split()
    return all(word in (name or "").upper().replace("-", " ") for word in words if word != "NVIDIA")


def mount_findings(task: TaskSpec) -> list[Finding]:
    """Look at every mount's source."""
    found = []
    for mount in task.mounts:
        source = Path(mount.source)
        if source.is_dir():
            if not os.access(source, os.R_OK | os.X_OK):
                found.append(_mount_error(mount.source, mount.target, "you may not read it"))
            continue
        if mount.target in {DATASET, MODEL} and task.command is None and source.is_file():
            continue  # a parquet file is a data set; the model's check has better words
        if "pokemon-blip-captions" in source.name:
            found.append(_pokemon(mount.source, own=task.command is not None))
            continue
        cause = "it is not a folder" if source.exists() else "there is no such folder"
        found.append(_mount_error(mount.source, mount.target, cause))
    return found


def _mount_error(source: str, target: str, cause: str) -> Finding:
    return Finding(
        "error",
        f"the mount {source} -> {target} cannot be made",
        cause=cause,
        remedy=f"correct the source of {target}",
        where=source,
    )


def _pokemon(source: str, *, own: bool) -> Finding:
    """Tell what became of the page's data set.

    Args:
        source: Where it is expected.
        own: A start command reads it, from its mount alone.
    """
    instead = "remove this mount and use --set train.dataset_name=lambdalabs/naruto-blip-captions"
    if own:
        instead = "mount a copy of lambdalabs/naruto-blip-captions here"
    return Finding(
        "error",
        f"the data set folder {source} is missing",
        cause="lambdalabs/pokemon-blip-captions is no longer on the hub; a local copy is expected",
        remedy=f"copy it there, or use its usual replacement: {instead}",
        where=source,
    )


def output_findings() -> list[Finding]:
    """See whether a run directory could be made."""
    parent = existing_parent(runs_root())
    if parent.is_dir() and os.access(parent, os.W_OK | os.X_OK):
        return []
    cause = f"you may not write to {parent}" if parent.is_dir() else f"{parent} is a file"
    return [
        Finding(
            "error",
            f"the run folder {runs_root()} cannot be made",
            cause=cause,
            remedy="set SDTUI_HOME to a folder of yours",
        )
    ]


def output_dir_ignored() -> Finding:
    """Say that a run places its own output."""
    return Finding(
        "warning",
        "train.output_dir has no effect",
        cause="a run writes into its own folder, and its pipeline into output/checkpoint there",
        remedy="remove it, and copy the pipeline when the run is done",
    )


def command_findings(task: TaskSpec, filled: str, runtime: str = "host") -> list[Finding]:
    """Judge a start command of the user's own.

    Args:
        task: Its ``command`` is what the user wrote.
        filled: The command with the placeholders filled in.
        runtime: What surrounds it; which programs an image holds is not known.
    """
    found = [*_unread(task), *_unmounted(task, runtime)]
    found += [_placeholder(name) for name in _PLACEHOLDER.findall(filled) if _looks_meant(name)]
    try:
        words = shlex.split(filled, comments=True)
    except ValueError:
        return found  # an open quote: for bash to tell
    word = words[0] if words else ""
    own_root = image_kind(task.image) in {"rootfs", "reference"} and runtime != "host"
    if "/" not in word and "=" not in word and not own_root and not _bash_knows(word):
        found.append(
            Finding(
                "error",
                f"the start command {word!r} does not exist",
                cause="it is no program on PATH and no word of bash",
                remedy="correct `command`, or give the program's full path",
            )
        )
    script = script_of(words)
    seen = host_path(task, str(script)) if runtime != "host" else str(script)
    mounts = [mount for mount in task.mounts if seen.startswith(f"{mount.source}/")]
    # On this host, or below a mount; one whose source is missing is told of already.
    known = all(Path(m.source).is_dir() for m in mounts) and (not own_root or bool(mounts))
    refused = any(finding.level == "error" for finding in found)
    if script is not None and known and not Path(seen).exists() and not refused:
        found.append(
            Finding(
                "error",
                f"the script {script} does not exist",
                cause=f"the start command gives it to {word}",
                remedy="correct `command`, or put the script there",
            )
        )
    elif script is not None and known and is_shell(word):
        found += line_end_findings(script, Path(seen))
    return found


def _unread(task: TaskSpec) -> list[Finding]:
    """Name the settings of ``[train]``, which a start command never sees."""
    default = TrainSpec()
    changed = [f"train.{name}" for name in TrainSpec.model_fields
               if getattr(task.train, name) != getattr(default, name)]  # fmt: skip
    if not changed:
        return []
    more = [f"{len(changed) - _NAMED} more"] if len(changed) > _NAMED else []
    return [
        Finding(
            "warning",
            f"the start command does not read {', '.join([*changed[:_NAMED], *more])}",
            cause="[train] is for the built-in trainer",
            remedy="write the values in [env] or in the command, or leave them out",
        )
    ]


def _unmounted(task: TaskSpec, runtime: str) -> list[Finding]:
    """Name the mount points that a command uses and nobody will make."""
    named = unmounted_targets(task, runtime)
    targets = [t for t in named if not Path(t).exists() or _is_another(task, t)]
    if not targets:
        return []
    what = f"the start command uses {', '.join(targets)}"
    if runtime != "host":
        cause = "no mount has this target"
        return [Finding("error", what, cause, f"add a mount with target = {targets[0]}")]
    cause = "the host runtime makes no mount points, and this host has no such folder"
    others = [target for target in targets if _is_another(task, target)]
    if others:
        there, meant = others[0], host_path(task, others[0])
        cause = "the host runtime makes no mount points, and "
        cause += f"{there} of this host is another folder than {meant}"
    instead = "write {dataset}, {model}, {project} or {output} instead"
    if task.runtime == "host":
        return [Finding("error", what, cause, f"{instead}, or use --set runtime=auto")]
    if shutil.which("bwrap") is not None:  # refused here: `runtime_findings` tells why
        return [Finding("error", what, cause, instead)]
    remedy = f"install bubblewrap, which makes them without root, or {instead}"
    return [Finding("error", what, cause, remedy)]


def _is_another(task: TaskSpec, target: str) -> bool:
    """Say whether this host has a folder at ``target`` that is not the one to be mounted there."""
    mount = task.mount(target)
    if mount is None or not (Path(target).exists() and Path(mount.source).exists()):
        return False
    return not Path(target).samefile(mount.source)


def _looks_meant(name: str) -> bool:
    """Say whether ``{name}`` is one of ours, or nearly: awk's {print} is not."""
    return bool(difflib.get_close_matches(name, PLACEHOLDERS, n=1, cutoff=0.7))


def _placeholder(name: str) -> Finding:
    if name in PLACEHOLDERS:
        cause, remedy = "no mount has this target", f"add a mount with target = {MOUNT_ROOT}{name}"
    else:
        cause = "there is no such placeholder"
        remedy = f"write one of {', '.join(f'{{{name}}}' for name in PLACEHOLDERS)}"
    what = f"the start command uses {{{name}}}"
    return Finding("error", what, cause=cause, remedy=remedy)


def _bash_knows(word: str) -> bool:
    if word and not word.replace("-", "").replace(".", "").replace("_", "").isalnum():
        return True  # a grouping, a redirection, ...: for bash to judge
    asked = ["bash", "-c", 'type -- "$1"', "bash", word]
    return subprocess.run(asked, capture_output=True, check=False).returncode == 0


def plan_findings(plan: PlanFacts) -> list[Finding]:
    """Judge disk, memory and what is prepared in vain. Pure."""
    found = []
    shown = plan.effective_batch * (plan.max_train_steps or 0)
    if shown and plan.images and plan.images - shown >= _MANY_UNSEEN:
        found.append(
            Finding(
                "note",
                f"the run shows {shown:,} of {plan.images:,} images",
                cause="all of them are prepared before the first step",
                remedy=f"for a quick trial use --set train.max_train_samples={shown}",
            )
        )
    if plan.checkpoint_size is not None and plan.disk_free < plan.checkpoint_size:
        found.append(
            Finding(
                "error",
                "there is no room for one checkpoint",
                cause=f"it needs about {units.size(plan.checkpoint_size)}; "
                f"{units.size(plan.disk_free)} are free",
                remedy="free some room, or set SDTUI_HOME to a folder on a larger disk",
            )
        )
    elif plan.disk_needed is not None and plan.disk_free < plan.disk_needed:
        found.append(
            Finding(
                "warning",
                f"the run may need {units.size(plan.disk_needed)} of disk",
                cause=f"{units.size(plan.disk_free)} are free, and "
                f"{plan.checkpoint_count} checkpoints are kept",
                remedy="use --set train.checkpoints_total_limit=2",
            )
        )
    if plan.memory_needed and plan.memory_total and plan.memory_needed > plan.memory_total:
        found.append(
            Finding(
                "warning",
                f"the run may need {units.size(plan.memory_needed)} of memory",
                cause=f"{plan.device} has {units.size(plan.memory_total)}; this is an estimate",
                remedy="lower train_batch_size and raise gradient_accumulation_steps, or use "
                "--set train.gradient_checkpointing=true",
            )
        )
    return found

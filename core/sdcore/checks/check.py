"""Preflight: in seconds, before any weight is loaded, all that is wrong, not only the first."""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from sdcore import units
from sdcore.checks.dataset import DatasetFacts, dataset_facts, dataset_findings
from sdcore.checks.findings import Finding
from sdcore.checks.host import HostFacts, existing_parent, host_facts
from sdcore.checks.model import ModelFacts, model_facts, model_findings
from sdcore.checks.plan import PlanFacts, make_plan
from sdcore.data import open_data
from sdcore.errors import ExitCode, NotReadyError, SdError
from sdcore.launch.planner import data_source, model_source, plan_launch, unmounted_targets
from sdcore.runs.paths import RunDir, runs_root
from sdcore.task.spec import DATASET, MODEL, TaskSpec

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Report:
    """What a check found."""

    findings: tuple[Finding, ...]
    plan: PlanFacts | None
    fingerprint: str | None
    facts: tuple[tuple[str, str], ...]

    @property
    def errors(self) -> tuple[Finding, ...]:
        """What forbids the start."""
        return tuple(finding for finding in self.findings if finding.level == "error")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """What a person should know before the start."""
        return tuple(finding for finding in self.findings if finding.level == "warning")

    @property
    def exit_code(self) -> ExitCode:
        """0, or the code of the first error."""
        return self.errors[0].exit_code if self.errors else ExitCode.DONE

    def to_record(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {
            "findings": [finding.to_record() for finding in self.findings],
            "plan": self.plan.to_record() if self.plan else None,
            "facts": dict(self.facts),
            "data_fingerprint": self.fingerprint,
        }


def check_task(task: TaskSpec) -> Report:
    """Look at everything ``task`` needs: host, mounts, data, model, disk, memory."""
    findings: list[Finding] = []
    host = host_facts()
    findings += [*host_findings(task, host), *mount_findings(task), *output_findings()]
    attempt = _Collector(findings)
    attempt(lambda: plan_launch(task, RunDir(runs_root() / "dry-run")))
    if task.command is not None:
        findings += command_findings(task)
        return Report(tuple(findings), None, None, ())

    train = task.effective_train()
    missing_mounts = {f.where for f in findings if f.level == "error"}
    model = data = index = None
    source = model_source(task)
    if source is None:
        findings.append(_not_named("model", "pretrained_model_name_or_path", MODEL))
    elif source not in missing_mounts:
        model = attempt(lambda: model_facts(source, train.revision, train.variant, train.cache_dir))
    if model is not None:
        findings += model_findings(model, resolution=train.resolution)
    origin = data_source(task)
    if origin is None:
        findings.append(_not_named("data set", "train_data_dir", DATASET))
    elif origin not in missing_mounts:
        index = attempt(
            lambda: open_data(
                origin,
                image_column=train.image_column,
                caption_column=train.caption_column,
                config_name=train.dataset_config_name,
                cache_dir=train.cache_dir,
                max_samples=train.max_train_samples,
                seed=train.seed or 0,
            )
        )
    if index is not None:
        tokenizer = Path(source) / "tokenizer" if source else None
        data = attempt(
            lambda: dataset_facts(
                index,
                tokenizer_folder=tokenizer if tokenizer and tokenizer.is_dir() else None,
                resolution=train.resolution,
                sample=None,
            )
        )
    if data is not None:
        findings += dataset_findings(data, on_bad_image=train.on_bad_image)
    plan = make_plan(
        train,
        images=data.images if data else None,
        parameters=model.parameters if model else None,
        processes=max(1, task.gpu.count),
        device=_device(task, host),
        disk_free=host.disk_free,
        memory_total=_memory_total(task, host),
    )
    findings += plan_findings(plan)
    return Report(tuple(findings), plan, index.fingerprint if index else None, _facts(model, data))


class _Collector:
    """Runs a step and turns the error a person can act on into a finding."""

    def __init__(self, findings: list[Finding]) -> None:
        self.findings = findings

    def __call__(self, step: Callable[[], T]) -> T | None:
        try:
            return step()
        except SdError as error:
            self.findings.append(Finding.from_error(error))
            return None


def _facts(model: ModelFacts | None, data: DatasetFacts | None) -> tuple[tuple[str, str], ...]:
    rows = []
    if model is not None:
        rows.append(("model", model.words()))
    if data is not None:
        rows.append(("data", data.words()))
    return tuple(rows)


def _not_named(role: str, key: str, target: str) -> Finding:
    return Finding(
        "error",
        f"the task names no {role}",
        cause=f"there is no mount with the target {target} and no train.{key}",
        remedy=f"add a mount with the target {target}, or set train.{key}",
        exit_code=ExitCode.USAGE,
    )


def host_findings(task: TaskSpec, host: HostFacts) -> list[Finding]:
    """Judge GPUs and precision. Pure."""
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
    if task.runtime in {"auto", "host"} and task.image:
        found.append(
            Finding(
                "warning",
                f"the image {task.image!r} is not used",
                cause="the host runtime starts the task on this machine's own Python",
                remedy="remove `image`, or ignore this",
            )
        )
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
            found.append(_pokemon(mount.source))
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


def _pokemon(source: str) -> Finding:
    return Finding(
        "error",
        f"the data set folder {source} is missing",
        cause="lambdalabs/pokemon-blip-captions is no longer on the hub; a local copy is expected",
        remedy="copy it there, or use its usual replacement: remove this mount and "
        "use --set train.dataset_name=lambdalabs/naruto-blip-captions",
        where=source,
    )


def output_findings() -> list[Finding]:
    """See whether a run directory could be made."""
    parent = existing_parent(runs_root())
    if os.access(parent, os.W_OK | os.X_OK):
        return []
    return [
        Finding(
            "error",
            f"the run folder {runs_root()} cannot be made",
            cause=f"you may not write to {parent}",
            remedy="set SDTUI_HOME to a folder of yours",
        )
    ]


def command_findings(task: TaskSpec) -> list[Finding]:
    """Judge a start command of the user's own."""
    found = []
    targets = [t for t in unmounted_targets(task) if not Path(t).exists()]
    if targets:
        found.append(
            Finding(
                "error",
                f"the start command uses {', '.join(targets)}",
                cause="the host runtime makes no mount points, and this host has no such folder",
                remedy="write {dataset}, {model}, {project} or {output} instead, "
                "or leave `command` out to use the built-in trainer",
            )
        )
    word = (task.command or "").split()[0]
    if "/" not in word and "=" not in word and not _bash_knows(word):
        found.append(
            Finding(
                "error",
                f"the start command {word!r} does not exist",
                cause="it is no program on PATH and no word of bash",
                remedy="correct `command`, or give the program's full path",
            )
        )
    return found


def _bash_knows(word: str) -> bool:
    if not word.replace("-", "").replace(".", "").replace("_", "").isalnum():
        return True  # a grouping, a redirection, ...: for bash to judge
    if shutil.which(word):
        return True
    return word in {
        "cd", "exec", "export", "for", "if", "while", "set", "source", "trap", "ulimit", "umask",
        "time", "eval", "until", "case", "function", "wait", "command", "builtin", "exit", "return",
    }  # fmt: skip


def plan_findings(plan: PlanFacts) -> list[Finding]:
    """Judge disk and memory. Pure."""
    found = []
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


def _device(task: TaskSpec, host: HostFacts) -> str:
    if task.gpu.count == 0:
        return "the CPU"
    name = (host.gpus[0].name if host.gpus else None) or task.gpu.type or "GPU"
    return f"{task.gpu.count} x {name}"


def _memory_total(task: TaskSpec, host: HostFacts) -> int | None:
    if task.gpu.count == 0:
        return host.memory_total
    return host.gpus[0].memory_total if host.gpus else None


def raise_first(report: Report) -> None:
    """Raise the first error of ``report``, if any.

    Raises:
        NotReadyError: With the finding's words.
    """
    if report.errors:
        first = report.errors[0]
        raise NotReadyError(first.what, cause=first.cause, remedy=first.remedy)

"""Preflight: in seconds, before any weight is loaded, all that is wrong, not only the first."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from sdcore.checks.cluster import cluster_facts, cluster_findings, shape_words
from sdcore.checks.dataset import DatasetFacts, dataset_facts, dataset_findings
from sdcore.checks.findings import Finding
from sdcore.checks.host import HostFacts, host_facts
from sdcore.checks.judge import (
    command_findings,
    host_findings,
    mount_findings,
    output_dir_ignored,
    output_findings,
    plan_findings,
)
from sdcore.checks.model import SDXL, ModelFacts, model_facts
from sdcore.checks.model_findings import model_findings
from sdcore.checks.plan import PlanFacts, make_plan
from sdcore.checks.surroundings import absent_image_findings, runtime_findings
from sdcore.data import DataIndex, open_data
from sdcore.data.buckets import Buckets
from sdcore.errors import ExitCode, SdError
from sdcore.launch.planner import data_source, host_path, model_source, plan_launch
from sdcore.launch.runtimes.choice import choose
from sdcore.launch.runtimes.probe import gather
from sdcore.runs.paths import RunDir, runs_root
from sdcore.task.spec import DATASET, MODEL, TaskSpec
from sdcore.task.train_spec import TrainSpec
from sdcore.text import clean_line

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
    host = host_facts()
    look = _Look([*host_findings(task, host), *mount_findings(task), *output_findings()])
    if task.cluster is not None:
        look.findings.extend(cluster_findings(task, cluster_facts(task)))
    run = RunDir(runs_root() / "dry-run")
    runtime = gather(task, run)
    choice = look.attempt(lambda: choose(task, runtime))
    launch = None
    surroundings = _hook(task)
    if choice is None and task.command is not None:
        look.findings.extend(absent_image_findings(task))
    if choice is not None:
        launch = look.attempt(lambda: plan_launch(task, run, facts=runtime))
        look.findings.extend(runtime_findings(task, choice, runtime))
        surroundings = (("runtime", choice.words), *surroundings)
    if task.command is not None:
        filled = launch.argv[-1] if launch else task.command
        if choice is not None:
            look.findings.extend(command_findings(task, filled, choice.runtime))
        return Report(tuple(look.findings), None, None, surroundings)
    train = task.effective_train()
    if train.output_dir is not None:
        look.findings.append(output_dir_ignored())
    model = _look_at_model(task, train, look)
    index, data = _look_at_data(task, train, look)
    plan = make_plan(
        train,
        images=data.images if data else None,
        parameters=model.parameters if model else None,
        processes=task.world_size,
        device=_device(task, host),
        disk_free=host.disk_free,
        memory_total=_memory_total(task, host),
        family="SDXL" if model and model.family == SDXL else "SD",
    )
    look.findings.extend(plan_findings(plan))
    fingerprint = index.fingerprint if index else None
    rows = (*_facts(model, data), *surroundings)
    return Report(tuple(look.findings), plan, fingerprint, rows)


@dataclass(frozen=True, slots=True)
class _Look:
    """Collects findings, also from steps that raise."""

    findings: list[Finding]

    def attempt(self, step: Callable[[], T]) -> T | None:
        """Run ``step``; the error a person can act on becomes a finding."""
        try:
            return step()
        except SdError as error:
            self.findings.append(Finding.from_error(error))
            return None

    def told(self, source: str) -> bool:
        """Say whether ``source`` is a mount already found wanting: one finding is enough."""
        return any(f.where == source for f in self.findings if f.level == "error")


def _look_at_model(task: TaskSpec, train: TrainSpec, look: _Look) -> ModelFacts | None:
    source = model_source(task)
    if source is None:
        look.findings.append(_not_named("model", "pretrained_model_name_or_path", MODEL))
        return None
    if look.told(source):
        return None
    own = train.pretrained_vae_model_name_or_path
    vae = host_path(task, own) if own is not None else None
    facts = look.attempt(
        lambda: model_facts(source, train.revision, train.variant, train.cache_dir, vae)
    )
    if facts is not None:
        look.findings.extend(model_findings(facts, resolution=train.resolution))
    return facts


def _look_at_data(
    task: TaskSpec, train: TrainSpec, look: _Look
) -> tuple[DataIndex | None, DatasetFacts | None]:
    source = data_source(task)
    if source is None:
        look.findings.append(_not_named("data set", "train_data_dir", DATASET))
        return None, None
    if look.told(source):
        return None, None
    index = look.attempt(
        lambda: open_data(
            source,
            image_column=train.image_column,
            caption_column=train.caption_column,
            config_name=train.dataset_config_name,
            cache_dir=train.cache_dir,
            max_samples=train.max_train_samples,
            seed=train.seed or 0,
        )
    )
    if index is None:
        return None, None
    tokenizer = Path(model_source(task) or "", "tokenizer")
    facts = look.attempt(
        lambda: dataset_facts(
            index,
            tokenizer_folder=tokenizer if tokenizer.is_dir() else None,
            resolution=train.resolution,
            sample=None,
            buckets=Buckets.of(train),
        )
    )
    if facts is not None:
        look.findings.extend(dataset_findings(facts, on_bad_image=train.on_bad_image))
    return index, facts


def _facts(model: ModelFacts | None, data: DatasetFacts | None) -> tuple[tuple[str, str], ...]:
    rows = []
    if model is not None:
        rows.append(("model", model.words()))
    if data is not None:
        rows.append(("data", data.words()))
    return tuple(rows)


def _hook(task: TaskSpec) -> tuple[tuple[str, str], ...]:
    if not task.hooks.wanted:
        return ()
    command = clean_line(task.hooks.end, 400)
    return (("at the end", f"bash runs {command} for {task.hooks.timeout_s} s at most"),)


def _not_named(role: str, key: str, target: str) -> Finding:
    return Finding(
        "error",
        f"the task names no {role}",
        cause=f"there is no mount with the target {target} and no train.{key}",
        remedy=f"add a mount with the target {target}, or set train.{key}",
        exit_code=ExitCode.USAGE,
    )


def _device(task: TaskSpec, host: HostFacts) -> str:
    if task.cluster is not None:
        return shape_words(task)
    if task.gpu.count == 0:
        return "the CPU"
    name = (host.gpus[0].name if host.gpus else None) or task.gpu.type or "GPU"
    return f"{task.gpu.count} x {name}"


def _memory_total(task: TaskSpec, host: HostFacts) -> int | None:
    if task.cluster is not None:
        return None  # of nodes that are not known yet
    if task.gpu.count == 0:
        return host.memory_total
    return host.gpus[0].memory_total if host.gpus else None

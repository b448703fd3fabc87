"""A helper process of the form: looks at data, models and this host, and runs the checks.

They import PyArrow and tokenizers and read whole data sets: seconds, and memory, that the console
itself must never spend. Speaks JSON lines on stdin and stdout; a task, secrets and all, comes by
stdin only. It ends with its stdin, so it never outlives the console by more than one answer.
"""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sdcore import units
from sdcore.checks.check import check_task
from sdcore.checks.dataset import dataset_facts
from sdcore.checks.host import gpu_words, host_facts
from sdcore.checks.model import model_facts
from sdcore.data import open_data
from sdcore.errors import SdError
from sdcore.launch.planner import data_source, model_source
from sdcore.launch.runtimes.choice import choose
from sdcore.launch.runtimes.probe import gather
from sdcore.runs.paths import RunDir, runs_root
from sdcore.task.spec import DATASET, MODEL, PROJECT, TaskSpec
from sdcore.task.train_spec import TrainSpec

_BUDGET_S = 0.5  # for decoding images while somebody types; the check itself takes its time
_MOST_REMEMBERED = 64
# The settings that change what is found at the same place.
_MATTERS = (
    "revision", "variant", "cache_dir", "image_column", "caption_column", "dataset_config_name",
    "max_train_samples",
)  # fmt: skip

Record = dict[str, Any]


class Looker:
    """Looks at what a task names; remembers what did not change since."""

    def __init__(self) -> None:
        self._known: dict[Any, Record] = {}

    def look(self, task: TaskSpec) -> Record:
        """Return facts of host, mounts, data and model as plain data."""
        train = _train_of(task)
        facts: Record = {mount.target: self._folder(mount.source) for mount in task.mounts}
        if (project := task.mount(PROJECT)) and "error" not in facts[PROJECT]:
            facts[PROJECT] = {"train_sh": Path(project.source, "train.sh").is_file()}
        model, data = model_source(task), data_source(task)
        if model:
            place = _place(task, MODEL, model, "model")
            facts[place] = self._remembered("model", model, train, _model)
        if data:
            tokenizer = Path(model or "", "tokenizer")
            place = _place(task, DATASET, data, "data")
            facts[place] = self._remembered("data", data, train, _data, tokenizer)
        return {"host": _host(), "facts": facts, "runtime": self._runtime(task)}

    def _runtime(self, task: TaskSpec) -> Record:
        """Look at what the task could be started with, and say what it would be."""
        known = gather(task, RunDir(runs_root() / "dry-run"))
        try:
            choice = choose(task, known)
        except SdError as error:
            return {"facts": known.to_record(), "error": f"{error.cause}; {error.remedy}"}
        words = {"name": choice.runtime, "why": choice.why, "worry": choice.worry}
        return {"facts": known.to_record(), **words}

    def _remembered(
        self, kind: str, source: str, train: TrainSpec, ask: Callable[..., Record], *more: Any
    ) -> Record:
        named = tuple(getattr(train, name) for name in _MATTERS)
        key = (kind, source, _stamp(source), named, *more)
        if key not in self._known:
            if len(self._known) >= _MOST_REMEMBERED:
                self._known.clear()
            self._known[key] = _attempt(lambda: ask(source, train, *more))
        return self._known[key]

    @staticmethod
    def _folder(source: str) -> Record:
        path = Path(source)
        if path.is_dir() and os.access(path, os.R_OK | os.X_OK):
            return {"folder": True}
        if path.is_file():
            return {"folder": False}
        cause = "you may not read it" if path.exists() else "there is no such folder"
        return {"error": {"what": source, "cause": cause, "remedy": ""}}


def _place(task: TaskSpec, target: str, source: str, other: str) -> str:
    """Return what a fact is about: a mount, or what the settings name instead of it."""
    mount = task.mount(target)
    return target if mount is not None and mount.source == source else other


def _train_of(task: TaskSpec) -> TrainSpec:
    return task.train if task.command is not None else task.effective_train()


def _stamp(source: str) -> tuple[float, float] | None:
    """Return what changes when files come to or go from a folder, or to a metadata file."""
    try:
        files = [Path(source), *Path(source).glob("*metadata*")]
        return max(f.stat().st_mtime for f in files), sum(f.stat().st_size for f in files)
    except OSError:
        return None


def _attempt(ask: Callable[[], Record]) -> Record:
    try:
        return ask()
    except SdError as error:
        return {"error": {"what": error.what, "cause": error.cause, "remedy": error.remedy}}
    except OSError as error:
        cause = error.strerror or str(error)
        return {"error": {"what": str(error.filename), "cause": cause, "remedy": ""}}


def _model(source: str, train: TrainSpec) -> Record:
    facts = model_facts(source, train.revision, train.variant, train.cache_dir)
    return {
        "pipeline": facts.pipeline,
        "family": facts.family,
        "parameters": facts.parameters,
        "here": facts.folder is not None,
        "missing": [*facts.missing, *facts.pointers],
    }


def _data(source: str, train: TrainSpec, tokenizer: Path) -> Record:
    index = open_data(
        source,
        image_column=train.image_column,
        caption_column=train.caption_column,
        config_name=train.dataset_config_name,
        cache_dir=train.cache_dir,
        max_samples=train.max_train_samples,
        seed=train.seed or 0,
    )
    facts = dataset_facts(
        index,
        tokenizer_folder=tokenizer if tokenizer.is_dir() else None,
        resolution=train.resolution,
        sample=None,
        budget_s=_BUDGET_S,
    )
    return {
        "images": facts.images,
        "captions": facts.captions,
        "too_long": facts.too_long.count if facts.too_long else 0,
        "limit": facts.token_limit,
        "corrupt": len(facts.corrupt),
    }


def _host() -> Record:
    host = host_facts()
    return {
        "gpus": [
            {
                "words": f"{gpu.index}  {gpu_words(gpu)}",
                "total": gpu.memory_total,
                "name": gpu.name,
                "free": not gpu.processes and not gpu.lost,
            }
            for gpu in host.gpus
        ],
        "gpu_reason": host.gpu_reason,
        "sbatch": bool(host.tools.get("sbatch")),
        "memory_total": host.memory_total,
        "memory": units.size(host.memory_total),
        "cpus": host.cpus,
        "disk_free": host.disk_free,
    }


def answer(request: Record, looker: Looker) -> Record:
    """Return the answer to one request."""
    reply: Record = {"id": request["id"], "ask": request["ask"]}
    try:
        task = TaskSpec.model_validate(request["task"])
        if request["ask"] == "check":
            return reply | {"report": check_task(task).to_record()}
        return reply | looker.look(task)
    except SdError as error:
        return reply | {"error": {"what": error.what, "cause": error.cause, "remedy": error.remedy}}


def main() -> None:
    """Answer until stdin ends."""
    looker = Looker()
    # Whatever a library prints must not stand among the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    with answers:
        for line in sys.stdin:
            answers.write(json.dumps(answer(json.loads(line), looker)) + "\n")
            answers.flush()


if __name__ == "__main__":
    main()

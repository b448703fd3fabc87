"""What the helper found out, in the words of the form."""

from dataclasses import dataclass, field
from typing import Any, Literal

from sdcore.checks.plan import PlanFacts, make_plan
from sdcore.launch.runtimes.choice import candidates
from sdcore.launch.runtimes.facts import RuntimeFacts
from sdcore.task.spec import DATASET, MODEL, PROJECT, TaskSpec
from sdcore.text import clean_line
from sdtui.keymap import keyed
from sdtui.language import _, ngettext
from sdtui.told import told, told_of

Level = Literal["good", "poor", "bad", "plain"]
GLYPHS: dict[Level, str] = {"good": "✓", "poor": "!", "bad": "✗", "plain": "·"}


@dataclass(frozen=True, slots=True)
class Verdict:
    """One line about what a field points to."""

    level: Level
    words: str


@dataclass(frozen=True, slots=True)
class Look:
    """One answer of the helper; empty before the first."""

    host: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)
    runtime: dict[str, Any] = field(default_factory=dict)

    @property
    def known(self) -> bool:
        """Say whether the helper has answered."""
        return bool(self.host)

    @property
    def gpus(self) -> list[dict[str, Any]]:
        """The host's GPUs: ``words``, ``total`` bytes, ``free``."""
        return list(self.host.get("gpus", []))

    def verdict(self, target: str) -> Verdict | None:
        """Say what lies at a mount; ``model`` and ``data`` are those that settings name."""
        fact = self.facts.get(target)
        if fact is None:
            return None
        if "error" in fact:
            error = fact["error"]
            remedy = error["remedy"] or keyed(_("press [mounts.browse] to browse"))
            return Verdict("bad", clean_line(told_of(error["cause"], remedy), 300))
        by_target = {
            DATASET: _data_words, "data": _data_words, MODEL: _model_words, "model": _model_words,
            PROJECT: _project_words,
        }  # fmt: skip
        return by_target.get(target, _folder_words)(fact)

    def surroundings(self, task: TaskSpec) -> RuntimeFacts | None:
        """Return what a plan of ``task`` has to know of the host; None before it is known."""
        if candidates(task) == ("host",):
            return RuntimeFacts()
        return RuntimeFacts.from_record(self.runtime["facts"]) if self.runtime else None

    def runtime_verdict(self) -> Verdict | None:
        """Say what will surround the task, and why."""
        if "error" in self.runtime:
            return Verdict("bad", clean_line(told(self.runtime["error"]), 300))
        if not self.runtime:
            return None
        why = told(self.runtime["why"])
        words = _("{runtime}: {why}").format(runtime=self.runtime["name"], why=why)
        return Verdict("poor" if self.runtime["worry"] else "plain", clean_line(words, 300))

    def _fact(self, named: str, target: str) -> dict[str, Any]:
        """Return what is known of the thing that settings name, else of the mount."""
        return self.facts.get(named) or self.facts.get(target, {})

    def plan(self, task: TaskSpec) -> PlanFacts | None:
        """Work out what ``task`` would need, with what is known so far."""
        if task.command is not None:
            return None
        count = task.gpu.count
        gpu = self.gpus[0] if self.gpus else {}
        device = _("the CPU")
        if count:
            device = f"{count} x {clean_line(gpu.get('name') or task.gpu.type or 'GPU', 40)}"
        return make_plan(
            task.effective_train(),
            images=self._fact("data", DATASET).get("images"),
            parameters=self._fact("model", MODEL).get("parameters"),
            processes=task.world_size,
            device=device,
            disk_free=self.host.get("disk_free", 0),
            memory_total=gpu.get("total") if count else self.host.get("memory_total"),
        )


def _data_words(fact: dict[str, Any]) -> Verdict:
    if "images" not in fact:
        return _folder_words(fact)
    images, captions = fact["images"], fact["captions"]
    parts = [
        ngettext("{n} image", "{n} images", images).format(n=f"{images:,}"),
        ngettext("{n} caption", "{n} captions", captions).format(n=f"{captions:,}"),
    ]
    if fact["too_long"]:
        parts.append(_("{n} over {limit} tokens").format(n=fact["too_long"], limit=fact["limit"]))
    if fact["corrupt"]:
        parts.append(_("{n} cannot be read").format(n=fact["corrupt"]))
    poor = fact["too_long"] or fact["corrupt"]
    return Verdict("poor" if poor else "good", _(", ").join(parts))


def _model_words(fact: dict[str, Any]) -> Verdict:
    if "pipeline" not in fact:
        return _folder_words(fact)
    if not fact["here"]:
        return Verdict("plain", _("a model of the hub, not on this machine yet"))
    if fact["pipeline"] is None:
        return Verdict("bad", _("no pipeline folder: it has no model_index.json"))
    parts = [fact["pipeline"], fact["family"]]
    if number := fact["parameters"]:
        size = f"{number / 1e6:,.4g} M" if number >= 100_000 else f"{number:,}"
        parts.append(_("U-Net of {size} parameters").format(size=size))
    if fact["missing"]:
        parts.append(_("missing: {names}").format(names=", ".join(fact["missing"][:3])))
    words = clean_line(_(", ").join(part for part in parts if part), 300)
    return Verdict("bad" if fact["missing"] else "good", words)


def _project_words(fact: dict[str, Any]) -> Verdict:
    if fact.get("train_sh"):
        return Verdict("good", _("train.sh found"))
    return Verdict("plain", _("no train.sh here"))


def _folder_words(fact: dict[str, Any]) -> Verdict:
    if fact.get("folder"):
        return Verdict("good", _("a folder you may read"))
    return Verdict("bad", _("it is not a folder"))

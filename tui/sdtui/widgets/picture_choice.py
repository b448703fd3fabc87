"""Which of a run's pictures are looked at: step, prompt, weights. Pure; no widget, no file.

Kept beside the app, not in a widget: screens are made anew whenever the language changes, and the
Run screen's pane and the Images screen look at the same picture.
"""

from dataclasses import dataclass, replace

from textual.app import App

from sdtui.kept import kept_by
from sdtui.language import N_
from sdtui.live.samples import Sample, SampleSet

BOTH = "both"
_CHOICE = "picture"  # its name among what is kept
_NAMES = {"raw": N_("raw"), "ema": N_("EMA"), "base": N_("base"), BOTH: N_("raw and EMA")}


@dataclass(frozen=True, slots=True)
class Choice:
    """What a person looks at.

    Attributes:
        run: Id of the run it goes with.
        step: None is the newest, whatever comes.
        prompt: Place of the prompt.
        weights: ``raw``, ``ema``, …, or ``both``; None takes the averaged ones where they are.
        mark: A step to stand beside the chosen one.
    """

    run: str = ""
    step: int | None = None
    prompt: int = 0
    weights: str | None = None
    mark: int | None = None


def choice_of(app: "App[object]", run: str) -> Choice:
    """Return what is looked at of ``run``; another run begins at its newest pictures."""
    found: Choice = kept_by(app).get(_CHOICE, Choice())
    return found if found.run == run else Choice(run, weights=found.weights)


def keep(app: "App[object]", choice: Choice) -> None:
    """Remember the choice for as long as the console is open."""
    kept_by(app)[_CHOICE] = choice


def set_of(sets: tuple[SampleSet, ...], choice: Choice) -> SampleSet | None:
    """Return the chosen set: the newest, or the last one up to the chosen step."""
    if not sets or choice.step is None:
        return sets[-1] if sets else None
    return next((each for each in reversed(sets) if each.step <= choice.step), sets[0])


def weights_of(found: SampleSet, choice: Choice) -> str:
    """Return the weights that are shown of a set, or ``both``."""
    known = found.weights
    if choice.weights == BOTH and len(known) > 1:
        return BOTH
    if choice.weights in known:
        return str(choice.weights)
    return "ema" if "ema" in known else known[0]


def weights_name(weights: str) -> str:
    """Return the English name of weights, marked for translation."""
    return _NAMES.get(weights, weights)


def prompts_of(found: SampleSet) -> int:
    """Return the number of prompts of a set."""
    return max(len(found.of(weights)) for weights in found.weights)


def picture_of(found: SampleSet, weights: str, prompt: int) -> Sample:
    """Return one picture; the nearest prompt where the set has fewer."""
    pictures = found.of(weights)
    return pictures[min(prompt, len(pictures) - 1)]


def scrubbed(sets: tuple[SampleSet, ...], choice: Choice, by: int) -> Choice:
    """Go ``by`` steps on or back; the end of the list is "the newest" again."""
    now = set_of(sets, choice)
    if now is None:
        return choice
    place = max(0, min(len(sets) - 1, sets.index(now) + by))
    newest = place == len(sets) - 1
    return replace(choice, step=None if newest else sets[place].step)


def turned(found: SampleSet, choice: Choice) -> Choice:
    """Go to the next kind of weights: one after the other, then both."""
    ways = [*found.weights, BOTH] if len(found.weights) > 1 else list(found.weights)
    place = ways.index(weights_of(found, choice))
    return replace(choice, weights=ways[(place + 1) % len(ways)])


def next_prompt(found: SampleSet, choice: Choice, by: int) -> Choice:
    """Go to another prompt, round and round."""
    return replace(choice, prompt=(choice.prompt + by) % prompts_of(found))

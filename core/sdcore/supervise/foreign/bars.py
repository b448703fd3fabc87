"""Progress bars as tqdm draws them, in the styles of diffusers, sd-scripts and Lightning."""

import re
from dataclasses import dataclass, replace

from sdcore.supervise.foreign.said import (
    MAX_TEXT,
    NUMBER,
    Said,
    measure,
    pairs,
    role,
    said,
    to_number,
)
from sdcore.text import clean_line

_PERCENT = re.compile(r"\d{1,3}%\|")
_REST = re.compile(r"[^|]{0,400}\|\s{0,3}(\d{1,15})/(\d{1,15})\s{0,3}\[([^\]]{0,2000})\]")
_ENDLESS = re.compile(r"(\d{1,15})(?:it|steps?) \[([^\]]{0,2000})\]")
_UNKNOWN = re.compile(r"\|[ ?]{0,400}\|\s{0,3}(\d{1,15})/\? \[([^\]]{0,2000})\]")  # Lightning's
# torchtune's description: epoch, step of the run, loss.
_TUNE = re.compile(rf"(\d{{1,9}})\|(\d{{1,15}})\|Loss: ({NUMBER}):?")
_RATE = re.compile(r"(?:([\d.]{1,20})|\?)\s?([A-Za-z]{1,20})/s|([\d.]{1,20})s/([A-Za-z]{1,20})")
_STEPS = {"it", "iter", "step", "steps", "batch", "batches"}
_IMAGES = {"img", "imgs", "image", "images"}
_EPOCH = re.compile(r"epoch[\s:#\[]{0,3}(\d{1,9})(?:\s?(?:/|of)\s?(\d{1,9}))?", re.IGNORECASE)
# Bars that trainers also draw, and whose loss, if any, is not that of training.
_OTHER = re.compile(
    r"val|eval|test|sanity|sampl|infer|generat|load|map|filter|token|cach|encod|fetch|sav|upload",
    re.IGNORECASE,
)
_TRAINING = re.compile(r"^\W*(?:train(?:ing)?(?: steps?)?|steps?)\W*$", re.IGNORECASE)
_NUMBERS = re.compile(rf"{NUMBER}|\d+")
_CLOCK = re.compile(r"\s{0,3}(?:(\d{1,6}):)?(\d{1,2}):(\d{2})<?")


@dataclass(frozen=True, slots=True)
class Bar:
    """One drawing of a progress bar.

    Attributes:
        kind: Its description without numbers: the same for every drawing of one bar.
        done: Position, in steps or whatever ``said.step`` then replaces.
        total: Its length; None when the trainer does not know.
        said: What stands behind it; ``it_per_s`` or ``images_per_s`` is its rate.
        epoch: The number in "Epoch 3", and the one in "Epoch 3/10".
        epochs: See there.
        unit: What it counts.
        training: Whether its description says that it is the training.
        elapsed: As the bar shows it, in seconds.
        names: Of all numbers behind it.
        after: What was printed behind it on the same line.
    """

    kind: str
    done: int
    total: int | None
    said: Said
    epoch: int | None = None
    epochs: int | None = None
    unit: str = "it"
    training: bool = False
    elapsed: int | None = None
    names: frozenset[str] = frozenset()
    after: str = ""

    @property
    def steps(self) -> bool:
        """Whether it counts steps; one of images or bytes does not."""
        return self.unit in _STEPS


def parse_bar(text: str) -> Bar | None:
    """Return the bar in ``text``; None when there is none, or one of another purpose."""
    text = text[:MAX_TEXT]
    percent = _PERCENT.search(text)
    if percent is not None:
        match, start = _REST.match(text, percent.end()), percent.start()
        if match is None:
            return None
        done, total, inside = int(match[1]), int(match[2]), match[3]
    else:
        match = _ENDLESS.search(text) or _UNKNOWN.search(text)
        if match is None:
            return None
        start, done, total, inside = match.start(), int(match[1]), 0, match[2]
    described = clean_line(text[:start][-120:]).strip()
    if _OTHER.search(described):
        return None
    epoch = _EPOCH.search(described)
    values, unit, names = _inside(inside)
    tune = _TUNE.fullmatch(described)
    if values.loss is None:
        values = _described(described, tune, values)
    return Bar(
        kind="torchtune" if tune else _NUMBERS.sub("", described),
        done=done,
        total=total or None,
        said=values,
        epoch=int(epoch[1]) if epoch else None,
        epochs=int(epoch[2]) if epoch and epoch[2] else None,
        unit=unit,
        training=_TRAINING.match(described) is not None,
        elapsed=_seconds(inside),
        names=names,
        after=text[match.end() :],
    )


def _described(described: str, tune: re.Match[str] | None, behind: Said) -> Said:
    """Return what stands before a bar, ``Epoch 3 loss=0.121:``, beside what stands behind it."""
    if tune is not None:
        found = said([("epoch", tune[1]), ("step", tune[2]), ("loss", tune[3])])
        # The bar's own length is that of an epoch.
        return replace(found, it_per_s=behind.it_per_s)
    found = said(pair for pair in pairs(described) if role(pair[0]) != "epoch")
    return behind if found.loss is None else replace(found, it_per_s=behind.it_per_s, total=None)


def _inside(inside: str) -> tuple[Said, str, frozenset[str]]:
    """Read ``00:41<05:02, 1.45it/s, lr=1e-05, step_loss=0.121``: values, unit and all names."""
    _times, _, behind = inside.partition(",")
    first, _, postfix = behind.partition(",")
    found: list[tuple[str, str | float]] = list(pairs(postfix))
    names = frozenset(name for name, _ in found)
    rate = _RATE.search(first)
    if rate is None:
        return said(found), "it", names
    unit = (rate[2] or rate[4]).lower()
    value = _per_second(rate)
    name = "it/s" if unit in _STEPS else "images/s" if unit in _IMAGES else None
    if name is not None and value is not None:
        found.append((name, value))
    return said(found), unit, names


def _per_second(rate: re.Match[str]) -> float | None:
    if rate[4] is None:
        return measure(to_number(rate[1] or ""))
    seconds = measure(to_number(rate[3]))
    return 1 / seconds if seconds else None


def _seconds(inside: str) -> int | None:
    match = _CLOCK.match(inside)
    return None if match is None else int(match[1] or 0) * 3600 + int(match[2]) * 60 + int(match[3])

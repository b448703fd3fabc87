"""What other trainers call step, loss and learning rate; pure functions over short text.

Every pattern here is linear in its input: each repeat is bounded or followed by what it cannot
take itself. The text is from outside, and at most ``MAX_TEXT`` characters of a piece are looked at.
"""

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from sdcore.text import clean_line

MAX_TEXT = 4000  # characters of one line or bar
_MAX_COUNT = 1 << 53  # above it a float no longer tells one step from the next

_GROUPS = r"\d{1,3}(?:,\d{3}){1,5}(?!,?\d)"  # 1,000 and 15,000,000
NUMBER = (
    rf"[-+]?(?:(?:{_GROUPS}|\d{{1,30}})(?:\.\d{{0,30}})?|\.\d{{1,30}})(?:[eE][-+]?\d{{1,4}})?"
    r"|[-+]?(?i:nan|inf(?:inity)?)"
)
_THOUSANDS = re.compile(r"[-+]?\d{1,3}(?:,\d{3})+(?:\.\d*)?")
# loss=0.1, 'loss': '0.1', Loss: tensor(0.1, loss is 0.1, step 60/500, Step [60/1,500]
_PAIR = re.compile(
    r"""(?<![\w./-])([A-Za-z][\w./-]{0,48})['"]?(?:\s{0,3}[=:]\s{0,3}|\s{1,3}(?:is\s{1,3})?)"""
    rf"""(?:tensor\(|['"\[(])?({NUMBER})(?![\w%])(?:\s?(?:/|of)\s?({_GROUPS}|\d{{1,15}}))?"""
)

# The best first: of several losses in one line this is the one of the step.
_LOSSES = (
    "loss", "train_loss", "train/loss", "training_loss", "step_loss", "train_loss_step",
    "train/loss_step", "loss_step", "loss/current", "loss/train", "total_loss", "train/total_loss",
    "loss/total", "mean_loss", "avg_loss", "avr_loss", "loss/average",
)  # fmt: skip
_OTHER_LOSS = re.compile(r"(?:^|[_/.])loss(?:$|[_/.])")
_NOT_OF_TRAINING = re.compile(r"val|eval|test|scale|weight|epoch|best|prior")
_NAMES = {
    "step": ("step", "steps", "global_step", "trainer/global_step", "train_step", "train/step",
             "train/global_step", "current_step", "iter", "iters", "iteration"),
    "epochs": ("total_epochs",),
    "total": ("total_steps", "max_steps", "max_train_steps", "num_steps"),
    "lr": ("lr", "learning_rate", "train/learning_rate", "train/lr", "lr/unet", "unet_lr"),
    "epoch": ("epoch", "train/epoch"),
    "grad_norm": ("grad_norm", "gradient_norm", "train/grad_norm", "gnorm"),
    "images_per_s": ("images_per_s", "images_per_sec", "images_per_second", "images/s", "img/s",
                     "imgs/s", "samples_per_second", "samples_per_sec", "samples/s"),
    "it_per_s": ("it/s", "steps_per_second", "steps_per_sec", "steps/s", "it_per_s"),
}  # fmt: skip
_ROLES = {name: role for role, names in _NAMES.items() for name in names}
_LR = re.compile(r"lr-\w{1,40}")  # Lightning's monitor: lr-AdamW
# What the Hugging Face Trainer says at the end of a run: means over all of it.
_SUMMARY = {"train_runtime", "eval_runtime"}


@dataclass(frozen=True, slots=True)
class Said:
    """What one line, bar or group of scalars says of a training step; None: nothing.

    Attributes:
        step: Steps completed, as printed.
        total: Of the whole run, or of what its line counts; see ``epochs``.
        loss: May be NaN or infinite.
        loss_name: What the trainer calls it.
        it_per_s: Of the trainer's own bar; what an iteration is, is the trainer's.
        epochs: How many there will be, in ``epoch 2/3``.
    """

    step: int | None = None
    total: int | None = None
    loss: float | None = None
    loss_name: str | None = None
    lr: float | None = None
    epoch: float | None = None
    grad_norm: float | None = None
    images_per_s: float | None = None
    it_per_s: float | None = None
    epochs: int | None = None


def pairs(text: str) -> Iterator[tuple[str, str]]:
    """Yield names and numbers of ``text``; of ``step 60/500`` and ``epoch 2/3`` also the total."""
    for match in _PAIR.finditer(text[:MAX_TEXT]):
        name, value, whole = match.groups()
        yield name, value
        if whole is not None and role(name) in {"step", "epoch"}:
            yield f"total_{role(name)}s", whole


def role(name: str) -> str | None:
    """Return which of ours ``name`` is; losses are chosen by ``best_loss``."""
    name = name.lower()
    return "lr" if _LR.fullmatch(name) else _ROLES.get(name)


def best_loss(names: Iterable[str]) -> str | None:
    """Return which of ``names`` is the loss of a training step."""
    lower = {name.lower(): name for name in names}
    for known in _LOSSES:
        if known in lower:
            return lower[known]
    others = (o for low, o in lower.items() if _OTHER_LOSS.search(low))
    return next((o for o in others if not _NOT_OF_TRAINING.search(o.lower())), None)


def said(found: Iterable[tuple[str, str | float]]) -> Said:
    """Make sense of names and numbers; the first number of a name counts."""
    values: dict[str, float] = {}
    for name, value in found:
        number = to_number(value)
        if number is not None:
            values.setdefault(name, number)
    if _SUMMARY & values.keys():
        return Said()
    roles: dict[str, float] = {}
    for name, number in values.items():
        if (known := role(name)) is not None:
            roles.setdefault(known, number)
    loss = best_loss(values)
    return Said(
        step=count(roles.get("step")),
        total=count(roles.get("total")) or None,
        loss=None if loss is None else values[loss],
        loss_name=None if loss is None else clean_line(loss, 60),
        lr=measure(roles.get("lr")),
        epoch=measure(roles.get("epoch")),
        grad_norm=roles.get("grad_norm"),
        images_per_s=measure(roles.get("images_per_s")),
        it_per_s=measure(roles.get("it_per_s")),
        epochs=count(roles.get("epochs")) or None,
    )


def to_number(value: str | float) -> float | None:
    """Return a number of text, or None; ``1,000`` is a thousand."""
    if isinstance(value, str) and _THOUSANDS.fullmatch(value):
        value = value.replace(",", "")
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def count(value: float | None) -> int | None:
    """Return a whole number of steps, or None."""
    whole = value is not None and 0 <= value < _MAX_COUNT and value == int(value)
    return int(value) if whole and value is not None else None


def measure(value: float | None) -> float | None:
    """Return a finite number that is not negative, or None."""
    return value if value is not None and math.isfinite(value) and value >= 0 else None

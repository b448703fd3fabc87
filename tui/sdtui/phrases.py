"""The console's words for what a run is and does, in the language of the console.

Beside ``words``, which speaks the English of the command line. Spans of time that are drawn live
are coarse: a number that changes every second costs bytes and tells nothing more.
"""

import math
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from sdcore import units
from sdcore.runs.fields import Fields
from sdcore.runs.paths import RunDir
from sdcore.runs.status import State, Status
from sdcore.text import clean_line
from sdtui.keymap import keyed
from sdtui.language import N_, _, ngettext
from sdtui.told import filled, told
from sdtui.words import bucket_sizes

STATES: dict[State, str] = {
    "queued": N_("queued"),
    "starting": N_("starting"),
    "running": N_("running"),
    "stopping": N_("stopping"),
    "done": N_("done"),
    "failed": N_("failed"),
    "stopped": N_("stopped"),
    "interrupted": N_("interrupted"),
}
_PHASES = {
    "loading": N_("loading the model"),
    "caching": N_("caching"),
    "compiling": N_("compiling the model"),
    "training": N_("training"),
    "sampling": N_("drawing samples"),
    "saving": N_("saving"),
    "paused": N_("paused: the disk is full"),
    "finished": N_("finished"),
}
_COUNTED = {
    "images": N_("caching {done} of {total} images"),
    "captions": N_("caching {done} of {total} captions"),
}
# A rung of the stop ladder, and what comes after it.
_RUNGS = {
    "save": (N_("finishes its step and saves"), N_("SIGTERM in {span}")),
    "term": (N_("SIGTERM is sent"), N_("SIGKILL in {span}")),
    "kill": (N_("SIGKILL is sent"), ""),
}
# Where the steps of a start command are read, in the place of what it does.
_SOURCES = {"log": N_("read from its log"), "tensorboard": N_("read from TensorBoard files")}
UNKNOWN = "–"
T = TypeVar("T")


def state_name(state: State) -> str:
    """Return the word for a state."""
    return _(STATES[state])


def state_words(status: Status) -> str:
    """Write the state with what it waits for or is being done."""
    if status.state == "queued":
        what = told(status.waiting_for or "") or _("its turn")
        return _("queued: waits for {what}").format(what=what)
    if status.state == "stopping":
        return _("stopping: {how}").format(how=stop_words(status))
    if silence := silence_words(status):
        return state_name(status.state) + _(": ") + silence
    return state_name(status.state)


def silence_words(status: Status, now: float | None = None) -> str:
    """Write for how long a running one was not heard of; empty while it speaks."""
    if status.silent_since is None:
        return ""
    quiet = (time.time() if now is None else now) - status.silent_since
    return _("silent for {span}").format(span=span(quiet))


def stop_words(status: Status, now: float | None = None) -> str:
    """Write the rung of the stop ladder that is tried, and the count-down to the next one."""
    doing, _after = _RUNGS.get(status.stop_step or "", (N_("is being ended"), ""))
    if status.stop_step == "save" and status.step is None:
        doing = N_("no step yet, so there is nothing to save")
    left = countdown(status, now)
    return _("{doing}; {left}").format(doing=_(doing), left=left) if left else _(doing)


def countdown(status: Status, now: float | None = None) -> str:
    """Write when the next rung comes: ``SIGTERM in 4m 59s``; empty where none does."""
    _doing, after = _RUNGS.get(status.stop_step or "", ("", ""))
    if not after or status.deadline is None:
        return ""
    left = status.deadline - (time.time() if now is None else now)
    return _(after).format(span=units.duration(left))


def reason_words(status: Status) -> str:
    """Write why it is in its state, without saying the state again."""
    reason = status.reason or ""
    if status.state == "queued":
        return told(status.waiting_for or reason)
    return told(reason.removeprefix(f"{status.state}: "))


def remedy_words(status: Status, on: str = "run") -> str:
    """Write what a person can do about it, in one line, with the keys of the screen ``on``."""
    if status.state in {"stopped", "interrupted"}:
        words = (
            _("[run.resume] resumes it from its last checkpoint")
            if status.checkpoint is not None
            else _("[run.resume] starts it again from step 0: it has no checkpoint")
        )
        return keyed(words, on=on)
    return told(clean_line(status.remedy or ""))


def phase_words(status: Status) -> str:
    """Write what the trainer does now, with its count where it has one."""
    if status.phase is None:
        return ""
    counted = _COUNTED.get(status.phase_unit or "") if status.phase == "caching" else None
    if counted and status.phase_total:
        words = _(counted).format(
            done=f"{status.phase_done or 0:,}", total=f"{status.phase_total:,}"
        )
        if not status.phase_per_s:
            return words
        left = (status.phase_total - (status.phase_done or 0)) / status.phase_per_s
        return f"{words}  {rate_words(status.phase_per_s)}/s  {span(left)}"
    return _(_PHASES[status.phase]) if status.phase in _PHASES else status.phase


def doing_words(status: Status) -> str:
    """Write what goes on; of a start command, from where it is read how far it is."""
    source = _SOURCES.get(status.metrics_source or "")
    return phase_words(status) or (_(source) if source else state_name(status.state))


def loss_words(loss: float | None) -> str:
    """Write a loss in a width that stays: ``0.1183``, ``12.41``, ``NaN``."""
    if loss is None:
        return UNKNOWN
    if not math.isfinite(loss):
        return "NaN" if math.isnan(loss) else "Inf" if loss > 0 else "-Inf"
    if abs(loss) >= 1e5 or 0 < abs(loss) < 1e-4:
        return f"{loss:.1e}"
    return f"{loss:.4f}" if abs(loss) < 10 else f"{loss:.5g}"


def rate_words(per_second: float | None) -> str:
    """Write a rate with three digits."""
    if per_second is None or not math.isfinite(per_second):
        return UNKNOWN
    return f"{per_second:.0f}" if per_second >= 100 else f"{per_second:.3g}"


def step_words(status: Status) -> str:
    """Write how far a run is: ``4,210/15,000``."""
    step, total = status.step or 0, status.total
    if total is None:
        return UNKNOWN if status.step is None else f"{step:,}"
    return f"{step:,}/{total:,}"


def share(status: Status) -> float | None:
    """Return how much of the run is done, 0 to 1; None when its length is not known."""
    if not status.total:
        return None
    return min(1.0, max(0.0, (status.step or 0) / status.total))


def span(seconds: float | None) -> str:
    """Write a span that is drawn live: in minutes from ten minutes on, before in tens of seconds.

    The last minute goes by seconds: there a person waits.
    """
    if seconds is None or not math.isfinite(seconds):
        return UNKNOWN
    if seconds < 60:
        return units.duration(seconds)
    if seconds < 600:
        return units.duration(round(seconds / 10) * 10)
    minutes = round(seconds / 60)
    return f"{minutes}m" if minutes < 60 else units.duration(minutes * 60)


def elapsed_words(status: Status) -> str:
    """Write for how long it ran; of a resumed run only its last attempt's time is known."""
    words = span(status.elapsed)
    if status.attempt == 1 or status.elapsed is None:
        return words
    return _("{span} in attempt {n}").format(span=words, n=status.attempt)


def age_words(seconds: float | None) -> str:
    """Write an age in its largest unit, in minutes at least."""
    if seconds is None or not math.isfinite(seconds):
        return UNKNOWN
    if seconds < 60:
        return _("now")
    for unit, length in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds >= length:
            return f"{int(seconds // length)}{unit}"
    raise AssertionError("a minute is the least")


@lru_cache(maxsize=8192)
def created(run_id: str) -> float:
    """Return when the run of this id was made, in seconds since the epoch."""
    return RunDir(Path(run_id)).created.timestamp()


def named(curves: tuple[tuple[str, T], ...]) -> tuple[tuple[str, T], ...]:
    """Put names in the place of ids; runs of one name keep the id, by which they differ."""
    names = [RunDir(Path(id_)).name for id_, _curve in curves]
    return tuple(
        (name if names.count(name) == 1 else id_, curve)
        for name, (id_, curve) in zip(names, curves, strict=True)
    )


def event_words(record: dict[str, Any]) -> str | None:
    """Write an event in a line; None for phases and for kinds that are not known."""
    event = Fields(record)
    writer = _EVENTS.get(event.text("kind") or "")
    return None if writer is None else writer(event)


def _model(event: Fields) -> str:
    number = event.whole("parameters") or 0
    precision = event.text("precision") or UNKNOWN
    return _("model {name}: {millions} M parameters, {precision}, on {device}").format(
        name=event.text("name") or UNKNOWN,
        millions=f"{number / 1e6:.1f}",
        precision="fp32" if precision == "no" else precision,  # "no" is accelerate's word
        device=event.text("device") or UNKNOWN,
    )


def _data(event: Fields) -> str:
    return _("data: {images} images, {captions} captions").format(
        images=f"{event.whole('images') or 0:,}", captions=f"{event.whole('captions') or 0:,}"
    )


def _buckets(event: Fields) -> str:
    return _("buckets: {sizes}").format(sizes=told(bucket_sizes(event)))


def _plan(event: Fields) -> str:
    epochs = event.moment("epochs")
    return _("plan: {steps} steps of {batch} images, {epochs} epochs, seed {seed}").format(
        steps=f"{event.whole('max_train_steps') or 0:,}",
        batch=f"{event.whole('effective_batch') or 0:,}",
        epochs=UNKNOWN if epochs is None else units.number(epochs),
        seed=event.whole("seed"),
    )


def _choice(event: Fields) -> str:
    parts = {"what": "what", "chosen": "chosen", "why": "because"}
    values = {name: told(event.text(key) or "") for name, key in parts.items()}
    return filled(_("{what}: {chosen}, because {why}"), values)


def _resumed(event: Fields) -> str:
    exact = bool(event.record.get("exact"))
    words = (
        _("resumed from step {step}")
        if exact
        else _("resumed from step {step}, not bit for bit: the number of GPUs differs")
    ).format(step=f"{event.whole('step') or 0:,}")
    over = event.texts("passed_over")
    if not over:
        return words
    which = _("; ").join(told(name) for name in over)
    return _("{words}; passed over: {which}").format(words=words, which=which)


def _checkpoint(event: Fields) -> str:
    return _("checkpoint {step} saved: {size} in {span}").format(
        step=f"{event.whole('step') or 0:,}",
        size=units.size(event.moment("size") or 0),
        span=units.duration(event.moment("seconds")),
    )


def _sample(event: Fields) -> str:
    count = event.whole("count") or 0
    words = ngettext("{n} sample of step {step}", "{n} samples of step {step}", count)
    return words.format(n=count, step=f"{event.whole('step') or 0:,}")


def _pipeline(event: Fields) -> str:
    return _("pipeline saved: {size}").format(size=units.size(event.moment("size") or 0))


def _warning(event: Fields) -> str:
    return _("warning: {text}").format(text=told(event.text("text") or ""))


def _non_finite(event: Fields) -> str:
    words = _("the loss of step {step} is {loss} ({files})").format(
        step=f"{event.whole('step') or 0:,}",
        loss=loss_words(event.number("loss")),
        files=", ".join(event.texts("files")[:4]),
    )
    good = event.text("good_checkpoint")
    after = _("last good checkpoint: {path}").format(path=good) if good else _("none is good")
    return _("{words}; {after}").format(words=words, after=after)


_EVENTS: dict[str, Callable[[Fields], str]] = {
    "model": _model,
    "data": _data,
    "buckets": _buckets,
    "plan": _plan,
    "choice": _choice,
    "resumed": _resumed,
    "checkpoint": _checkpoint,
    "sample": _sample,
    "pipeline": _pipeline,
    "warning": _warning,
    "non_finite": _non_finite,
}

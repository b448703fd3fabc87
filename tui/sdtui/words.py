"""The words in which a run is told: its state, its progress, its events, its end."""

import math
import time
from pathlib import Path
from typing import Any

from sdcore import units
from sdcore.runs.fields import Fields
from sdcore.runs.files import read_json
from sdcore.runs.logs import Mask
from sdcore.runs.paths import LORA_WEIGHTS, RunDir
from sdcore.runs.status import Status
from sdcore.text import clean_line
from sdtui.terminal import rows

# What happens on a rung of the stop ladder, and what comes after it.
_RUNGS = {
    "save": ("finishes its step and saves", "SIGTERM"),
    "term": ("SIGTERM is sent", "SIGKILL"),
    "kill": ("SIGKILL is sent", None),
}
NOTHING_TO_SAVE = "no step yet, so there is nothing to save"
UNFOLDED = ("command", "load it")  # labels of what is copied and run
_SIZES = 5  # of buckets, in a line
_LAST_LINES = 12  # of the log, shown when a run failed


def loss_words(loss: float | None) -> str:
    """Write a loss with four digits."""
    if loss is None:
        return "–"
    return f"{loss:.4g}" if math.isfinite(loss) else str(loss)


def step_words(status: Status) -> str:
    """Write how far a run is: ``120/600``, ``120`` where its length is not known."""
    if status.step is None:
        return "–" if status.total is None else f"0/{status.total}"
    return str(status.step) if status.total is None else f"{status.step}/{status.total}"


def next_rung(status: Status) -> str | None:
    """Write when the next rung of the stop ladder comes: ``SIGTERM in 4m 59s``."""
    _, after = _RUNGS.get(status.stop_step or "", ("", None))
    if after is None or status.deadline is None:
        return None
    return f"{after} in {units.duration(status.deadline - time.time())}"


def state_words(status: Status) -> str:
    """Write the state in a sentence, with what it waits for."""
    if status.state == "queued":
        return f"queued: waits for {status.waiting_for or 'its turn'}"
    if status.state == "stopping":
        now, _ = _RUNGS.get(status.stop_step or "", ("being ended", None))
        if status.stop_step == "save" and status.step is None:
            now = NOTHING_TO_SAVE
        after = next_rung(status)
        return f"stopping: {now}" if after is None else f"stopping: {now}; {after}"
    if status.reason and status.reason.startswith(f"{status.state} "):  # stopped by …
        return status.reason
    return f"{status.state}: {status.reason}" if status.reason else status.state


def note_words(status: Status) -> str:
    """Write in a few words what a run waits for, or why it has no result; empty if all is well."""
    if status.state in {"queued", "stopping"}:
        return state_words(status).removeprefix(f"{status.state}: ")
    if status.state in {"failed", "interrupted"}:
        return clean_line(status.reason or "", 200)
    return ""


def pace_words(status: Status) -> str:
    """Write images per second; where a start command does not tell them, its own iterations."""
    if status.images_per_s is not None:
        return units.rate(status.images_per_s, "images")
    return "" if status.it_per_s is None else units.rate(status.it_per_s, "it")


def metrics_words(status: Status) -> str:
    """Write where the steps of a start command are read; empty for a trainer that tells them."""
    names = {"log": "read from train.log", "tensorboard": "read from TensorBoard event files"}
    return names.get(status.metrics_source or "", "")


def progress_words(status: Status) -> str:
    """Write one line of progress in training."""
    parts = [f"step {step_words(status)}"]
    if status.step is not None and status.total:
        parts[0] += f" ({100 * status.step // status.total} %)"
    parts.append(f"loss {loss_words(status.loss)}")
    if pace := pace_words(status):
        parts.append(pace)
    if status.eta_s is not None:
        parts.append(f"ETA {units.duration(status.eta_s)}")
    return "  ".join(parts)


def phase_words(status: Status) -> str:
    """Write what the trainer does now, with its count where it has one."""
    words = status.phase or status.state
    if status.phase_total and status.phase_unit != "steps":  # those are told by the progress
        unit = f" {status.phase_unit}" if status.phase_unit else ""
        words += f": {status.phase_done or 0:,} of {status.phase_total:,}{unit}"
        if status.phase_per_s:
            left = (status.phase_total - (status.phase_done or 0)) / status.phase_per_s
            pace = units.rate(status.phase_per_s, status.phase_unit or "")
            words += f"  {pace}  ETA {units.duration(left)}"
    return words


def event_words(record: dict[str, Any]) -> str | None:
    """Write an event in a line; None for kinds that are shown otherwise or are not known."""
    event = Fields(record)
    writer = _EVENTS.get(event.text("kind") or "")
    return None if writer is None else writer(event)


def _model(event: Fields) -> str:
    number = event.whole("parameters") or 0
    parameters = f"{number / 1e6:.0f} million" if number >= 10_000_000 else f"{number:,}"
    return (
        f"model {event.text('name')}: {parameters} parameters, precision "
        f"{event.text('precision')}, {event.text('prediction_type')}, on {event.text('device')}"
    )


def _data(event: Fields) -> str:
    images = units.count(event.whole("images") or 0, "image")
    return f"data: {images}, {units.count(event.whole('captions') or 0, 'caption')}"


def bucket_sizes(event: Fields) -> str:
    """Write how many images have which size: ``640x448: 1,204, 512x512: 310``."""
    listed = event.record.get("sizes")
    found = listed if isinstance(listed, list) else []
    sizes = [Fields(one) for one in found if isinstance(one, dict)]
    shown = ", ".join(
        f"{one.whole('width')}x{one.whole('height')}: {one.whole('images') or 0:,}"
        for one in sizes[:_SIZES]
    )
    more = f" and {len(sizes) - _SIZES} more" if len(sizes) > _SIZES else ""
    return f"{shown}{more}"


def _buckets(event: Fields) -> str:
    return f"buckets: {bucket_sizes(event)}"


def _plan(event: Fields) -> str:
    steps, batch = event.whole("max_train_steps") or 0, event.whole("effective_batch") or 0
    epochs = event.moment("epochs")
    passes = f", {units.number(epochs)} epochs" if epochs is not None else ""
    of = f"{units.count(steps, 'step')} of {units.count(batch, 'image')}"
    return f"plan: {of}{passes}, seed {event.whole('seed')}"


def _choice(event: Fields) -> str:
    return f"{event.text('what')}: {event.text('chosen')}, because {event.text('because')}"


def _resumed(event: Fields) -> str:
    exact = "" if event.record.get("exact") else ", not bit for bit"
    words = f"goes on from step {event.whole('step')}{exact}"
    over = event.texts("passed_over")
    return f"{words}; passed over: {'; '.join(over)}" if over else words


def _checkpoint(event: Fields) -> str:
    size = units.size(event.moment("size") or 0)
    spent = units.duration(event.moment("seconds"))
    return f"checkpoint of step {event.whole('step')} saved: {size} in {spent}"


def _sample(event: Fields) -> str:
    pictures = units.count(event.whole("count") or 0, "sample")
    return f"{pictures} of step {event.whole('step')}: {event.text('path')}"


def _pipeline(event: Fields) -> str:
    return f"pipeline saved: {units.size(event.moment('size') or 0)}"


def _warning(event: Fields) -> str:
    return f"warning: {event.text('text')}"


def _non_finite(event: Fields) -> str:
    good = event.text("good_checkpoint")
    files = ", ".join(event.texts("files")[:4])
    return (
        f"warning: the loss of step {event.whole('step')} is {loss_words(event.number('loss'))} "
        f"({files}); {f'the last good checkpoint is {good}' if good else 'no checkpoint is good'}"
    )


_EVENTS = {
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


def path_words(path: Path) -> str:
    """Write a path so that it can be copied and cannot steer the terminal."""
    return clean_line(str(path), 4096)


_PIPELINES = ("StableDiffusionPipeline", "StableDiffusionXLPipeline")


def load_line(pipeline: Path) -> str:
    """Return the one line of Python that loads a result; ``repr`` quotes any path."""
    if (pipeline / LORA_WEIGHTS).is_file():
        return f"pipe.load_lora_weights({str(pipeline)!a})  # of the model that was trained"
    named = (read_json(pipeline / "model_index.json") or {}).get("_class_name")
    kind = named if named in _PIPELINES else _PIPELINES[0]
    return f"from diffusers import {kind}; pipe = {kind}.from_pretrained({str(pipeline)!a})"


def closing_lines(run: RunDir, status: Status, mask: Mask, width: int | None = None) -> list[str]:
    """Write how a run ended, where its results lie and, at the very end, what to do next.

    Args:
        run: The run.
        status: Of a run that is over.
        mask: Of its secrets.
        width: Of the terminal, in columns.
    """
    after = "" if status.elapsed is None else f" after {units.duration(status.elapsed)}"
    if after and status.attempt > 1:
        after += f" in attempt {status.attempt}"  # the earlier ones are not counted
    if status.state == "done":
        steps = f": {step_words(status)} steps, loss {loss_words(status.loss)}"
        first, pairs = f"done{after}{steps if status.step is not None else ''}", _done(run, status)
    else:
        at = "" if status.step is None else f" at step {step_words(status)}"
        first, pairs = f"{status.state}{after}{at}", _broken_off(run, status)
    lines = [first]
    tail = [line for line in status.last_lines if line.strip()][-_LAST_LINES:]
    if status.state in {"failed", "interrupted"} and tail:
        lines += ["  the log ends:", *(f"    | {mask(line)}" for line in tail)]
    masked = [(label, mask(words)) for label, words in pairs]
    free = None if width is None else width - 2
    return [*lines, *(f"  {line}" for line in rows(masked, free, whole=UNFOLDED))]


def _broken_off(run: RunDir, status: Status) -> list[tuple[str, str]]:
    pairs = [("reason", status.reason)] if status.reason else []
    if status.remedy and not (status.state == "stopped" and status.checkpoint is not None):
        pairs.append(("remedy", clean_line(status.remedy)))
    if status.checkpoint is not None:
        pairs.append(("checkpoint", path_words(status.checkpoint)))
    failed = status.state == "failed" and status.code
    own = f" (its start command returned {status.code})" if failed else ""
    return [
        *pairs,
        ("log", path_words(run.log)),
        ("exit code", f"{status.exit_code}{own}"),
        ("go on" if status.checkpoint is not None else "restart", f"sdtui resume {run.id}"),
    ]


def _done(run: RunDir, status: Status) -> list[tuple[str, str]]:
    if status.pipeline is not None:
        pairs = [("pipeline", path_words(status.pipeline))]
    else:
        pairs = [("output", path_words(run.output))]
    if run.samples.is_dir():
        pairs.append(("samples", path_words(run.samples)))
    if status.pipeline is not None:
        pairs.append(("load it", load_line(status.pipeline)))
    return pairs

"""The JSON lines of ``--json`` while a run is followed, as ``sdtui schema events`` prints them.

Writers write plain dicts, as in ``sdcore.runs.events``; these models are the contract that tests
hold them to. Not-a-number stands as the string "NaN", because JSON has no number for it.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from sdcore import __version__
from sdcore.runs.events import Event, Metrics, Real
from sdcore.runs.follow import StepMetrics, Update
from sdcore.runs.logs import Mask
from sdcore.runs.paths import RunDir
from sdcore.runs.status import State, Status
from sdtui.secrets import masked
from sdtui.terminal import out_json

_EVENT: TypeAdapter[Any] = TypeAdapter(Event)


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class FindingMessage(_Message):
    """What the check before the start found; an error means that nothing was started."""

    type: Literal["finding"] = "finding"
    level: Literal["error", "warning"]
    what: str
    cause: str
    remedy: str
    exit_code: int = Field(description="0 for a warning.")


class RunMessage(_Message):
    """Which run this is; before all that follows of it."""

    type: Literal["run"] = "run"
    id: str
    name: str
    path: str = Field(description="The run directory.")
    version: str = Field(description="Of sdtui, which writes these lines.")


class StatusMessage(_Message):
    """The state, its reason, its attempt or the trainer's phase has changed."""

    type: Literal["status"] = "status"
    state: State
    reason: str | None
    attempt: int
    step: int | None
    total: int | None
    phase: str | None = Field(description="What the trainer does, see the phase event.")
    stop_step: str | None = Field(description="While stopping: save, term or kill.")
    deadline: float | None = Field(description="While stopping: when the next one comes.")
    waiting_for: str | None = Field(description="While queued: what is missing.")
    gpus: list[str] = Field(description="UUIDs of the devices taken.")
    job: str | None = Field(None, description="On a cluster: the number of its job.")
    nodes: str | None = Field(None, description="On a cluster: its nodes, in short form.")


class MetricsMessage(Metrics):
    """One optimizer step. A line for a step replaces that step and all later ones before it."""

    type: Literal["metrics"] = "metrics"
    # A start command of somebody's own may write others.
    epoch: float | None = Field(None, description="Passes over the data completed, with fraction.")
    lr: Real | None = Field(None, description="Learning rate of this update.")


class EventMessage(_Message):
    """A rare thing: a phase, a checkpoint, a sample, a warning."""

    type: Literal["event"] = "event"
    event: Event


class ExitMessage(_Message):
    """How the run ended; the last line."""

    type: Literal["exit"] = "exit"
    state: State
    exit_code: int = Field(description="What sdtui returns.")
    cause: str | None = Field(description="done, stopped, out_of_memory, non_finite, ...")
    code: int | None = Field(description="The start command's own exit code.")
    signal_name: str | None
    reason: str | None
    remedy: str | None
    attempt: int
    step: int | None
    total: int | None
    loss: Real | None
    images_per_s: Real | None
    elapsed: float | None = Field(description="Seconds.")
    checkpoint: str | None = Field(description="Path of the newest good checkpoint.")
    pipeline: str | None = Field(description="Path of the final pipeline.")
    samples: str | None = Field(description="Path of the folder of sample pictures.")
    last_lines: list[str] = Field(description="The end of the log, when the run failed.")


Message = Annotated[
    FindingMessage | RunMessage | StatusMessage | MetricsMessage | EventMessage | ExitMessage,
    Field(discriminator="type"),
]
MESSAGES: TypeAdapter[Any] = TypeAdapter(Message)


def stream_schema() -> dict[str, Any]:
    """Return the JSON schema of one line."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "One line of sdtui --run … --json",
        **MESSAGES.json_schema(),
    }


def run_message(run: RunDir, version: str) -> dict[str, Any]:
    """Build the line that names the run."""
    return {
        "type": "run",
        "id": run.id,
        "name": run.name,
        "path": str(run.root),
        "version": version,
    }


def status_message(status: Status) -> dict[str, Any]:
    """Build the line of a state."""
    names = [name for name in StatusMessage.model_fields if name != "type"]
    return {"type": "status", **{name: getattr(status, name) for name in names}}


def metrics_message(line: StepMetrics) -> dict[str, Any]:
    """Build the line of a step."""
    known = {name: value for name, value in line._asdict().items() if value is not None}
    return {"type": "metrics", **known}


def event_message(record: dict[str, Any]) -> dict[str, Any] | None:
    """Build the line of an event; None for one that a newer version wrote or that is damaged."""
    try:
        event = _EVENT.validate_python(record)
    except ValidationError:
        return None
    return {"type": "event", "event": event.model_dump()}


def exit_message(run: RunDir, status: Status) -> dict[str, Any]:
    """Build the last line."""
    extra = {
        "samples": str(run.samples) if run.samples.is_dir() else None,
        "last_lines": list(status.last_lines) if status.state == "failed" else [],
    }
    names = [name for name in ExitMessage.model_fields if name != "type" and name not in extra]
    return {"type": "exit", **{name: getattr(status, name) for name in names}, **extra}


class JsonDisplay:
    """Writes every line to stdout as JSON; notes for people are left out."""

    def __init__(self, run: RunDir, mask: Mask) -> None:
        self._run, self._mask = run, mask
        self._last: tuple[object, ...] = ()
        out_json(run_message(run, __version__), stream=True)

    def note(self, text: str) -> None:
        """Say nothing: stdout is for the program that reads it."""

    def show(self, update: Update) -> None:
        """Write what is new."""
        message = masked(status_message(update.status), self._mask)
        # What moves with every step stands in the metrics.
        key = tuple(v for k, v in message.items() if k not in {"step", "total", "deadline"})
        if key != self._last:
            self._last = key
            out_json(message, stream=True)
        for record in update.events:
            event = event_message(record)
            if event is not None:
                out_json(masked(event, self._mask), stream=True)
        for line in update.metrics:
            out_json(metrics_message(line), stream=True)
        if update.status.over:
            last = exit_message(self._run, update.status)
            out_json(masked(last, self._mask), stream=True)

    def close(self) -> None:
        """Leave nothing to be done."""

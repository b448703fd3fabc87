"""The lines of ``events.jsonl`` and ``metrics.jsonl``: a closed union on disk, open to the future.

Writers write plain dicts (the supervisor must stay small, the step must stay quick); these
models are the contract that tests hold them to, and what ``sdtui schema events`` prints.
Readers skip a kind they do not know and keys they do not know.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

PHASES = (
    "loading", "caching", "compiling", "training", "sampling", "saving", "paused", "finished",
)  # fmt: skip
Phase = Literal[
    "loading", "caching", "compiling", "training", "sampling", "saving", "paused", "finished",
]  # fmt: skip

# JSON has no not-a-number, so a reader of the schema must expect a word in its place.
Real = Annotated[
    float,
    WithJsonSchema({"anyOf": [{"type": "number"}, {"enum": ["NaN", "Infinity", "-Infinity"]}]}),
]


class _Line(BaseModel):
    # strings: the default writes NaN as null, and a diverged loss could then not be told.
    model_config = ConfigDict(frozen=True, extra="ignore", ser_json_inf_nan="strings")

    at: float = Field(description="Seconds since the epoch, UTC.")
    attempt: int = Field(ge=1, description="1 for the first start, one more for each resume.")


class Metrics(_Line):
    """One optimizer step, in metrics.jsonl. A later attempt's line for a step replaces earlier."""

    step: int = Field(ge=1, description="Optimizer updates completed, this one included.")
    epoch: float | None = Field(
        None, ge=0, description="Passes over the data completed, with fraction."
    )
    loss: Real = Field(description="Mean over ranks and accumulation; may be NaN.")
    lr: Real | None = Field(None, ge=0, description="Learning rate of this update.")
    grad_norm: Real | None = Field(
        None, description="Global L2 norm before clipping; null when it was not computed."
    )
    images_per_s: Real | None = Field(None, description="Over the last few steps, all ranks.")
    loss_scale: Real | None = Field(None, description="fp16 only.")
    skipped: int | None = Field(None, description="fp16 only: updates skipped so far.")
    d: Real | None = Field(None, description="Prodigy only: what it multiplies lr by.")
    bad_images: int | None = Field(
        None, description="Images that went bad during training and are left out; null: none."
    )
    val_loss: Real | None = Field(
        None, description="On the held-out images, at the steps that measure it."
    )
    val_loss_ema: Real | None = Field(None, description="The same of the averaged weights.")
    gpu_allocated: int | None = Field(None, description="Bytes torch holds on rank 0.")
    gpu_peak: int | None = Field(None, description="Peak of the same.")
    it_per_s: Real | None = Field(
        None, description="Of a start command of the user's own: the rate of its progress bar."
    )
    total: int | None = Field(None, description="Likewise: steps of the whole run, as it shows.")
    source: str | None = Field(
        None, description="Likewise: log or tensorboard, where the line was read from."
    )


class PhaseEntered(_Line):
    """What the trainer is doing now; repeated at 1 Hz while a counted phase advances."""

    kind: Literal["phase"] = "phase"
    phase: Phase
    done: int | None = Field(None, description="Of ``total``, in ``unit``.")
    total: int | None = None
    unit: str | None = Field(None, description="images, captions, steps, ...")
    per_s: Real | None = Field(None, description="Units per second over the last minute.")


class ModelLoaded(_Line):
    """The model, once it is in memory."""

    kind: Literal["model"] = "model"
    name: str
    parameters: int = Field(description="Of the U-Net; a LoRA trains none of them.")
    device: str = Field(description="cpu or the name of the GPU.")
    precision: str = Field(description="no, fp16 or bf16.")
    prediction_type: str


class DataLoaded(_Line):
    """The data set, once it is indexed."""

    kind: Literal["data"] = "data"
    images: int
    captions: int
    fingerprint: str = Field(description="Hash of names, sizes and captions, in order.")


class Bucket(BaseModel):
    """Images that are trained in one size."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    width: int = Field(description="Pixels.")
    height: int = Field(description="Pixels.")
    images: int


class BucketsFilled(_Line):
    """How many of the images that are trained on have which size, with ``enable_bucket``."""

    kind: Literal["buckets"] = "buckets"
    sizes: list[Bucket] = Field(description="The fullest first.")
    smaller: int = Field(description="Images too small for a regular bucket.")


class PlanMade(_Line):
    """The arithmetic of the run."""

    kind: Literal["plan"] = "plan"
    max_train_steps: int
    effective_batch: int = Field(description="Images per optimizer step, over all ranks.")
    world_size: int
    steps_per_epoch: float
    epochs: float
    seed: int


class Chosen(_Line):
    """An automatic choice and its reason."""

    kind: Literal["choice"] = "choice"
    what: str
    chosen: str
    because: str


class Resumed(_Line):
    """Training goes on from a checkpoint."""

    kind: Literal["resumed"] = "resumed"
    step: int
    path: str
    exact: bool = Field(description="True: bit for bit; false: same order, other world size.")
    passed_over: list[str] = Field(
        default_factory=list, description="Newer checkpoints that do not validate, with why."
    )


class CheckpointSaved(_Line):
    """A checkpoint is whole on disk."""

    kind: Literal["checkpoint"] = "checkpoint"
    step: int
    path: str = Field(description="Relative to the run directory where it lies inside it.")
    size: int = Field(ge=0, description="Bytes on disk.")
    seconds: float = Field(ge=0, description="From the copy of the state to the rename.")
    stall: float | None = Field(None, ge=0, description="Seconds of them that training waited.")


class SampleWritten(_Line):
    """Pictures of the prompts at a step."""

    kind: Literal["sample"] = "sample"
    step: int
    path: str = Field(description="The folder; samples.json in it names prompts and seeds.")
    count: int


class PipelineSaved(_Line):
    """The final pipeline is whole on disk."""

    kind: Literal["pipeline"] = "pipeline"
    step: int
    path: str
    size: int


class Validated(_Line):
    """The loss on the held-out images, at fixed noise and timesteps; step 0: the base model."""

    kind: Literal["validation"] = "validation"
    step: int
    loss: Real = Field(description="Mean squared error, whatever the loss settings.")
    ema: Real | None = Field(None, description="Of the averaged weights.")
    visits: int = Field(description="Forward passes that the mean is over.")


class TimestepLoss(_Line):
    """Where in the schedule the loss is made: its means over tenths, the least noise first."""

    kind: Literal["timestep_loss"] = "timestep_loss"
    first_step: int = Field(description="The means are over the steps from this one on.")
    step: int = Field(description="To this one.")
    means: list[Real | None] = Field(description="As trained, weights and all; null: no image.")
    images: list[int] = Field(description="What each mean is over.")


class Warned(_Line):
    """Something a person should know; training goes on."""

    kind: Literal["warning"] = "warning"
    text: str


class NonFinite(_Line):
    """The loss is not finite; training stops."""

    kind: Literal["non_finite"] = "non_finite"
    step: int
    loss: Real
    timesteps: list[int]
    files: list[str] = Field(description="The images of the window, by name.")
    good_checkpoint: str | None = Field(description="The last one from before, if any.")


Event = Annotated[
    PhaseEntered
    | ModelLoaded
    | DataLoaded
    | BucketsFilled
    | PlanMade
    | Chosen
    | Resumed
    | CheckpointSaved
    | SampleWritten
    | PipelineSaved
    | Validated
    | TimestepLoss
    | Warned
    | NonFinite,
    Field(discriminator="kind"),
]

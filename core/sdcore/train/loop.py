"""The training loop: windows of forward passes, one update each, and what is due between them.

Nothing in a window waits for the device (fp16 apart, see ``optimizing``). Loss, gradient norm
and the ranks' wishes travel together as one small vector that is added over the ranks and read
one window late, so every rank sees a stop at the same window and leaves at the same step.
"""

import math
import time
from collections import deque
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sdcore.runs import requests
from sdcore.text import clean_line
from sdcore.train.ahead import Ahead, passes_ahead
from sdcore.train.checkpoint import Progress
from sdcore.train.keeping import Keeper
from sdcore.train.kit import Kit
from sdcore.train.late import LateReader
from sdcore.train.outcome import NonFiniteError
from sdcore.train.randomness import Stream, generator, micro_positions
from sdcore.train.samples import View
from sdcore.train.session import Job
from sdcore.train.step import predictor
from sdcore.train.timesteps import BUCKETS, BucketMeans, by_bucket
from sdcore.train.validating import Validation
from sdcore.units import count

_POLL = 0.25  # s between two looks at requests/
_PATIENCE = 20  # windows of fp16 in a row that may overflow: from a scale of 65536 to 1/16
_SPEED_WINDOWS = 20


class Note(NamedTuple):
    """What the host knows of a window when its numbers are still on their way."""

    step: int  # that the window makes, or tried to make
    start: int  # position of its first sample
    changed: bool
    lr: float
    at: float  # when its work was handed to the device, monotonic s
    loss_scale: float | None  # after it; None without loss scaling
    skipped: int
    estimate: float | None  # Prodigy's, before it
    validation: Validation | None  # of the weights it left, where it was due


@dataclass
class Loop:
    """Runs windows from ``step`` to the plan's end.

    Attributes:
        step: Updates made.
        window: Windows run; fp16 can leave an update out.
        samples: Images consumed: position of the next window's first one.
        keeper: Of its checkpoints.
        means: The loss by part of the schedule, since it was last told.
    """

    job: Job
    kit: Kit
    step: int = 0
    window: int = 0
    samples: int = 0
    keeper: Keeper = field(init=False)
    means: BucketMeans = field(default_factory=BucketMeans)
    _reader: LateReader[Note] = field(default_factory=LateReader)
    _wishes: set[str] = field(default_factory=set)
    _polled: float = -math.inf
    _asked: frozenset[str] = frozenset()
    _overflows: int = 0
    _ahead: Ahead = field(init=False)
    _told_refusal: bool = False
    _spread: Tensor = field(init=False)
    _clock: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=_SPEED_WINDOWS))

    def __post_init__(self) -> None:
        self.keeper = Keeper(self.job, self.kit.parts)

    def run(self) -> bool:
        """Train to the end.

        Returns:
            False if a stop was asked for; the state is then saved.

        Raises:
            NonFiniteError: The loss or the gradients are not finite.
        """
        stride = self.job.world.size * self.job.spec.train_batch_size
        passes = passes_ahead(self.job.world.device)
        self._ahead = Ahead(self.kit.batches, stride, passes)
        with closing(self._ahead):
            return self._train()

    def _train(self) -> bool:
        self._enter_training()
        late = 0  # the first loss is told at once, the others when the next step is on its way
        while self.step < self.kit.plan.steps:
            advanced = self.run_window()
            self._read(keep=late)
            late = 1
            if not self._due(advanced):
                continue
            self._read(keep=0)  # nothing is saved or drawn before its loss was seen
            stopping = "stop" in self._wishes and self.step < self.kit.plan.steps
            self._pause(advanced, stopping=stopping)
            if stopping:
                return False
        return True

    def run_window(self) -> bool:
        """Run one accumulation window and its update; say whether the weights changed."""
        spec, world, device = self.job.spec, self.job.world, self.job.world.device
        passes = spec.gradient_accumulation_steps
        total = torch.zeros((), device=device)
        self._spread = torch.zeros(2 * BUCKETS, device=device)
        for micro in range(passes):
            with self._sync(last=micro == passes - 1):
                part = self.forward(micro) / passes
                self.kit.updater.scaler.scale(part).backward()  # type: ignore[no-untyped-call]
            total += part.detach()
        lr = self.kit.updater.rate(self.step)
        updater, estimate = self.kit.updater, self.kit.updater.estimate
        norm, changed = updater.apply(self.step)
        at = time.monotonic()
        start, self.samples = self.samples, self.samples + self.kit.plan.window
        self.window += 1
        if changed:
            self.step += 1
            if self.kit.ema is not None:
                self.kit.ema.step(self.kit.updater.parameters)
        validation = self._validate() if changed else None
        note = Note(self.step + (not changed), start, changed, lr, at, updater.loss_scale,
                    updater.skipped, estimate, validation)  # fmt: skip
        wishes = [torch.full((), float(wish), device=device) for wish in self._own_wishes()]
        bad = torch.full((), float(len(self.kit.batches.faults.fresh)), device=device)
        head = torch.stack([total / world.size, norm / world.size, *wishes, bad])
        self._reader.push(world.sum_(torch.cat([head, self._spread])), note)
        return changed

    def forward(self, micro: int) -> Tensor:
        """Return the loss of one forward pass, a scalar on the device."""
        job = self.job
        positions = micro_positions(
            self.samples, micro, job.world.rank, job.world.size, job.spec.train_batch_size
        )
        batch = self._ahead.take(positions)
        if self.kit.dropout:
            source = generator(self.kit.plan.seed, Stream.DROPOUT, positions[0])
            torch.manual_seed(int(source.integers(1 << 62)))
        enabled = job.precision.mode != "no"
        with torch.autocast(job.world.device.type, job.precision.dtype, enabled=enabled):
            loss_B = self.kit.objective(batch, predictor(self.kit.net))
        timesteps = self.kit.batches.chances.timesteps
        self._spread += by_bucket(loss_B, batch.timesteps, timesteps.count)
        return loss_B.mean()

    def _validate(self) -> Validation | None:
        """Measure on the held-out images if that is due, before this step can be saved."""
        if self.kit.validator is None or not self.kit.plan.validation_due(self.step):
            return None
        return self.kit.validator.measure(self.step)

    def _sync(self, *, last: bool) -> AbstractContextManager[Any]:
        """Let gradients travel between ranks in the last pass of a window alone."""
        if last or self.job.world.size == 1:
            return nullcontext()
        context: AbstractContextManager[Any] = self.kit.net.no_sync()  # type: ignore[operator]
        return context

    def _own_wishes(self) -> tuple[bool, bool, bool, bool]:
        """Return what this rank was asked, stop, checkpoint, sample, and whether to settle."""
        run = self.job.places.run
        if self.job.world.leads and time.monotonic() - self._polled >= _POLL:
            self._polled = time.monotonic()
            kinds: tuple[requests.Kind, ...] = ("stop", "checkpoint", "sample")
            self._asked = frozenset(k for k in kinds if requests.pending(run, k) is not None)
        stop = self.job.stop.by is not None or "stop" in self._asked
        asked = "checkpoint" in self._asked, "sample" in self._asked
        return stop, *asked, self.keeper.due

    def _read(self, *, keep: int) -> None:
        """Take in the numbers that have arrived: streams, wishes, and whether they are finite."""
        for values, note in self._reader.take(keep=keep):
            loss, norm, *wishes, bad = values[: -2 * BUCKETS]
            if bad:
                self._share_faults()
            named = zip(("stop", "checkpoint", "sample", "settle"), wishes, strict=True)
            self._wishes |= {name for name, wish in named if wish}
            self._check_finite(loss, norm, note)
            if note.changed:
                self._tell(loss, norm, note)
                self._tell_buckets(note.step, values[-2 * BUCKETS :])

    def _share_faults(self) -> None:
        """Let all ranks leave out what any of them could not read, and tell of it once."""
        report, world = self.job.report, self.job.world
        for one, number in self.kit.batches.faults.share(world.gather):
            if world.leads:
                report.warn(
                    f"the image {clean_line(one.name, 80)} went bad during training "
                    f"({one.cause}): others take its place; {count(number, 'image')} left out "
                    "by now"
                )

    def _check_finite(self, loss: float, norm: float, note: Note) -> None:
        if note.changed and math.isfinite(loss) and math.isfinite(norm):
            self._overflows = 0
            return
        self._overflows += 1
        if self.kit.updater.scaler.is_enabled() and self._overflows < _PATIENCE:
            return
        positions = list(range(note.start, note.start + self.kit.plan.window))
        chances = self.kit.batches.chances
        files, timesteps = chances.names(positions), chances.timesteps_at(positions)
        self.keeper.settle()  # what is on its way is from before
        good = self.job.record.checkpoint
        self.job.report.event(
            "non_finite", step=note.step, loss=loss, timesteps=timesteps, files=files,
            good_checkpoint=good,
        )  # fmt: skip
        self.job.record.step = note.step
        raise NonFiniteError(
            f"the loss is not finite at step {note.step}",
            cause=f"loss {loss}, gradient norm {norm}; images {', '.join(files[:4])}, "
            f"timesteps {timesteps[:4]}",
            remedy=f"resume from {good} with a lower learning_rate" if good
            else "lower learning_rate, or use bf16 or fp32 instead of fp16",
        )  # fmt: skip

    def _tell(self, loss: float, norm: float, note: Note) -> None:
        """Write the line of a step that was made."""
        plan, job = self.kit.plan, self.job
        job.record.step = note.step
        end = note.start + plan.window
        speed = self._speed(end, note.at)
        seen: dict[str, float] = {}
        if note.validation is not None:
            seen = note.validation.named
            self._clock.clear()
            self._clock.append((note.validation.until, end))
        on_gpu = job.world.device.type == "cuda"
        job.report.metrics(
            step=note.step, epoch=round(plan.epochs_at(end), 6), loss=loss, lr=note.lr,
            grad_norm=norm, images_per_s=speed,
            loss_scale=note.loss_scale,
            skipped=None if note.loss_scale is None else note.skipped,
            d=note.estimate, bad_images=self.kit.batches.faults.count or None, **seen,
            gpu_allocated=torch.cuda.memory_allocated() if on_gpu else None,
            gpu_peak=torch.cuda.max_memory_allocated() if on_gpu else None,
        )  # fmt: skip
        self.kit.trackers.log(
            {"train_loss": loss, "lr": note.lr, "grad_norm": norm, **seen}, note.step
        )
        job.report.progress(note.step, plan.steps, loss, note.lr, speed, plan.window)
        refusal = self.kit.batches.locks.refusal
        if refusal is not None and not self._told_refusal:
            self._told_refusal = True
            job.report.warn(
                f"the host gave no page-locked memory ({refusal}): each batch waits for the GPU; "
                "raise ulimit -l or the job's memory"
            )

    def _tell_buckets(self, step: int, numbers: list[float]) -> None:
        self.means.take(step, numbers)
        due = self.means.due(step, self.kit.plan.steps)
        if due is not None:
            self.job.report.event("timestep_loss", **due)

    def _speed(self, end: int, at: float) -> float | None:
        """Return images per second over the last windows since the last pause."""
        self._clock.append((at, end))
        began, first = self._clock[0]
        return (end - first) / (at - began) if at > began else None

    def _due(self, advanced: bool) -> bool:
        plan, every = self.kit.plan, self.job.spec.checkpointing_steps
        return bool(self._wishes) or (
            advanced
            and (self.step % every == 0 or self.step == plan.steps or plan.samples_due(self.step))
        )

    def _pause(self, advanced: bool, *, stopping: bool) -> None:
        """Do what is due between two windows: save first, then draw."""
        plan, spec = self.kit.plan, self.job.spec
        ending = stopping or self.step == plan.steps
        regular = advanced and self.step % spec.checkpointing_steps == 0
        asked = "checkpoint" in self._wishes
        if ending or regular or asked:
            self.keeper.save(self.progress(), wait=ending or asked, must=stopping)
        elif "settle" in self._wishes:
            self.keeper.settle()
        if (
            "sample" in self._wishes or (advanced and plan.samples_due(self.step))
        ) and not stopping:
            self.sample()
        if self.job.world.leads:
            for kind in self._wishes & {"checkpoint", "sample"}:
                requests.done(self.job.places.run, kind)  # type: ignore[arg-type]
        self._wishes.clear()
        self._asked, self._polled = frozenset(), -math.inf
        if not ending:
            self._enter_training()

    def _enter_training(self) -> None:
        self.job.report.phase("training", self.step, self.kit.plan.steps, "steps")
        self._clock.clear()
        self._clock.append((time.monotonic(), self.samples))

    def progress(self) -> Progress:
        """Return what a checkpoint says of the state of now."""
        job, kit = self.job, self.kit
        return Progress(
            step=self.step, window=self.window, samples=self.samples, seed=kit.plan.seed,
            images=kit.plan.images, fingerprint=kit.fingerprint, world_size=job.world.size,
            skipped=kit.updater.skipped, scaler=kit.updater.scaler.state_dict(),
            ema_updates=kit.ema.updates if kit.ema else None,
            lr=kit.updater.rate(max(0, self.step - 1)), device=job.world.device.type,
            precision=job.precision.mode, spec=job.spec.model_dump(mode="json"),
            block=kit.batches.chances.order.block, sizes=kit.batches.chances.order.mark,
            bad_rows=sorted(kit.batches.faults.bad), timestep_loss=self.means.state,
        )  # fmt: skip

    def draw_missing(self) -> None:
        """Draw what is due before the first window.

        The base model before training; on a resume, what a kill after the save left out.
        """
        if self.step == 0:
            if self.kit.validator is not None:
                self.kit.trackers.log(self.kit.validator.measure(0).named, 0)
            self.sample(base=True)
            return
        there = (self.job.places.samples / f"step-{self.step}").exists()
        if self.kit.plan.samples_due(self.step) and not there:
            self.sample()

    def sample(self, *, base: bool = False) -> None:
        """Draw the prompts on rank 0 while the others wait. A failure is a warning.

        Args:
            base: The weights are still those of the source model.
        """
        if self.kit.sampler is None:
            if "sample" in self._wishes and self.job.world.leads:
                self.job.report.warn("no samples: validation_prompts is not set")
            return
        self.job.report.phase("sampling")
        drawn: tuple[Path, int] | None = self.job.world.lead(lambda: self._draw(base=base))
        if drawn is None:
            return
        path, number = self.job.places.shown(drawn[0]), drawn[1]
        self.job.report.event("sample", step=self.step, path=path, count=number)
        self.job.report.say(f"drew {path}")
        self.kit.trackers.log_samples(drawn[0], self.step)

    def _draw(self, *, base: bool) -> tuple[Path, int] | None:
        sampler, ema = self.kit.sampler, self.kit.ema
        assert sampler is not None
        trainee = self.kit.trainee
        unets: dict[str, View] = {"base" if base else "raw": nullcontext(trainee.unet)}
        if ema is not None and not base:
            unets["ema"] = trainee.with_average(ema.model)
        try:
            return sampler.draw(self.step, unets)
        except Exception as error:  # noqa: BLE001 - told; pictures must not cost the run
            self.job.report.warn(f"no samples of step {self.step}: {type(error).__name__}: {error}")
            if self.job.world.device.type == "cuda":
                torch.cuda.empty_cache()
            return None

"""One training from settings to pipeline: checks first, weights after, steps, result."""

import os
import resource
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from sdcore.data import DataIndex, open_data
from sdcore.errors import NotReadyError, UsageError
from sdcore.runs import requests
from sdcore.runs.paths import home, step_folders
from sdcore.task.train_spec import TrainSpec
from sdcore.text import clean_line
from sdcore.train import checkpoint, finding, hub, listing, quiet, reference
from sdcore.train.arguments import Arguments
from sdcore.train.hiding import hidden
from sdcore.train.outcome import RankRecord, StopEarly
from sdcore.train.places import Places
from sdcore.train.precision import Precision, choose
from sdcore.train.randomness import draw_seed
from sdcore.train.report import Report
from sdcore.train.stopping import StopFlag
from sdcore.train.survey import Hashes
from sdcore.train.world import World, join
from sdcore.units import count, duration

_FILES = 65_536  # open at once


@dataclass(frozen=True, slots=True)
class Resumption:
    """The checkpoint a training goes on from.

    Attributes:
        folder: Validated.
        progress: Its ``trainer.json``.
        passed_over: Newer ones that do not validate, each with its reason.
        wished: Whether it was asked for by name: what comes after it is left behind.
    """

    folder: Path
    progress: checkpoint.Progress
    passed_over: list[str]
    wished: bool


@dataclass(frozen=True, slots=True)
class Job:
    """What is settled before any weight is loaded."""

    spec: TrainSpec
    places: Places
    record: RankRecord
    stop: StopFlag
    world: World
    report: Report
    precision: Precision
    seed: int
    index: DataIndex
    resumption: Resumption | None

    def check_stop(self) -> None:
        """Leave now if somebody asked for it; for the time before the first step.

        A request file counts for a single process alone: of several, one would leave and the
        others wait for it. A signal reaches all of them.

        Raises:
            StopEarly: A stop is asked for.
        """
        if self.stop.by is not None:
            raise StopEarly(f"{self.stop.by} before the first step; there is nothing to save")
        if self.world.size == 1 and requests.pending(self.places.run, "stop") is not None:
            raise StopEarly("on request before the first step; there is nothing to save")


def run(arguments: Arguments, places: Places, record: RankRecord, stop: StopFlag) -> bool:
    """Train.

    Returns:
        True when the run is complete, False when it was stopped and saved.

    Raises:
        SdError: Something is wrong that a person can put right.
        StopEarly: A stop was asked for before the first step.
    """
    started = time.monotonic()
    _allow_files()
    if arguments.hub_token is not None:
        os.environ["HF_TOKEN"] = arguments.hub_token
    world = join(os.environ)
    report = Report(places, leads=world.leads)
    job = _settle(arguments, places, record, stop, world, report)
    job.check_stop()
    # Where diffusers finds bitsandbytes it loads it, and torch's compiler with it: 2 s, for a way
    # to quantize that we do not go. Its 8-bit AdamW is imported by ``optimizing``.
    with hidden("bitsandbytes"):
        from sdcore.train import building  # noqa: PLC0415 - 3 s that wrong data must not cost

    quiet.set_loggers()
    done = building.train(job)
    if done:
        report.phase("finished")
        report.say(f"finished in {duration(time.monotonic() - started)}")
    world.leave()
    return done


def _settle(
    arguments: Arguments, places: Places, record: RankRecord, stop: StopFlag, world: World,
    report: Report,
) -> Job:  # fmt: skip
    spec = arguments.spec
    report.phase("loading")
    for note in arguments.notes if world.leads else []:
        report.warn(note)
    precision = choose(spec, os.environ, world.device)
    if precision.because is not None:
        report.choice("mixed_precision", precision.mode, precision.because)
    _prepare_device(spec, world.device)
    if world.leads:
        hub.check(spec, report)
        _note_launcher(os.environ, report)
        _forget_requests(os.environ, places)
    resumption = _resumption(spec, places, world)
    seed = _seed(spec, resumption, world, report)
    index = _open(spec, seed, world)
    _check_same_data(index, resumption)
    captions = sum(len(row.captions) for row in index.rows)
    report.event("data", images=len(index.rows), captions=captions, fingerprint=index.fingerprint)
    report.say(f"data: {count(len(index.rows), 'image')}, {count(captions, 'caption')}")
    return Job(spec, places, record, stop, world, report, precision, seed, index, resumption)


def _allow_files() -> None:
    """Raise this process's limit of open files, which is 1,024 on most hosts.

    Each pack of a cache is one file, and with buckets there is a pack for each size, process and
    start: 8 processes with 160 sizes open 1,280.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
    if 0 <= soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _prepare_device(spec: TrainSpec, device: torch.device) -> None:
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True  # one shape for the whole run, or a few
        if spec.allow_tf32:
            torch.set_float32_matmul_precision("high")


def _note_launcher(environ: Mapping[str, str], report: Report) -> None:
    backend = environ.get("ACCELERATE_DYNAMO_BACKEND", "no")
    if backend.lower() != "no":
        report.warn(f"the launcher's dynamo backend {backend} has no effect")


def _forget_requests(environ: Mapping[str, str], places: Places) -> None:
    """A drop-in has no launcher that empties ``requests/``: an old stop would end it at once."""
    if "SDTUI_RUN_DIR" not in environ:
        kinds: tuple[requests.Kind, ...] = ("stop", "checkpoint", "sample")
        for kind in kinds:
            requests.done(places.run, kind)


def _resumption(spec: TrainSpec, places: Places, world: World) -> Resumption | None:
    """Find the checkpoint on rank 0; every rank then reads the same one."""
    wish, first = spec.resume_from_checkpoint, os.environ.get("SDTUI_FIRST_CHECKPOINT")

    def find() -> tuple[Path | None, list[str]]:
        checkpoint.remove_partials(places.checkpoints)
        if wish is None:
            _refuse_leftovers(places)
            return None, []
        folder, passed_over = finding.find(places.checkpoints, wish, places.pipeline)
        if folder is None and first:  # an earlier attempt began there and ended before it saved
            return finding.find(places.checkpoints, first, places.pipeline)
        return folder, passed_over

    folder, passed_over = world.lead(find)
    if folder is None:
        return None
    progress = finding.progress_of(folder)
    return Resumption(folder, progress, passed_over, wished=wish != "latest")


def _refuse_leftovers(places: Places) -> None:
    found = [*step_folders(places.checkpoints), *reference.folders(places.pipeline)]
    if found:
        raise NotReadyError(
            f"the folder {found[-1].parent}",
            cause=f"it holds {found[-1].name} of an earlier training, which a later resume "
            "could not tell from this one's",
            remedy="pass --resume_from_checkpoint latest, or another output_dir, or delete it",
        )


def _seed(spec: TrainSpec, resumption: Resumption | None, world: World, report: Report) -> int:
    rules = resumption.progress.seed if resumption is not None else None
    if rules is None:
        chosen = spec.seed if spec.seed is not None else draw_seed()
        return world.share(chosen)  # type: ignore[no-any-return]
    if spec.seed not in {None, rules} and world.leads:
        report.warn(f"seed {spec.seed} has no effect: the checkpoint was trained with {rules}")
    return rules


def _open(spec: TrainSpec, seed: int, world: World) -> DataIndex:
    source = spec.dataset_name or spec.train_data_dir or _mounted_data(os.environ)
    if source is None:
        raise UsageError(
            "no data",
            cause="neither --train_data_dir nor --dataset_name is given, and none is mounted",
            remedy="pass --train_data_dir FOLDER",
        )

    def opened() -> DataIndex:
        return open_data(
            source, image_column=spec.image_column, caption_column=spec.caption_column,
            config_name=spec.dataset_config_name, cache_dir=spec.cache_dir,
            max_samples=spec.max_train_samples, seed=seed,
        )  # fmt: skip

    if world.size == 1:
        return opened()
    # Rank 0 first: the others then find a hub data set on the disk.
    mine: list[DataIndex] = []
    world.lead(lambda: mine.append(opened()))
    return mine[0] if mine else opened()


def _mounted_data(environ: Mapping[str, str]) -> str | None:
    if "SDTUI_RUN_DIR" not in environ:
        return None
    target = "/mnt/dataset"
    return environ.get("DATASET_DIR") or (target if Path(target).is_dir() else None)


def _check_same_data(index: DataIndex, resumption: Resumption | None) -> None:
    old = resumption.progress.fingerprint if resumption is not None else None
    if resumption is None or old is None or index.fingerprint == old:
        return
    named = listing.changes(resumption.folder, index, None)
    told = "files, sizes or captions changed"
    if named is not None:
        told = "; ".join(named) or "the same files in another order"
    raise _other_data(
        resumption, f"{told} (its fingerprint is {index.fingerprint[:12]} with {len(index.rows)} "
        f"images, the checkpoint's {old[:12]} with {resumption.progress.images})",
    )  # fmt: skip


def check_same_images(job: Job, contents: Hashes) -> None:
    """Refuse a resume on images that were replaced by others of as many bytes.

    Their hashes are known once all images were looked at, from the cache where nothing changed.

    Raises:
        NotReadyError: Some were; a checkpoint of an earlier version has no hashes to compare.
    """
    if job.resumption is None:
        return
    named = listing.changes(job.resumption.folder, job.index, contents)
    if named:
        raise _other_data(job.resumption, "; ".join(named))


def _other_data(resumption: Resumption, cause: str) -> NotReadyError:
    return NotReadyError(
        f"the data is not what {resumption.folder.name} was trained on",
        cause=cause,
        remedy="put the data back as it was, or start a new run from the saved weights",
    )


def say_skipped(job: Job, skipped: list[str]) -> None:
    """Warn once, on rank 0, of the images left out; every rank knows all of them."""
    if skipped and job.world.leads:
        shown = ", ".join(clean_line(name, 80) for name in skipped[:5])
        more = f" and {len(skipped) - 5} more" if len(skipped) > 5 else ""
        job.report.warn(f"{count(len(skipped), 'image')} cannot be used and left out: "
                        f"{shown}{more}")  # fmt: skip


def cache_root() -> Path:
    """Return the folder of moments and embeddings, shared by all runs of this user."""
    return home() / "cache"


def progress_of(job: Job, unit: str) -> Callable[[int, int], None]:
    """Return a callback that reports a counted phase and leaves when a stop is asked for."""

    def progress(done: int, total: int) -> None:
        job.check_stop()
        job.report.phase("caching", done, total, unit)

    return progress

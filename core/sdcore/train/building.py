"""Puts a training together from what is settled, runs it, and publishes the result."""

import os
from collections.abc import Sequence

import torch
from torch.nn.parallel import DistributedDataParallel

from sdcore.errors import NotReadyError
from sdcore.train import (
    automatic,
    choices,
    collecting,
    compiling,
    hub,
    models,
    pipeline,
    probing,
    resuming,
    single_file,
    sources,
    trainees,
)
from sdcore.train.batches import Batches, Chances
from sdcore.train.ema import Decay, Ema
from sdcore.train.kit import Kit
from sdcore.train.latefaults import LateFaults
from sdcore.train.latents import LatentSource, build_latents
from sdcore.train.listing import DataPart
from sdcore.train.loop import Loop
from sdcore.train.models import Models
from sdcore.train.optimizing import (
    Updater,
    learning_rates,
    make_optimizer,
    optimizer_class,
    peak_rate,
)
from sdcore.train.ordering import make_order
from sdcore.train.parts import OptimizerPart, Part
from sdcore.train.plan import Plan, make_plan
from sdcore.train.samples import Sampler
from sdcore.train.session import Job, cache_root, check_same_images, progress_of, say_skipped
from sdcore.train.step import Objective
from sdcore.train.texts import Captions, Texts, Tokens, TokenSource, build_texts
from sdcore.train.timesteps import Timesteps
from sdcore.train.trackers import Trackers
from sdcore.train.trainees import Trainee
from sdcore.train.validating import Validator, split, visits_of
from sdcore.units import count, size


def train(job: Job) -> bool:
    """Load, cache, train and publish.

    Returns:
        True when the run is complete, False when it was stopped and saved.
    """
    job, parts = _load(job)
    collecting.collect_again()
    latents, texts = _cache(job, parts)
    total = sum(p.numel() for p in parts.unet.parameters())
    job = choices.settle(job, total, parts.family.name)
    job.record.spec = job.spec
    rows = _rows(job, latents)
    plan = _plan(job, len(rows[0]))
    trackers = Trackers(job.spec, job.places.logs, job.report, leads=job.world.leads)
    loop = _loop(job, parts, latents, texts, rows, plan, trackers)
    probing.settle(loop)
    job.record.spec = loop.job.spec
    loop.draw_missing()
    compiling.warm_up(loop)
    try:
        done = loop.run()
    except Exception:
        loop.keeper.abandon()
        raise
    trackers.close()
    if done:
        _publish(job, loop)
    return done


def _load(job: Job) -> tuple[Job, Models]:
    if job.spec.torch_compile:
        compiling.check(job.world.device)
    optimizer_class(job.spec)  # its package is missed now, not after the caching
    if job.spec.enable_xformers_memory_efficient_attention:
        models.check_xformers(job.world.device)
    resuming.check_kept(job)
    source = sources.find_source(job.spec, os.environ)
    pipeline.check_target(job.places.pipeline, source)
    trainees.check_kind(job)
    parts = models.load(job.spec, source, trainees.unet_folder(job))
    trainees.check_layers(job, parts)
    if job.spec.save_single_file:
        single_file.check(parts)
    total = sum(p.numel() for p in parts.unet.parameters())
    device = job.world.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    prediction = parts.schedule.config.prediction_type
    frozen = "frozen " if job.spec.train_lora else ""
    job.report.event(
        "model", name=source.name, parameters=total, device=name, precision=job.precision.mode,
        prediction_type=prediction,
    )  # fmt: skip
    job.report.say(
        f"model: {source.name}, {total:,} {frozen}weights on {name}, precision "
        f"{job.precision.mode}, predicts {prediction}"
    )
    job.check_stop()
    job = automatic.settle(choices.settle_resolution(job, parts.family))
    job.record.spec = job.spec  # what is told of a full GPU names these settings
    return job, parts


def _cache(job: Job, parts: Models) -> tuple[LatentSource, Texts]:
    """Encode images and captions, then give the device's memory back where both are cached."""
    world, dtype = job.world, job.precision.frozen_dtype(job.world.device)
    own_fails = parts.family.vae_overflows and parts.source.vae is None
    vae_dtype = torch.float32 if own_fails else dtype
    skipped: list[str] = []
    job.report.phase("caching")
    parts.vae.to(world.device, dtype=vae_dtype)
    latents = build_latents(
        job.index, job.spec, parts.vae, world.device, vae_dtype, cache_root=cache_root(),
        rank=world.rank, world_size=world.size, barrier=world.barrier,
        progress=progress_of(job, "images"), on_skip=skipped.append,
    )  # fmt: skip
    check_same_images(job, latents.contents)
    say_skipped(job, skipped)
    automatic.tell_caching(job, cached=latents.cached)
    if latents.cached:
        parts.vae.to("cpu")
    texts = _texts(job, parts, dtype)
    for text_encoder in parts.text_encoders.values():
        text_encoder.to("cpu")
    if world.device.type == "cuda":
        torch.cuda.empty_cache()  # gigabytes of activations, in blocks of sizes no step asks for
    return latents, texts


def _texts(job: Job, parts: Models, dtype: torch.dtype) -> Texts:
    """Encode the captions, or only tokenize them where the encoders themselves change."""
    world, empty = job.world, job.spec.proportion_empty_prompts > 0
    tokenizers, encoders = list(parts.tokenizers.values()), list(parts.text_encoders.values())
    if job.spec.train_text_encoder:
        return TokenSource(Captions(job.index, empty=empty), Tokens(tokenizers, encoders)).ids
    return build_texts(
        job.index, parts.family, tokenizers, encoders, world.device, dtype,
        cache_root=cache_root(), rank=world.rank, world_size=world.size, barrier=world.barrier,
        progress=progress_of(job, "captions"), empty=empty,
    ).embeddings  # fmt: skip


Rows = tuple[Sequence[int], Sequence[int]]  # trained on, held out


def _rows(job: Job, latents: LatentSource) -> Rows:
    """Hold images out, the same ones as before a resume."""
    trained, held = split(latents.rows, job.spec, job.seed)
    if held:
        job.report.say(f"held out for validation: {count(len(held), 'image')}")
    return trained, held


def _plan(job: Job, images: int) -> Plan:
    old = job.resumption.progress if job.resumption else None
    if old is not None and old.images not in {None, images}:
        raise NotReadyError(
            "the images that can be read",
            cause=f"{images} now, {old.images} when the checkpoint was made: the order of the "
            "data would be another",
            remedy="put the data back as it was, or start a new run",
        )
    plan = make_plan(job.spec, images, job.world.size, job.seed)
    job.record.total = plan.steps
    epochs = plan.steps / plan.steps_per_epoch
    job.report.event(
        "plan", max_train_steps=plan.steps, effective_batch=plan.window,
        world_size=job.world.size, steps_per_epoch=plan.steps_per_epoch, epochs=epochs,
        seed=plan.seed,
    )  # fmt: skip
    job.report.say(
        f"plan: {plan.steps:,} steps of {plan.window} images, {epochs:.3g} epochs, seed {plan.seed}"
    )
    return plan


def _loop(
    job: Job, parts: Models, latents: LatentSource, texts: Texts, rows: Rows, plan: Plan,
    trackers: Trackers,
) -> Loop:  # fmt: skip
    trainee = trainees.trainee_of(job, parts)
    ema = _ema(job, trainee)
    peak = peak_rate(job.spec, job.world.size)
    weights = trainee.weights
    fp16 = job.precision.mode == "fp16"
    updater = Updater(
        weights, make_optimizer(weights, job.spec, peak),
        learning_rates(job.spec, peak, plan.steps),
        torch.amp.GradScaler(job.world.device.type, enabled=fp16), job.spec.max_grad_norm,
    )  # fmt: skip
    timesteps = Timesteps.of(job.spec, plan.seed, parts.schedule.config.num_train_timesteps)
    order = make_order(job, latents, rows[0])
    chances = Chances(job.index, rows[0], order, job.spec, plan.seed, timesteps)
    batches = Batches(chances, latents, texts, job.world.device, _faults(job, latents, rows[1]),
                      parts.family.sized)  # fmt: skip
    objective = Objective(job.spec, parts.schedule, parts.vae.config.scaling_factor, trainee.net)
    visits = visits_of(job.index, rows[1], plan.seed, timesteps.count) if rows[1] else []
    validator = Validator(visits, job.spec.train_batch_size, batches, objective, trainee, ema,
                          job.world, job.precision, job.report) if visits else None  # fmt: skip
    sampler = Sampler(parts, job.spec, plan.seed, job.world.device, job.precision,
                      job.places.samples) if job.spec.validation_prompts else None  # fmt: skip
    state = _parts(trainee, ema, updater, DataPart(job.index, latents.contents))
    kit = Kit(
        plan, batches, _wrapped(job, trainee.net), trainee, objective, updater, ema,
        sampler, validator, trackers, state, job.index.fingerprint,
        _has_dropout(trainee.net),
    )  # fmt: skip
    loop = Loop(job, kit)
    resuming.restore(job, loop)
    loop.keeper.check_space()
    return loop


def _faults(job: Job, latents: LatentSource, held: Sequence[int]) -> LateFaults:
    """Return what is done about an image that goes bad during training."""
    apart = frozenset(held)
    skip = job.spec.on_bad_image == "skip"
    return LateFaults(skip, latents.rows, lambda row: (row in apart, latents.size(row)))


def _parts(trainee: Trainee, ema: Ema | None, updater: Updater, data: DataPart) -> tuple[Part, ...]:
    """Return what a checkpoint holds."""
    weights = trainee.parts(None if ema is None else ema.model)
    return *weights, OptimizerPart(updater.optimizer), data


def _wrapped(job: Job, net: torch.nn.Module) -> torch.nn.Module:
    if job.spec.torch_compile:
        net = compiling.compiled(net)
    if job.world.size == 1:
        return net
    device = job.world.device
    return DistributedDataParallel(
        net,
        device_ids=[device.index] if device.type == "cuda" else None,
        gradient_as_bucket_view=True,
        broadcast_buffers=False,
    )


def _ema(job: Job, trainee: Trainee) -> Ema | None:
    """Start the average from the weights now, or take the checkpoint's."""
    if not job.spec.use_ema:
        return None
    ema = Ema(trainee.averaged, Decay.of(job.spec), offload=job.spec.offload_ema)
    old = job.resumption.progress.ema_updates if job.resumption else None
    if job.resumption is not None and old is not None:
        trainee.load_average(ema.model, job.resumption.folder)
        ema.updates = old
    elif job.resumption is not None and job.world.leads:
        job.report.warn("the checkpoint has no average of the weights: it starts here")
    return ema


def _has_dropout(net: torch.nn.Module) -> bool:
    return any(isinstance(m, torch.nn.Dropout) and m.p > 0 for m in net.modules())


def _publish(job: Job, loop: Loop) -> None:
    """Write the pipeline or the adapters on rank 0, then upload them if that is wanted."""
    job.report.phase("saving")
    trainee, target = loop.kit.trainee, job.places.pipeline
    average = loop.kit.ema.model if loop.kit.ema else None
    written = loop.keeper.with_room(lambda: trainee.publish(target, average))
    job.report.event("pipeline", step=loop.step, path=job.places.shown(target), size=written)
    kind = "adapters" if job.spec.train_lora else "pipeline"
    job.report.say(f"{kind}: {target}  {size(written)}")
    if job.world.leads:
        single_file.publish(target, job.spec, job.report)
        hub.push(job.spec, job.places.pipeline, job.report)

"""Puts a training together from what is settled, runs it, and publishes the result."""

import os
from typing import Any, cast

import torch
from torch.nn.parallel import DistributedDataParallel

from sdcore.errors import NotReadyError
from sdcore.train import checkpoint, hub, models, pipeline
from sdcore.train.batches import Batches, Chances
from sdcore.train.ema import Ema
from sdcore.train.latents import LatentSource, build_latents
from sdcore.train.loop import Kit, Loop
from sdcore.train.models import Models
from sdcore.train.optimizing import Updater, learning_rates, make_optimizer, peak_rate
from sdcore.train.plan import Plan, make_plan
from sdcore.train.randomness import Order
from sdcore.train.samples import Sampler
from sdcore.train.session import Job, cache_root, progress_of, say_skipped
from sdcore.train.step import Objective
from sdcore.train.texts import TextSource, build_texts
from sdcore.train.trackers import Trackers
from sdcore.units import size


def train(job: Job) -> bool:
    """Load, cache, train and publish.

    Returns:
        True when the run is complete, False when it was stopped and saved.
    """
    parts = _load(job)
    latents, texts = _cache(job, parts)
    plan = _plan(job, len(latents.rows))
    trackers = Trackers(job.spec, job.places.logs, job.report, leads=job.world.leads)
    loop = _loop(job, parts, latents, texts, plan, trackers)
    loop.draw_missing()
    done = loop.run()
    trackers.close()
    if done:
        _publish(job, parts, loop)
    return done


def _load(job: Job) -> Models:
    source = models.find_source(job.spec, os.environ)
    pipeline.check_target(job.places.pipeline, source)
    folder = job.resumption.folder / "unet" if job.resumption else None
    parts = models.load(job.spec, source, folder)
    total = sum(p.numel() for p in parts.unet.parameters())
    device = job.world.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    prediction = parts.schedule.config.prediction_type
    job.report.event(
        "model", name=source.name, parameters=total, device=name, precision=job.precision.mode,
        prediction_type=prediction,
    )  # fmt: skip
    job.report.say(
        f"model: {source.name}, {total:,} weights to train on {name}, precision "
        f"{job.precision.mode}, predicts {prediction}"
    )
    job.check_stop()
    return parts


def _cache(job: Job, parts: Models) -> tuple[LatentSource, TextSource]:
    """Encode images and captions, then give the device's memory back where both are cached."""
    world, dtype = job.world, job.precision.frozen_dtype(job.world.device)
    skipped: list[str] = []
    job.report.phase("caching")
    parts.vae.to(world.device, dtype=dtype)
    latents = build_latents(
        job.index, job.spec, parts.vae, world.device, dtype, cache_root=cache_root(),
        rank=world.rank, world_size=world.size, barrier=world.barrier,
        progress=progress_of(job, "images"), on_skip=skipped.append,
    )  # fmt: skip
    say_skipped(job, skipped)
    if latents.cached:
        parts.vae.to("cpu")
    parts.text_encoder.to(world.device, dtype=dtype)
    texts = build_texts(
        job.index, parts.tokenizer, parts.text_encoder, world.device, dtype,
        cache_root=cache_root(), rank=world.rank, world_size=world.size, barrier=world.barrier,
        progress=progress_of(job, "captions"),
    )  # fmt: skip
    parts.text_encoder.to("cpu")
    if world.device.type == "cuda":
        torch.cuda.empty_cache()  # gigabytes of activations, in blocks of sizes no step asks for
    return latents, texts


def _plan(job: Job, images: int) -> Plan:
    old = job.resumption.progress if job.resumption else None
    if old is not None and old.images != images:
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
    job: Job, parts: Models, latents: LatentSource, texts: TextSource, plan: Plan,
    trackers: Trackers,
) -> Loop:  # fmt: skip
    unet = _ready_unet(job, parts)
    ema = _ema(job, parts)
    peak = peak_rate(job.spec, job.world.size)
    weights = list(unet.parameters())
    fp16 = job.precision.mode == "fp16"
    updater = Updater(
        weights, make_optimizer(weights, job.spec, peak),
        learning_rates(job.spec, peak, plan.steps),
        torch.amp.GradScaler(job.world.device.type, enabled=fp16), job.spec.max_grad_norm,
    )  # fmt: skip
    chances = Chances(job.index, latents.rows, Order(plan.seed, plan.images), job.spec, plan.seed,
                      parts.schedule.config.num_train_timesteps)  # fmt: skip
    sampler = Sampler(parts, job.spec, plan.seed, job.world.device, job.precision,
                      job.places.samples) if job.spec.validation_prompts else None  # fmt: skip
    kit = Kit(
        plan, Batches(chances, latents, texts, job.world.device), _wrapped(job, unet), unet,
        Objective(job.spec, parts.schedule, parts.vae.config.scaling_factor, unet), updater, ema,
        sampler, trackers, job.index.fingerprint, _has_dropout(unet),
    )  # fmt: skip
    loop = Loop(job, kit)
    _restore(job, loop)
    _check_space(job, loop)
    return loop


def _ready_unet(job: Job, parts: Models) -> Any:
    """Bring the U-Net to the device and into its training mode."""
    unet = parts.unet
    if job.spec.enable_xformers_memory_efficient_attention:
        models.use_xformers(unet)
    if job.spec.gradient_checkpointing:
        unet.enable_gradient_checkpointing()
    if job.world.device.type == "cuda":
        unet.to(job.world.device, memory_format=torch.channels_last)
    unet.requires_grad_(True).train()
    return unet


def _wrapped(job: Job, unet: Any) -> torch.nn.Module:
    if job.world.size == 1:
        return cast("torch.nn.Module", unet)
    device = job.world.device
    return DistributedDataParallel(
        unet,
        device_ids=[device.index] if device.type == "cuda" else None,
        gradient_as_bucket_view=True,
        broadcast_buffers=False,
    )


def _ema(job: Job, parts: Models) -> Ema | None:
    """Start the average from the weights now, or take the checkpoint's."""
    if not job.spec.use_ema:
        return None
    ema = Ema(parts.unet, job.spec.ema_decay, offload=job.spec.offload_ema)
    old = job.resumption.progress.ema_updates if job.resumption else None
    if job.resumption is not None and old is not None:
        saved = models.load_unet(job.resumption.folder / "unet_ema")
        ema.model.load_state_dict(saved.state_dict())
        ema.updates = old
    elif job.resumption is not None and job.world.leads:
        job.report.warn("the checkpoint has no average of the weights: it starts here")
    return ema


def _has_dropout(unet: torch.nn.Module) -> bool:
    return any(isinstance(m, torch.nn.Dropout) and m.p > 0 for m in unet.modules())


def _restore(job: Job, loop: Loop) -> None:
    """Bring the loop to where the checkpoint was made."""
    if job.resumption is None:
        if job.spec.resume_from_checkpoint == "latest":
            job.report.say("no checkpoint yet: training starts at step 0")
        return
    old, updater = job.resumption.progress, loop.kit.updater
    checkpoint.load_optimizer(job.resumption.folder, updater.optimizer)
    updater.skipped = old.skipped
    if updater.scaler.is_enabled() and old.scaler:
        updater.scaler.load_state_dict(old.scaler)
    loop.step, loop.window, loop.samples = old.step, old.window, old.samples
    inside = job.resumption.folder.parent == job.places.checkpoints
    loop.saved = old.step if inside else None
    job.record.step = old.step
    job.record.checkpoint = job.places.shown(job.resumption.folder)
    changed = _changes(job, old)
    job.report.event(
        "resumed", step=old.step, path=job.record.checkpoint, exact=not changed,
        passed_over=job.resumption.passed_over,
    )  # fmt: skip
    job.report.say(f"resumed from {job.record.checkpoint}"
                   f"{'' if changed else ', bit for bit'}")  # fmt: skip
    for name in job.resumption.passed_over if job.world.leads else []:
        job.report.warn(f"passed over {name}")
    if changed and job.world.leads:
        job.report.warn(f"not bit for bit as without the stop: {'; '.join(changed)}")


# Settings that change no weight of a step that both the old and the new attempt could make.
_HARMLESS = {
    "pretrained_model_name_or_path", "cache_dir", "dataset_name", "train_data_dir", "seed",
    "dataloader_num_workers", "output_dir", "checkpointing_steps", "checkpoints_total_limit",
    "resume_from_checkpoint", "validation_prompts", "validation_epochs", "validation_steps",
    "validation_guidance_scale", "validation_inference_steps", "logging_dir", "report_to",
    "tracker_project_name", "push_to_hub", "hub_model_id", "local_rank", "foreach_ema",
    "cache_latents", "mixed_precision", "on_bad_image",
}  # fmt: skip


def _changes(job: Job, old: checkpoint.Progress) -> list[str]:
    """Say what makes the resumed training differ in bits from one that never stopped."""
    assert job.resumption is not None
    harmless = _HARMLESS | (
        {"max_train_steps", "num_train_epochs"}
        if job.spec.lr_scheduler in {"constant", "constant_with_warmup"}
        else set()
    )
    new = job.spec.model_dump(mode="json")
    pairs = {name: value for name, value in new.items() if name not in harmless}
    changes = checkpoint.differences(old.spec, pairs)
    facts = {"world_size": job.world.size, "precision": job.precision.mode,
             "device": job.world.device.type}  # fmt: skip
    changes += checkpoint.differences(
        {"world_size": old.world_size, "precision": old.precision, "device": old.device}, facts
    )
    before = checkpoint.versions_of(job.resumption.folder)
    return changes + checkpoint.differences(before, checkpoint.versions())


def _check_space(job: Job, loop: Loop) -> None:
    """Refuse to start what cannot save its first checkpoint."""
    kit = loop.kit
    ema = kit.ema.model if kit.ema else None
    needed = checkpoint.bytes_of(kit.unet, ema, kit.updater.optimizer)
    job.world.lead(lambda: checkpoint.check_space(job.places.checkpoints, needed))


def _publish(job: Job, parts: Models, loop: Loop) -> None:
    """Write the pipeline on rank 0, then upload it if that is wanted."""
    job.report.phase("saving")
    unet = loop.kit.ema.model if loop.kit.ema else loop.kit.unet

    def write() -> int:
        if job.precision.frozen_dtype(job.world.device) != torch.float32:
            # Half precision has rounded them; the source has not.
            parts.text_encoder, parts.vae = models.load_frozen(parts.source)
        return pipeline.save(job.places.pipeline, unet, parts)

    written = job.world.lead(write)
    path = job.places.shown(job.places.pipeline)
    job.report.event("pipeline", step=loop.step, path=path, size=written)
    job.report.say(f"pipeline: {job.places.pipeline}  {size(written)}")
    if job.world.leads:
        hub.push(job.spec, job.places.pipeline, job.report)

"""Goes on from a checkpoint: what may not change, what is brought back, and what differs."""

from sdcore.errors import NotReadyError
from sdcore.task.train_spec import TrainSpec
from sdcore.train import automatic, checkpoint, finding, reference
from sdcore.train.loop import Loop
from sdcore.train.session import Job
from sdcore.units import count

# Settings that a resume cannot change, and why.
_KEPT = {
    "validation_split": "images that would be held out now have been trained on",
    "enable_bucket": "images would come in another order, some twice and some not at all",
    "optimizer": "the state it saved means nothing to another one",
    "use_8bit_adam": "the state it saved has another form",
}


def check_kept(job: Job) -> None:
    """Refuse a resume that would change what it cannot go on from."""
    if job.resumption is None:
        return
    saved = job.resumption.progress.spec
    before = TrainSpec().model_dump(mode="json") | saved
    new = job.spec.model_dump(mode="json")
    for name, reason in _KEPT.items():
        told = bool(saved) or name == "optimizer"  # the reference script has one, and tells nothing
        if told and before[name] != new[name]:
            raise NotReadyError(
                f"{name} {new[name]}",
                cause=f"it was {before[name]} when the checkpoint was made: {reason}",
                remedy=f"resume with {name} {before[name]}, or start a new run",
            )


def restore(job: Job, loop: Loop) -> None:
    """Bring the loop to where the checkpoint was made."""
    if job.resumption is None:
        if job.spec.resume_from_checkpoint == "latest":
            job.report.say("no checkpoint yet: training starts at step 0")
        return
    old, updater = job.resumption.progress, loop.kit.updater
    finding.load_optimizer(job.resumption.folder, updater.optimizer)
    updater.skipped = old.skipped
    if updater.scaler.is_enabled() and old.scaler:
        updater.scaler.load_state_dict(old.scaler)
    loop.step, loop.window = old.step, old.window
    loop.samples = old.step * loop.kit.plan.window if old.samples is None else old.samples
    loop.kit.batches.faults.bad = frozenset(old.bad_rows or ())
    if old.timestep_loss is not None:
        loop.means.restore(old.timestep_loss)
    inside = job.resumption.folder.parent == job.places.checkpoints
    loop.keeper.saved = old.step if inside else None
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
    if inside and job.resumption.wished and job.world.leads:
        _leave_behind(job, old.step)
    if changed and job.world.leads:
        job.report.warn(f"not bit for bit as without the stop: {'; '.join(changed)}")


def _leave_behind(job: Job, step: int) -> None:
    """Move the checkpoints of the way not taken aside: ``latest`` would go back to it."""
    aside, names = checkpoint.set_aside(job.places.checkpoints, step)
    if names:
        job.report.warn(
            f"{' and '.join(names) if len(names) < 3 else count(len(names), 'checkpoint')} after "
            f"step {step:,} moved to {job.places.shown(aside)}: delete it when nobody wants it back"
        )


# Settings that change no weight of a step that both the old and the new attempt could make.
_HARMLESS = {
    "pretrained_model_name_or_path", "cache_dir", "dataset_name", "train_data_dir", "seed",
    "dataloader_num_workers", "output_dir", "checkpointing_steps", "checkpoints_total_limit",
    "resume_from_checkpoint", "validation_prompts", "validation_epochs", "validation_steps",
    "validation_guidance_scale", "validation_inference_steps", "logging_dir", "report_to",
    "tracker_project_name", "push_to_hub", "hub_model_id", "local_rank", "foreach_ema",
    "cache_latents", "mixed_precision", "on_bad_image", "auto_batch_size", "save_single_file",
}  # fmt: skip


def _changes(job: Job, old: checkpoint.Progress) -> list[str]:
    """Say what makes the resumed training differ in bits from one that never stopped."""
    assert job.resumption is not None
    if reference.step_of(job.resumption.folder) is not None:
        return list(reference.INEXACT)
    harmless = _HARMLESS | (
        {"max_train_steps", "num_train_epochs"}
        if job.spec.lr_scheduler in {"constant", "constant_with_warmup"}
        else set()
    )
    new = job.spec.model_dump(mode="json")
    pairs = {name: value for name, value in new.items() if name not in harmless}
    before = TrainSpec().model_dump(mode="json")  # the checkpoint may be older than a setting
    before |= old.spec
    decided = automatic.decisions(before, old.device, old.precision)
    changes = finding.differences(before | {d.setting: d.value for d in decided}, pairs)
    facts = {"world_size": job.world.size, "precision": job.precision.mode,
             "device": job.world.device.type}  # fmt: skip
    changes += finding.differences(
        {"world_size": old.world_size, "precision": old.precision, "device": old.device}, facts
    )
    versions = finding.versions_of(job.resumption.folder)
    # A package it says nothing of was not used: adapters came later.
    now = {name: version for name, version in checkpoint.versions().items() if name in versions}
    return changes + finding.differences(versions, now)

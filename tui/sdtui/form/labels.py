"""The short labels of the form's fields and groups; the full key stands in the line of help."""

from sdcore.task.spec import DATASET, MODEL, PROJECT
from sdtui.language import N_, _

ROLES = {DATASET: N_("Data set"), MODEL: N_("Model"), PROJECT: N_("Project")}
GROUPS = {
    "model": N_("Model"), "lora": N_("LoRA"), "data": N_("Data"), "length": N_("Length"),
    "batch": N_("Batch"),
    "optimizer": N_("Optimizer"), "loss": N_("Loss"), "ema": N_("EMA"),
    "precision": N_("Precision"), "checkpoints": N_("Checkpoints"), "samples": N_("Samples"),
    "tracking": N_("Tracking"), "speed": N_("Speed"),
}  # fmt: skip

_LABELS = {
    "name": N_("Name"), "description": N_("Description"), "image": N_("Image"),
    "runtime": N_("Runtime"), "command": N_("Start command"), "own_command": N_("What runs"),
    "cluster": N_("Where"), "gpu.type": N_("GPU type"), "gpu.count": N_("Number of GPUs"),
    "gpu.share": N_("Share busy GPUs"), "gpu.processes": N_("CPU processes"),
    "cluster.engine": N_("Scheduler"), "cluster.nodes": N_("Machines"),
    "cluster.partition": N_("Partition"), "cluster.account": N_("Account"),
    "cluster.qos": N_("Quality of service"), "cluster.constraint": N_("Constraint"),
    "cluster.time_limit": N_("Time limit"), "cluster.cpus_per_task": N_("Cores"),
    "cluster.mem": N_("Memory"), "cluster.grace_s": N_("Time to save"),
    "cluster.restarts": N_("Restarts"), "cluster.command_on": N_("Command runs on"),
    "cluster.extra": N_("Further options"),
    "metrics.source": N_("Read steps from"), "metrics.pattern": N_("Pattern of a line"),
    "hooks.end": N_("At the end"), "hooks.timeout_s": N_("Its time limit"),
    "train.pretrained_model_name_or_path": N_("Model"), "train.revision": N_("Revision"),
    "train.variant": N_("Weight variant"), "train.non_ema_revision": N_("Non-EMA revision"),
    "train.pretrained_vae_model_name_or_path": N_("Own VAE"),
    "train.train_lora": N_("LoRA"), "train.rank": N_("LoRA rank"),
    "train.lora_alpha": N_("LoRA alpha"),
    "train.lora_target_modules": N_("LoRA layers"), "train.lora_dropout": N_("LoRA dropout"),
    "train.train_text_encoder": N_("Text encoders too"),
    "train.cache_dir": N_("Download folder"), "train.dataset_name": N_("Data set"),
    "train.dataset_config_name": N_("Data configuration"),
    "train.train_data_dir": N_("Data folder"),
    "train.image_column": N_("Image column"), "train.caption_column": N_("Caption column"),
    "train.max_train_samples": N_("Use at most"), "train.resolution": N_("Resolution"),
    "train.enable_bucket": N_("Buckets by shape"),
    "train.min_bucket_reso": N_("Shortest side"), "train.max_bucket_reso": N_("Longest side"),
    "train.bucket_reso_steps": N_("Steps of sides"),
    "train.center_crop": N_("Centre crop"), "train.random_flip": N_("Random flip"),
    "train.image_interpolation_mode": N_("Interpolation"),
    "train.cache_latents": N_("Cache latents"), "train.on_bad_image": N_("On a bad image"),
    "train.dataloader_num_workers": N_("Loader threads"),
    "train.max_train_steps": N_("Max steps"), "train.num_train_epochs": N_("Epochs"),
    "train.seed": N_("Seed"), "train.train_batch_size": N_("Batch per GPU"),
    "train.gradient_accumulation_steps": N_("Accumulation"),
    "train.gradient_checkpointing": N_("Grad checkpointing"),
    "train.auto_batch_size": N_("Find the batch"), "train.torch_compile": N_("Compile"),
    "train.memory_format": N_("Memory format"),
    "train.fused_optimizer": N_("Fused optimizer"),
    "train.learning_rate": N_("Learning rate"), "train.scale_lr": N_("Scale the rate"),
    "train.lr_scheduler": N_("Rate schedule"), "train.lr_warmup_steps": N_("Warm-up"),
    "train.optimizer": N_("Optimizer"), "train.use_8bit_adam": N_("8-bit Adam"),
    "train.adam_beta1": N_("Adam beta 1"), "train.adam_beta2": N_("Adam beta 2"),
    "train.adam_weight_decay": N_("Weight decay"),
    "train.adam_epsilon": N_("Adam epsilon"), "train.max_grad_norm": N_("Max grad norm"),
    "train.proportion_empty_prompts": N_("Empty captions"),
    "train.rescale_betas_zero_snr": N_("Zero-terminal SNR"),
    "train.timestep_bias_strategy": N_("Timestep bias"),
    "train.timestep_bias_multiplier": N_("Bias factor"),
    "train.timestep_bias_begin": N_("Bias from"), "train.timestep_bias_end": N_("Bias to"),
    "train.timestep_bias_portion": N_("Bias share"),
    "train.ema_update_after_step": N_("EMA from step"), "train.use_ema_warmup": N_("EMA warm-up"),
    "train.ema_inv_gamma": N_("EMA gamma"), "train.ema_power": N_("EMA power"),
    "train.validation_split": N_("Hold out"),
    "train.prediction_type": N_("Prediction"), "train.snr_gamma": N_("Min-SNR gamma"),
    "train.noise_offset": N_("Noise offset"), "train.input_perturbation": N_("Input noise"),
    "train.dream_training": N_("DREAM"), "train.dream_detail_preservation": N_("DREAM exponent"),
    "train.use_ema": N_("EMA"), "train.offload_ema": N_("EMA in host memory"),
    "train.foreach_ema": N_("Fused EMA"), "train.ema_decay": N_("EMA decay"),
    "train.mixed_precision": N_("Mixed precision"), "train.allow_tf32": N_("Allow TF32"),
    "train.output_dir": N_("Output folder"), "train.checkpointing_steps": N_("Checkpoint every"),
    "train.save_single_file": N_("Single file"),
    "train.checkpoints_total_limit": N_("Keep newest"),
    "train.resume_from_checkpoint": N_("Begin from"),
    "train.validation_prompts": N_("Prompts"), "train.validation_epochs": N_("Draw every"),
    "train.validation_steps": N_("Draw every"), "train.validation_guidance_scale": N_("Guidance"),
    "train.validation_inference_steps": N_("Denoising steps"),
    "train.logging_dir": N_("Tracker folder"), "train.report_to": N_("Tracker"),
    "train.tracker_project_name": N_("Tracker project"), "train.push_to_hub": N_("Push to hub"),
    "train.hub_token": N_("Hub token"), "train.hub_model_id": N_("Hub repository"),
    "train.enable_xformers_memory_efficient_attention": N_("xformers attention"),
    "train.local_rank": N_("Local rank"),
}  # fmt: skip


def label(key: str) -> str:
    """Return the label of a field in the language of the console."""
    known = _LABELS.get(key)
    return _(known) if known else key.rpartition(".")[2].replace("_", " ").capitalize()


def mount_label(target: str) -> str:
    """Return the label of a mount, by the place where the task sees it."""
    role = ROLES.get(target)
    return f"{_(role)} {target}" if role else _("Folder")

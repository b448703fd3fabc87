"""The ``[train]`` table: the settings of the built-in trainer.

Names and defaults are those of diffusers' ``train_text_to_image.py`` wherever it has the flag;
the trainer's command line, the form and the preset are all drawn from these fields. What we add
is marked "ours" in its description.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from sdcore.task.agreement import conflict

Group = Literal[
    "model", "lora", "data", "length", "batch", "optimizer", "loss", "ema", "precision",
    "checkpoints", "samples", "tracking", "speed",
]  # fmt: skip

Precision = Literal["auto", "no", "fp16", "bf16"]
Scheduler = Literal[
    "linear", "cosine", "cosine_with_restarts", "polynomial", "constant", "constant_with_warmup"
]
Interpolation = Literal["lanczos", "bicubic", "bilinear", "nearest", "box", "hamming"]
Optimizer = Literal["adamw", "adafactor", "prodigy"]
SingleFile = Literal["fp16", "fp32"]
TimestepBias = Literal["none", "earlier", "later", "range"]
MemoryFormat = Literal["auto", "channels_last", "contiguous"]

# Of a layer within a model, or the end of one.
ModuleName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*$")]

# 2^63 - 1: what torch and NumPy take as a seed.
_MAX_SEED = (1 << 63) - 1


def _of(group: Group, description: str, unit: str | None = None, **limits: Any) -> Any:
    """Build a field that knows its group on the form, its unit and its limits."""
    extra: dict[str, Any] = {"group": group} | ({"unit": unit} if unit else {})
    return Field(description=description, json_schema_extra=extra, **limits)


class TrainSpec(BaseModel):
    """The training half of a task; says nothing of where it runs."""

    # A misspelt key must fail here: ignored, it would train for hours on a default.
    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, protected_namespaces=()
    )

    # Model
    pretrained_model_name_or_path: Annotated[
        str | None,
        _of("model", "Pipeline folder or hub id; left out, the mount at /mnt/model."),
    ] = None
    revision: Annotated[str | None, _of("model", "Revision of the model on the hub.")] = None
    variant: Annotated[str | None, _of("model", "Variant of the weight files, e.g. fp16.")] = None
    pretrained_vae_model_name_or_path: Annotated[
        str | None, _of("model", "Folder or hub id of a VAE to use instead of the model's own.")
    ] = None
    non_ema_revision: Annotated[
        str | None, _of("model", "Revision of the non-EMA U-Net; deprecated upstream.")
    ] = None
    cache_dir: Annotated[str | None, _of("model", "Where hub downloads are kept.")] = None

    # LoRA
    train_lora: Annotated[
        bool, _of("lora", "Ours: train small adapters (LoRA) and leave the model as it is.")
    ] = False
    rank: Annotated[
        int, _of("lora", "Rank of the adapters: how much they can learn.", gt=0, le=1024)
    ] = 4
    lora_alpha: Annotated[
        int | None,
        _of("lora", "Ours: the adapters' effect is times alpha / rank; left out, the rank.", gt=0),
    ] = None
    lora_target_modules: Annotated[
        tuple[ModuleName, ...],
        _of("lora", "Ours: layers of the U-Net that get an adapter, by the end of their names.",
            strict=False, min_length=1),
    ] = ("to_k", "to_q", "to_v", "to_out.0")  # fmt: skip
    lora_dropout: Annotated[
        float, _of("lora", "Ours: share of an adapter's inputs left out at random.", ge=0, lt=1)
    ] = 0.0
    train_text_encoder: Annotated[
        bool,
        _of("lora", "Adapters in the text encoders, too; they then run at every step."),
    ] = False

    # Data
    dataset_name: Annotated[
        str | None, _of("data", "Data set on the hub, or a local folder in any form we read.")
    ] = None
    dataset_config_name: Annotated[str | None, _of("data", "Configuration of the data set.")] = None
    train_data_dir: Annotated[
        str | None, _of("data", "Local data folder; left out, the mount at /mnt/dataset.")
    ] = None
    image_column: Annotated[str, _of("data", "Column that holds the image.")] = "image"
    caption_column: Annotated[
        str, _of("data", "Column that holds the caption, or a list of captions.")
    ] = "text"
    max_train_samples: Annotated[
        int | None, _of("data", "Train on the first N rows, shuffled by the seed.", "images", gt=0)
    ] = None
    resolution: Annotated[
        int, _of("data", "Side of the square crop.", "px", ge=8, le=8192, multiple_of=8)
    ] = 512
    enable_bucket: Annotated[
        bool,
        _of("data", "Ours: give each image a size of its own shape, of about as many pixels as "
                    "the square; none is enlarged."),
    ] = False  # fmt: skip
    min_bucket_reso: Annotated[
        int | None,
        _of("data", "Ours: shortest side with enable_bucket; left out, half the resolution.",
            "px", ge=8, le=8192),
    ] = None  # fmt: skip
    max_bucket_reso: Annotated[
        int | None,
        _of("data", "Ours: longest side with enable_bucket; left out, twice the resolution.",
            "px", ge=8, le=16384),
    ] = None  # fmt: skip
    bucket_reso_steps: Annotated[
        int,
        _of("data", "Ours: with enable_bucket, sides are multiples of this.", "px", ge=8, le=1024,
            multiple_of=8),
    ] = 64  # fmt: skip
    center_crop: Annotated[bool, _of("data", "Crop the centre; else a random place.")] = False
    random_flip: Annotated[bool, _of("data", "Mirror half of the images.")] = False
    proportion_empty_prompts: Annotated[
        float,
        _of("data", "Share of captions replaced by the empty one, for classifier-free guidance.",
            ge=0, le=1),
    ] = 0.0  # fmt: skip
    image_interpolation_mode: Annotated[Interpolation, _of("data", "How images are resized.")] = (
        "lanczos"
    )
    cache_latents: Annotated[
        bool,
        _of("data", "Ours: encode images and captions once and keep them on disk, where the "
                    "crop allows it."),
    ] = True  # fmt: skip
    on_bad_image: Annotated[
        Literal["stop", "skip"], _of("data", "Ours: what to do about an image that cannot be read.")
    ] = "stop"
    dataloader_num_workers: Annotated[
        int | None,
        _of("data", "Threads that prepare images; left out, chosen.", "threads", ge=0, le=256),
    ] = None

    # Length
    max_train_steps: Annotated[
        int | None,
        _of("length", "Length of the run; overrides num_train_epochs.", "optimizer steps", gt=0),
    ] = None
    num_train_epochs: Annotated[int, _of("length", "Passes over the data.", "epochs", gt=0)] = 100
    seed: Annotated[
        int | None,
        _of("length", "Left out, one is drawn at launch and recorded.", ge=0, le=_MAX_SEED),
    ] = None

    # Batch
    train_batch_size: Annotated[
        int, _of("batch", "Images in one forward pass on one GPU.", "images", gt=0)
    ] = 16
    gradient_accumulation_steps: Annotated[
        int, _of("batch", "Forward passes summed into one step.", "passes", gt=0)
    ] = 1
    gradient_checkpointing: Annotated[
        bool | Literal["auto"],
        _of("batch", "Compute activations twice to save memory; a third slower. "
                     "auto (ours): only if the estimate exceeds the free memory."),
    ] = False  # fmt: skip
    auto_batch_size: Annotated[
        bool,
        _of("batch", "Ours: on a GPU, try larger passes and fewer of them; the effective batch "
                     "stays."),
    ] = False  # fmt: skip

    # Optimizer
    learning_rate: Annotated[float, _of("optimizer", "Peak learning rate.", gt=0, le=10)] = 1e-4
    scale_lr: Annotated[
        bool, _of("optimizer", "Multiply the rate by GPUs, accumulation and batch size.")
    ] = False
    lr_scheduler: Annotated[Scheduler, _of("optimizer", "Shape of the rate over the run.")] = (
        "constant"
    )
    lr_warmup_steps: Annotated[
        int,
        _of("optimizer", "Linear warm-up; `constant` ignores it.", "optimizer steps", ge=0),
    ] = 500
    optimizer: Annotated[
        Optimizer, _of("optimizer", "Ours: Prodigy finds its rate: learning_rate 1.")
    ] = "adamw"
    use_8bit_adam: Annotated[bool, _of("optimizer", "AdamW with 8-bit state (bitsandbytes).")] = (
        False
    )
    adam_beta1: Annotated[float, _of("optimizer", "Decay of the mean.", ge=0, lt=1)] = 0.9
    adam_beta2: Annotated[float, _of("optimizer", "Decay of the square.", ge=0, lt=1)] = 0.999
    adam_weight_decay: Annotated[float, _of("optimizer", "Decoupled weight decay.", ge=0)] = 1e-2
    adam_epsilon: Annotated[float, _of("optimizer", "Floor of the divisor.", gt=0)] = 1e-8
    max_grad_norm: Annotated[
        float, _of("optimizer", "Clip the gradient's global L2 norm to this; 0 = never.", ge=0)
    ] = 1.0

    # Loss
    prediction_type: Annotated[
        Literal["epsilon", "v_prediction"] | None,
        _of("loss", "What the U-Net predicts; left out, as the model's scheduler says."),
    ] = None
    rescale_betas_zero_snr: Annotated[
        bool,
        _of("loss", "Ours: train to pure noise (zero-terminal SNR); needs v_prediction."),
    ] = False
    snr_gamma: Annotated[
        float | None, _of("loss", "Min-SNR weighting; the paper uses 5.", gt=0)
    ] = None
    noise_offset: Annotated[float, _of("loss", "Strength of a per-channel offset.", ge=0)] = 0.0
    input_perturbation: Annotated[float, _of("loss", "Strength; 0.1 in the paper.", ge=0)] = 0.0
    dream_training: Annotated[bool, _of("loss", "DREAM: an extra forward pass per step.")] = False
    dream_detail_preservation: Annotated[float, _of("loss", "Exponent p of DREAM.", gt=0)] = 1.0

    timestep_bias_strategy: Annotated[
        TimestepBias, _of("loss", "Which timesteps are drawn more often, or less.")
    ] = "none"
    timestep_bias_multiplier: Annotated[
        float, _of("loss", "How much more often a biased timestep is drawn.", gt=0)
    ] = 1.0
    timestep_bias_begin: Annotated[
        int, _of("loss", "First biased timestep of strategy range.", ge=0)
    ] = 0
    timestep_bias_end: Annotated[
        int, _of("loss", "First timestep past those of strategy range.", gt=0)
    ] = 1000
    timestep_bias_portion: Annotated[
        float, _of("loss", "Biased share of the timesteps, for earlier and later.", gt=0, le=1)
    ] = 0.25

    # EMA
    use_ema: Annotated[bool, _of("ema", "Keep an average of the weights; it is what is saved.")] = (
        False
    )
    offload_ema: Annotated[bool, _of("ema", "Keep the average in host memory.")] = False
    foreach_ema: Annotated[bool, _of("ema", "Accepted; the fused update is always used.")] = False
    ema_decay: Annotated[
        float, _of("ema", "Ours: upper limit of the decay, which warms up.", ge=0, lt=1)
    ] = 0.9999
    ema_update_after_step: Annotated[
        int, _of("ema", "Ours: average from this update on; copy until then.",
                 "optimizer steps", ge=0),
    ] = 0  # fmt: skip
    use_ema_warmup: Annotated[
        bool, _of("ema", "Ours: warm up as 1 - (1 + n / ema_inv_gamma)^-ema_power.")
    ] = False
    ema_inv_gamma: Annotated[float, _of("ema", "Ours: see use_ema_warmup.", gt=0)] = 1.0
    ema_power: Annotated[float, _of("ema", "Ours: see use_ema_warmup.", gt=0)] = 2 / 3

    # Precision
    mixed_precision: Annotated[
        Precision | None,
        _of("precision", "auto: bf16 where the GPU has it, else fp16; `no` on a CPU. "
                         "Left out, as `accelerate launch` says, else no."),
    ] = None  # fmt: skip
    allow_tf32: Annotated[bool, _of("precision", "TF32 matrix products on Ampere and later.")] = (
        False
    )

    # Checkpoints
    output_dir: Annotated[
        str | None, _of("checkpoints", "Where the pipeline goes; left out, the run's output.")
    ] = None
    save_single_file: Annotated[
        SingleFile | None,
        _of("checkpoints", "Ours: also write the pipeline as the one file image programs load."),
    ] = None
    checkpointing_steps: Annotated[
        int, _of("checkpoints", "A checkpoint every N steps.", "optimizer steps", gt=0)
    ] = 500
    checkpoints_total_limit: Annotated[
        int | None, _of("checkpoints", "Keep the newest N; left out, all.", "checkpoints", gt=0)
    ] = None
    resume_from_checkpoint: Annotated[
        str | None, _of("checkpoints", "latest, step-N or a path.")
    ] = None

    # Samples
    validation_split: Annotated[
        float,
        _of("samples", "Ours: hold out this share of the images (below 1), or this many, and "
                       "measure the loss on them when samples are due.", ge=0),
    ] = 0.0  # fmt: skip
    validation_prompts: Annotated[
        tuple[str, ...] | None, _of("samples", "Prompts drawn during training.", strict=False)
    ] = None
    validation_epochs: Annotated[
        int, _of("samples", "Draw every N epochs, unless validation_steps is given.", "epochs",
                 gt=0),
    ] = 5  # fmt: skip
    validation_steps: Annotated[
        int | None, _of("samples", "Ours: draw every N steps.", "optimizer steps", gt=0)
    ] = None
    validation_guidance_scale: Annotated[
        float, _of("samples", "Ours: classifier-free guidance.", ge=1)
    ] = 7.5
    validation_inference_steps: Annotated[
        int, _of("samples", "Ours: denoising steps of a sample.", "steps", gt=0, le=1000)
    ] = 20

    # Tracking
    logging_dir: Annotated[str, _of("tracking", "Tracker logs, below the output.")] = "logs"
    report_to: Annotated[
        str,
        _of("tracking", "tensorboard, wandb, comet_ml, all or none; one that is not installed is "
                        "left out, and metrics.jsonl is always written."),
    ] = "tensorboard"  # fmt: skip
    tracker_project_name: Annotated[str, _of("tracking", "Project name for the tracker.")] = (
        "text2image-fine-tune"
    )
    push_to_hub: Annotated[bool, _of("tracking", "Upload the pipeline at the end.")] = False
    hub_token: Annotated[
        str | None, _of("tracking", "Refused here: a token belongs in HF_TOKEN.")
    ] = None
    hub_model_id: Annotated[str | None, _of("tracking", "Repository to upload to.")] = None

    # Speed
    enable_xformers_memory_efficient_attention: Annotated[
        bool, _of("speed", "xformers attention; SDPA is the default and usually faster.")
    ] = False
    memory_format: Annotated[
        MemoryFormat,
        _of("speed", "Ours: order of the U-Net's weights in memory. auto: channels_last on a GPU "
                     "in half precision."),
    ] = "auto"  # fmt: skip
    fused_optimizer: Annotated[
        bool | Literal["auto"],
        _of("speed", "Ours: AdamW updates all weights in one kernel. auto: always; false: as "
                     "torch does it by itself."),
    ] = "auto"  # fmt: skip
    torch_compile: Annotated[
        bool, _of("speed", "Ours: compile the U-Net; minutes at the start, then faster steps.")
    ] = False
    local_rank: Annotated[
        int, _of("speed", "Accepted and ignored: the launcher sets LOCAL_RANK.")
    ] = -1

    @model_validator(mode="after")
    def _fields_agree(self) -> Self:
        if self.hub_token is not None:
            # The value must not be repeated: this message is shown and logged.
            raise ValueError("hub_token would be stored in the run; set HF_TOKEN instead")
        problem = conflict(self)
        if problem is not None:
            raise ValueError(problem)
        return self

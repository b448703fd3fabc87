"""What ``gpu.py`` measures, in the order of what it tells."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gpu_steps import DRY, REAL, TECHNIQUES, Scale

__all__ = ["DRY", "REAL", "Case", "Scale", "cases"]

_SHARED = ["--use_ema", "--center_crop", "--random_flip", "--learning_rate=1e-05",
           "--lr_scheduler=constant", "--lr_warmup_steps=0", "--max_grad_norm=1",
           "--seed=1"]  # fmt: skip
_SPLIT = ["--train_batch_size=1", "--gradient_accumulation_steps=4"]
_SAME = [*_SPLIT, "--gradient_checkpointing"]
_FOUR = ["--train_batch_size=4"]


@dataclass(frozen=True)
class Case:
    """One trainer.

    Attributes:
        name: For the table; ``--only`` and ``--skip`` look into it.
        flags: Beside those that all have.
        batch: Images of a step.
        needs_reference: It is diffusers' script.
        saves: Periodic checkpoints to wait for; of a first one the memory is page-locked, too.
    """

    name: str
    flags: list[str]
    batch: int = 4
    needs_reference: bool = False
    saves: int = 0

    def words(self, folder: Path, scale: Scale) -> list[str]:
        """Return all flags; the steps are never all made, since it is ended before."""
        every = scale.steps * 3 if self.saves else 1_000_000
        return [
            f"--pretrained_model_name_or_path={folder / 'model'}",
            f"--train_data_dir={folder / 'data'}", f"--resolution={scale.resolution}",
            f"--mixed_precision={scale.precision}", "--max_train_steps=1000000", *_SHARED,
            f"--checkpointing_steps={every}", "--checkpoints_total_limit=1", *self.flags,
        ]  # fmt: skip


def cases(scale: Scale) -> Iterator[Case]:
    """Yield them; what the figures of the issue need comes first."""
    yield Case("ours, as it chooses",
               [*_SPLIT, "--gradient_checkpointing=auto", "--auto_batch_size"])  # fmt: skip
    yield Case("reference", _SAME, needs_reference=True)
    yield Case("ours, the same flags", _SAME)
    yield Case("4 in one pass, with checkpoints", _FOUR, saves=2)
    yield from (Case(f"{n} in one pass", [f"--train_batch_size={n}"], n) for n in scale.larger)
    yield Case(TECHNIQUES, [])
    most = scale.larger[0]
    yield Case(f"{most} in one pass, torch_compile",
               [f"--train_batch_size={most}", "--torch_compile"], most)  # fmt: skip
    yield Case("4 in one pass", _FOUR)
    yield Case("4 in one pass, contiguous", [*_FOUR, "--memory_format=contiguous"])
    yield Case("4 in one pass, optimizer not fused", [*_FOUR, "--fused_optimizer=false"])
    if scale.device == "cuda":
        yield Case("4 in one pass, bf16", [*_FOUR, "--mixed_precision=bf16"])
    yield Case("4 in one pass, average in host memory", [*_FOUR, "--offload_ema"])
    yield Case("no gradient checkpointing", _SPLIT)
    yield Case("the same flags, latents not cached", [*_SAME, "--no-cache_latents"])
    yield Case("4 in one pass, torch_compile", [*_FOUR, "--torch_compile"])

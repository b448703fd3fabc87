"""How this process ended, told in its own file: a launcher's status is 1 for nearly every cause."""

import os
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sdcore.errors import ExitCode, SdError
from sdcore.runs.files import write_json
from sdcore.runs.paths import RunDir, make_private
from sdcore.task.train_spec import TrainSpec
from sdcore.text import clean, clean_line
from sdcore.train.places import Places

_TRACEBACK_LINES = 20
# torch (the runtime's also as AcceleratorError, the driver's with expandable segments), Triton,
# cuBLAS, cuDNN, NCCL ("Cuda failure 2 'out of memory'"). A failed page-lock of host memory says
# the same as the runtime: see ``pinning``.
_NO_MEMORY = (
    "CUDA out of memory", "CUDA error: out of memory", "CUDA driver error: out of memory",
    "Triton Error [CUDA]: out of memory", "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED", "'out of memory'",
)  # fmt: skip
# gloo, gloo, and NCCL's two. Other errors of NCCL are this host's own: a wrong driver, no /dev/shm.
_LOST_PEER = ("by peer", "remote worker", "ncclRemoteError", "communicator was aborted")


class NonFiniteError(SdError):
    """The loss or the gradients are not finite."""

    exit_code = ExitCode.NON_FINITE


class StopEarly(Exception):  # noqa: N818 - no error: somebody asked
    """A stop was asked for before there is anything to save."""


def rank_of(environ: Mapping[str, str]) -> int:
    """Return this process's rank, without torch."""
    return int(environ.get("RANK") or 0)


class RankRecord:
    """``ranks/rank-R.json``: replaced whole at the start, after each checkpoint, and at the end.

    Attributes:
        spec: The settings as far as they are decided, for remedies; None before they are read.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.rank = rank_of(environ)
        self.step, self.total = 0, 0
        self.checkpoint: str | None = None
        self.spec: TrainSpec | None = None
        self._attempt = 1
        self._path: Path | None = None
        if environ.get("SDTUI_RUN_DIR"):
            # Known before the flags are: a run whose flags are wrong must say so, too.
            self._attempt = int(environ.get("SDTUI_ATTEMPT") or 1)
            self._path = RunDir(Path(environ["SDTUI_RUN_DIR"])).rank(self.rank)

    def settle(self, places: Places) -> None:
        """Take the place that the flags decide, and say that this rank runs."""
        self._path, self._attempt = places.run.rank(self.rank), places.attempt
        self.write("running", "")

    def write(
        self, outcome: str, reason: str, remedy: str | None = None, trace: str | None = None
    ) -> None:
        """Replace the file.

        Args:
            outcome: running, done, stopped, out_of_memory, non_finite or failed.
            reason: One line.
            remedy: One next step.
            trace: The last lines of a traceback.
        """
        if self._path is None:
            return
        record: dict[str, Any] = {
            "rank": self.rank, "pid": os.getpid(), "attempt": self._attempt, "outcome": outcome,
            "step": self.step, "total": self.total, "checkpoint": self.checkpoint,
            "reason": clean_line(reason), "remedy": remedy, "peak_memory": _peak_memory(),
            "traceback": trace,
        }  # fmt: skip
        make_private(self._path.parent)
        write_json(self._path, record)


def _peak_memory() -> int | None:
    import sys  # noqa: PLC0415

    torch = sys.modules.get("torch")  # not imported for this: flags are judged without it
    if torch is None or not torch.cuda.is_initialized():  # asks no driver
        return None
    return int(torch.cuda.max_memory_allocated())


def last_lines(error: BaseException) -> str:
    """Return the end of a traceback, safe for a terminal."""
    lines = "".join(traceback.format_exception(error)).rstrip().split("\n")
    return clean("\n".join(lines[-_TRACEBACK_LINES:]))


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether the GPU's memory did not suffice, by whatever library says so."""
    if type(error).__name__ == "OutOfMemoryError":
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and any(sign in text for sign in _NO_MEMORY)


def is_lost_peer(error: BaseException) -> bool:
    """Say whether this rank only failed because another one ended."""
    text = str(error)
    return isinstance(error, RuntimeError) and any(sign in text for sign in _LOST_PEER)


def memory_remedy(spec: TrainSpec | None) -> str:
    """Name the settings that save GPU memory, the cheapest first, with their values now."""
    if spec is None:
        return "use a smaller batch"
    ways = []
    if spec.train_batch_size > 1:
        half = max(1, spec.train_batch_size // 2)
        double = spec.gradient_accumulation_steps * spec.train_batch_size // half
        ways.append(
            f"train_batch_size {spec.train_batch_size} -> {half} with gradient_accumulation_steps "
            f"{spec.gradient_accumulation_steps} -> {double} (the same effective batch)"
        )
    if spec.gradient_checkpointing is not True:
        ways.append("gradient_checkpointing on (a third slower)")
    if spec.mixed_precision in {None, "no"}:
        ways.append("mixed_precision auto")
    if spec.use_ema and not spec.offload_ema and not spec.train_lora:
        ways.append("offload_ema on")
    if not spec.use_8bit_adam and not spec.train_lora:  # adapters have next to no state
        ways.append("use_8bit_adam on")
    ways.append(f"resolution {spec.resolution} -> {max(8, spec.resolution // 16 * 8)}")
    return "save memory: " + "; ".join(ways)

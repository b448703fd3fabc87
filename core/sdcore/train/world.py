"""The processes of one run: who this one is, and the few things they do together.

Reads what ``accelerate launch`` and torchrun set for each rank: RANK, WORLD_SIZE, LOCAL_RANK.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist

from sdcore.errors import NotReadyError, SdError

_T = TypeVar("_T")

Beat = Callable[[], None]

# Ranks cache, and rank 0 samples, while others wait; NCCL's own 10 minutes would end the run.
_PATIENCE = timedelta(hours=6)
_BEAT = 20.0  # s between two signs of life where rank 0 may have to wait for a person


@dataclass(frozen=True, slots=True)
class World:
    """The processes that train together.

    Attributes:
        rank: Of this process, from 0; 0 writes the streams.
        size: Number of processes.
        device: Where this process computes.
    """

    rank: int
    size: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """Whether this process writes for all."""
        return self.rank == 0

    def barrier(self) -> None:
        """Wait until every process is here."""
        if self.size > 1:
            dist.barrier()

    def share(self, value: Any) -> Any:
        """Return rank 0's ``value`` on every rank; a wait for all."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, device=self.device)
        return box[0]

    def lead(self, work: Callable[[], _T]) -> _T:
        """Do ``work`` on rank 0 while the others wait, and return its result on every rank.

        Raises:
            SdError: Rank 0's, on every rank, so that all leave for the same reason.
        """
        return self.lead_long(lambda _beat: work())

    def lead_long(self, work: Callable[[Beat], _T]) -> _T:
        """As ``lead``, for work that can wait for days: no patience of the others lasts so long.

        Args:
            work: Is given what it must call again and again while it waits. That tells the others
                that rank 0 is still there, so that no collective is older than a minute; and it
                raises where one of them is gone.

        Raises:
            SdError: As ``lead``.
        """
        result: Any = None
        failure: SdError | None = None
        if self.leads:
            try:
                result = work(self._beat())
            except SdError as error:
                failure = error
        if self.size == 1:
            if failure is not None:
                raise failure
            return cast("_T", result)
        told = failure and (type(failure), failure.what, failure.cause, failure.remedy)
        message = self.share((result, told))
        while message is None:  # a sign of life
            message = self.share(None)
        result, told = message
        if told is not None:
            kind, what, cause, remedy = told
            raise kind(what, cause=cause, remedy=remedy) from failure
        return cast("_T", result)

    def _beat(self) -> Beat:
        told = time.monotonic()

        def beat() -> None:
            nonlocal told
            if self.size > 1 and time.monotonic() - told >= _BEAT:
                self.share(None)
                told = time.monotonic()

        return beat

    def gather(self, value: _T) -> list[_T]:
        """Return every rank's ``value`` on every rank, by rank; a wait for all."""
        found: list[Any] = [value] * self.size
        if self.size > 1:
            dist.all_gather_object(found, value)
        return found

    def sum_(self, values: torch.Tensor) -> torch.Tensor:
        """Add ``values`` over the ranks in place, on the device, without waiting for it."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def leave(self) -> None:
        """Part from the others in good order."""
        if self.size > 1:
            dist.destroy_process_group()


def join(environ: Mapping[str, str]) -> World:
    """Find the device and meet the other processes.

    Raises:
        NotReadyError: A launcher asked for sharding, or there are more processes than GPUs.
    """
    for name in ("ACCELERATE_USE_DEEPSPEED", "ACCELERATE_USE_FSDP", "ACCELERATE_USE_MEGATRON_LM"):
        if environ.get(name, "false").lower() == "true":
            raise NotReadyError(
                f"the launcher set {name}",
                cause="the trainer keeps a whole copy of the U-Net in every process",
                remedy="run accelerate launch with --multi_gpu, or without its config file",
            )
    rank, size = int(environ.get("RANK") or 0), int(environ.get("WORLD_SIZE") or 1)
    use_cpu = environ.get("ACCELERATE_USE_CPU", "false").lower() in {"true", "1"}
    device = torch.device("cpu")
    if not use_cpu and torch.cuda.is_available():
        device = _gpu(environ)
    if size > 1:
        backend = "nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(
            backend, timeout=_PATIENCE, device_id=device if device.type == "cuda" else None
        )
    return World(rank, size, device)


def _gpu(environ: Mapping[str, str]) -> torch.device:
    """Return this process's GPU: the one with its number on this host, or its own alone.

    Raises:
        NotReadyError: There are more processes on this host than GPUs.
    """
    local = max(0, int(environ.get("LOCAL_RANK") or 0))  # -1: there is one process
    count = torch.cuda.device_count()
    if count == 1 and _shown_its_own(environ):
        local = 0
    if local >= count:
        raise NotReadyError(
            f"process {local} of this host has no GPU",
            cause=f"{count} visible, CUDA_VISIBLE_DEVICES="
            f"{environ.get('CUDA_VISIBLE_DEVICES', 'not set')}",
            remedy="start as many processes as there are GPUs",
        )
    torch.cuda.set_device(local)
    return torch.device("cuda", local)


def _shown_its_own(environ: Mapping[str, str]) -> bool:
    """Say whether the process was shown one GPU of its own, as by ``srun --gpus-per-task=1``.

    torchrun's processes see the same GPUs, and it says how many processes they are. Where nobody
    says, two processes on one GPU are refused by NCCL, when they meet.
    """
    alike = int(environ.get("LOCAL_WORLD_SIZE") or 1) > 1 or "TORCHELASTIC_RUN_ID" in environ
    named = [name for name in environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return not alike and len(named) == 1

"""What the trainer asks of the device, of the host's memory beside it, and of neither."""

import importlib.util
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from sdcore.errors import NotReadyError
from sdcore.task.train_spec import TrainSpec
from sdcore.train import automatic, probing, world
from sdcore.train.batches import Batches
from sdcore.train.checkpoint import Progress
from sdcore.train.parts import OptimizerPart
from sdcore.train.saving import Saver

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
REFUSED = "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"


def test_a_host_without_page_locked_memory_trains_on_and_is_told_of(
    train: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CUDA says "out of memory" of the host as of a full GPU: a smaller batch would be advised."""
    tries = []

    def refused(tensor: Tensor) -> Tensor:
        tries.append(tensor.shape)
        raise RuntimeError(REFUSED)

    monkeypatch.setattr(Tensor, "pin_memory", refused)
    monkeypatch.setattr(Batches, "_held", lambda self, tensor: self.locks.locked(tensor))
    plain = train(out="plain")
    assert plain.code == 0, plain.err
    assert len(tries) == 1, "each further try would cost time"
    (warning,) = plain.events("warning")
    assert "no page-locked memory (CUDA error: out of memory)" in warning["text"]


def test_a_run_on_the_cpu_asks_nothing_of_cuda(train: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a host with GPUs a question alone makes a context: 500 MB of a GPU others train on."""

    def touched(*_: object) -> Any:
        raise AssertionError("CUDA was asked")

    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    for name in ("is_available", "synchronize", "current_device"):
        monkeypatch.setattr(torch.cuda, name, touched)
    done = train("--checkpointing_steps", "1", "--use_ema")
    assert done.code == 0, done.err
    assert all(event["stall"] < event["seconds"] for event in done.events("checkpoint")[:-1])


@pytest.mark.parametrize(("device", "waits"), [(GPU, 1), (CPU, 0)])
def test_a_save_waits_for_the_device_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: torch.device, waits: int
) -> None:
    """Not at all, files would be written from copies still on their way; per part, it stalls."""
    order: list[str] = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: order.append(str(device)))
    weight = torch.nn.Parameter(torch.ones(4))
    optimizer = torch.optim.AdamW([weight], fused=True)
    weight.grad = torch.ones(4)
    optimizer.step()
    part = OptimizerPart(optimizer)
    snapshot = part.snapshot

    def noting(*, copied: bool) -> Any:
        order.append("copy")
        return snapshot(copied=copied)

    monkeypatch.setattr(part, "snapshot", noting)
    progress = Progress(1, 1, 1, 1, 1, "", 1, 0, {}, None, 0.1, "cpu", "no", {})
    assert Saver(tmp_path, None, [part, part], device).copy(progress).alone
    assert order == ["copy", "copy", *["cuda:0"] * waits]


@pytest.mark.parametrize(
    ("environ", "visible", "expected"),
    [
        ({"LOCAL_RANK": "3"}, 8, 3),
        ({"LOCAL_RANK": "-1"}, 1, 0),
        # srun --gpus-per-task=1, with LOCAL_RANK=$SLURM_LOCALID
        ({"LOCAL_RANK": "3", "CUDA_VISIBLE_DEVICES": "3"}, 1, 0),
        ({"LOCAL_RANK": "1", "CUDA_VISIBLE_DEVICES": "GPU-5c9e"}, 1, 0),
        # One GPU for all the processes that a launcher started here.
        ({"LOCAL_RANK": "1", "CUDA_VISIBLE_DEVICES": "0", "LOCAL_WORLD_SIZE": "2"}, 1, None),
        ({"LOCAL_RANK": "1", "CUDA_VISIBLE_DEVICES": "0", "TORCHELASTIC_RUN_ID": "x"}, 1, None),
        ({"LOCAL_RANK": "1"}, 1, None),  # nobody chose the one that is shown
        ({"LOCAL_RANK": "2", "CUDA_VISIBLE_DEVICES": "0,1"}, 2, None),
    ],
)
def test_each_process_finds_its_own_gpu(
    monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], visible: int, expected: int | None
) -> None:
    """Slurm shows each task its own GPU as number 0; two processes must never share one."""
    taken: list[int] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: visible)
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    if expected is None:
        with pytest.raises(NotReadyError, match="has no GPU"):
            world.join(environ)
    else:
        assert world.join(environ).device == torch.device("cuda", expected)
    assert taken == ([] if expected is None else [expected])


def test_channels_last_is_left_out_where_bitsandbytes_undoes_it() -> None:
    """Undone weight by weight, it leaves an average in another order: slow, and told wrongly."""

    def chosen(**settings: object) -> object:
        given = TrainSpec.model_validate(settings).model_dump()
        found = automatic.decisions(given, "cuda", "bf16")
        return next(each.value for each in found if each.setting == "memory_format")

    assert chosen() == "channels_last"
    assert chosen(use_8bit_adam=True) == "contiguous"
    assert chosen(use_8bit_adam=True, train_lora=True) == "channels_last"  # frozen


def test_with_torch_compile_no_size_is_tried() -> None:
    """What was timed, the plain network, is not what would run."""

    def against(**settings: object) -> str | None:
        spec = TrainSpec(gradient_accumulation_steps=4).model_copy(update=settings)
        job = SimpleNamespace(spec=spec, world=SimpleNamespace(device=GPU))
        loop: Any = SimpleNamespace(job=job, kit=SimpleNamespace(dropout=False))
        return probing._reason_against(loop)

    assert against() is None
    assert "torch_compile" in str(against(torch_compile=True))


@pytest.mark.parametrize(("there", "words"), [(False, "is not installed"), (True, "needs a GPU")])
def test_xformers_is_missed_before_anything_is_loaded(
    train: Any, monkeypatch: pytest.MonkeyPatch, there: bool, words: str
) -> None:
    """Missed when attention is set up, it costs the hour of caching before it."""
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec",
        lambda name, *more: (there or None) if name == "xformers" else found(name, *more),
    )  # fmt: skip
    done = train("--enable_xformers_memory_efficient_attention")
    assert done.code == 3
    assert words in done.err
    assert not done.events("model")

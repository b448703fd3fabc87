"""Two processes under accelerate: the same samples, the same noise, one decision to stop."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sdcore.runs import requests
from sdcore.runs.paths import RunDir
from sdcore.train.outcome import is_lost_peer, is_out_of_memory
from support.trained import Trained

LAUNCHER = (
    "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1",
    "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0",
)  # fmt: skip

HOLD_OUT = ("--validation_split", "2", "--validation_steps", "3")


def test_two_processes_draw_what_one_draws_and_stop_together(
    spawn: Callable[..., Any], train: Any, tmp_path: Path
) -> None:
    """The reference gives both ranks the same noise; a rank that leaves alone hangs the rest."""
    process = spawn(
        "--train_batch_size", "1", "--gradient_accumulation_steps", "2", "--max_train_steps",
        "500", "--use_ema", *HOLD_OUT, out="two", launcher=LAUNCHER, fault="slow@seconds=0.05",
        ACCELERATE_USE_CPU="true",
    )  # fmt: skip
    two = Trained(0, tmp_path / "two", "")
    deadline = time.monotonic() + 120
    while (
        not (metrics := two.out / "metrics.jsonl").exists()
        or len(metrics.read_text().splitlines()) < 6
    ):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert requests.ask(RunDir(two.out), "stop", by="a test")
    process.communicate(timeout=120)
    assert process.returncode != 0  # torchrun says 1 for whatever its ranks say
    ranks = [two.rank(0), two.rank(1)]
    assert [rank["outcome"] for rank in ranks] == ["stopped", "stopped"]
    stopped = ranks[0]["step"]
    assert ranks[1]["step"] == stopped == max(two.metrics())
    assert two.steps == [f"step-{stopped}"]

    one = train("--train_batch_size", "2", "--gradient_accumulation_steps", "2", "--use_ema",
                *HOLD_OUT, "--max_train_steps", str(stopped + 1), out="one")  # fmt: skip
    for step, line in two.metrics().items():
        assert line["loss"] == pytest.approx(one.metrics()[step]["loss"], rel=1e-5)
        assert line["grad_norm"] == pytest.approx(one.metrics()[step]["grad_norm"], rel=1e-4)

    more = train("--train_batch_size", "2", "--gradient_accumulation_steps", "2", "--use_ema",
                 *HOLD_OUT, "--max_train_steps", str(stopped + 1), "--resume_from_checkpoint",
                 "latest",
                 out="two")  # fmt: skip
    assert more.code == 0, more.err
    (event,) = more.events("resumed")
    assert event["exact"] is False
    for step in range(3, stopped + 1, 3):
        for name in ("val_loss", "val_loss_ema"):
            alone = one.metrics()[step][name]
            assert two.metrics()[step][name] == pytest.approx(alone, rel=1e-5)
    last = stopped + 1
    assert more.metrics()[last]["loss"] == pytest.approx(one.metrics()[last]["loss"], rel=1e-5)


@pytest.mark.parametrize(
    ("text", "full", "peer"),
    [
        ("CUDA error: out of memory", True, False),
        ("CUDA driver error: out of memory", True, False),
        ("Triton Error [CUDA]: out of memory", True, False),
        ("backend='inductor' raised: OutOfMemoryError: CUDA out of memory. Tried", True, False),
        ("cuDNN error: CUDNN_STATUS_ALLOC_FAILED", True, False),
        ("NCCL error: ncclUnhandledCudaError. Cuda failure 2 'out of memory'", True, False),
        ("NCCL error: ncclRemoteError: a remote process exited prematurely", False, True),
        ("Connection closed by peer [127.0.0.1]:4321", False, True),
        ("NCCL error: ncclSystemError: Error while creating shared memory segment", False, False),
    ],
)
def test_an_error_of_the_gpus_is_told_for_what_it_is(text: str, full: bool, peer: bool) -> None:
    """The words "another process ended first" send a person to other logs."""
    error = RuntimeError(text)
    assert (is_out_of_memory(error), is_lost_peer(error)) == (full, peer)

"""What is decided by the kind of machine: told with a reason, and pinned by a setting."""

import os
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from sdcore.task.train_spec import TrainSpec
from sdcore.train import automatic, optimizing

SETTLED = {"memory_format": "contiguous", "fused_optimizer": "true"}


def told(done: Any, attempt: int = 1) -> dict[str, str]:
    assert done.code == 0, done.err
    chosen = [e for e in done.events("choice") if e["attempt"] == attempt]
    assert len({e["what"] for e in chosen}) == len(chosen), "one event for each decision"
    for event in chosen:
        assert f"{event['what']}: {event['chosen']}, because {event['because']}" in done.err
        assert len(event["what"] + event["chosen"] + event["because"]) < 100, "a short line"
    return {e["what"]: e["chosen"] for e in chosen}


def test_every_decision_of_a_plain_run_is_told_with_its_reason(train: Any) -> None:
    """A person who wonders why a run is slow on one machine finds no other trace of it."""
    first = train("--use_ema", "--center_crop", "--max_train_steps", "1")
    threads = min(16, len(os.sched_getaffinity(0)))
    assert told(first) == SETTLED | {
        "dataloader_num_workers": str(threads), "cache_latents": "true", "attention": "SDPA",
        "ema": "one fused update",
    }  # fmt: skip
    assert first.err.count(", because ") == 6, "and no more than that is said"


def test_what_is_pinned_is_done_and_not_told_as_a_decision(train: Any, kits: list[Any]) -> None:
    pins = ["--memory_format", "channels_last", "--no-fused_optimizer",
            "--dataloader_num_workers", "1", "--no-cache_latents"]  # fmt: skip
    pinned = train(*pins)
    assert told(pinned) == {"attention": "SDPA"}
    (kit,) = kits
    layers = [w for w in kit.updater.parameters if w.dim() == 4 and min(w.shape[1:]) > 1]
    assert layers
    assert all(w.is_contiguous(memory_format=torch.channels_last) for w in layers)
    assert kit.updater.optimizer.param_groups[0]["fused"] is False
    plain = train("--no-cache_latents", out="plain")
    assert [line["loss"] for line in pinned.metrics().values()] == pytest.approx(
        [line["loss"] for line in plain.metrics().values()], abs=1e-6
    )


def test_a_resume_compares_what_was_decided_and_not_how_it_was_wished(
    train: Any, kits: list[Any]
) -> None:
    """Left out in one attempt and pinned to the same in the next is the same training."""
    assert train("--max_train_steps", "1").code == 0
    again = ["--max_train_steps", "2", "--resume_from_checkpoint", "latest"]
    same = train(*again, "--fused_optimizer", "--memory_format", "contiguous")
    assert same.events("resumed")[-1]["exact"] is True
    again[1] = "3"
    other = train(*again, "--fused_optimizer=false", "--adam_weight_decay", "0.5")
    assert other.events("resumed")[-1]["exact"] is False
    assert "fused_optimizer true -> false" in other.err
    group = kits[-1].updater.optimizer.param_groups[0]
    assert (group["fused"], group["weight_decay"]) == (False, 0.5), "as told, not as saved"


@pytest.mark.parametrize(
    ("device", "mode", "chosen"),
    [("cuda", "fp16", "channels_last"), ("cuda", "bf16", "channels_last"),
     ("cuda", "no", "contiguous"), ("cpu", "bf16", "contiguous")],
)  # fmt: skip
def test_the_memory_format_is_that_of_the_units_that_compute(
    device: str, mode: str, chosen: str
) -> None:
    """Told in fp32, that half precision is faster so is no reason."""
    settings = TrainSpec().model_dump()
    (memory_format, _fused) = automatic.decisions(settings, device, mode)
    assert memory_format.value == chosen
    assert ("half-precision" in memory_format.because) == (chosen == "channels_last")


def test_a_fused_update_is_pinned_for_torchs_own_adamw_alone() -> None:
    for other in ({"optimizer": "prodigy"}, {"use_8bit_adam": True}):
        with pytest.raises(ValidationError, match="leave it at auto"):
            TrainSpec.model_validate({"fused_optimizer": True, **other})
        found = automatic.decisions(TrainSpec.model_validate(other).model_dump(), "cpu", "no")
        assert [decision.setting for decision in found] == ["memory_format"]
    weight = torch.nn.Parameter(torch.zeros(2))
    for pin, fused in (("auto", True), (True, True), (False, False)):
        spec = TrainSpec(fused_optimizer=pin)  # type: ignore[arg-type]
        made = optimizing.make_optimizer([weight], spec, 0.1)
        assert made.defaults["fused"] is fused

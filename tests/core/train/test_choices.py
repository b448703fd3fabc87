"""What is chosen for the person: no choice may change what is trained, and each gives a reason."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch._inductor import cpp_builder, exc

from sdcore.task.estimate import memory_needed
from sdcore.task.train_spec import TrainSpec
from sdcore.train import choices, compiling, probing
from sdcore.train.arguments import parse
from sdcore.train.loop import Loop

SD1 = 859_520_964
SETTLED = {"gradient_checkpointing", "train_batch_size"}
OUT_OF_MEMORY = "CUDA out of memory. Tried to allocate 20.00 MiB."


@pytest.mark.parametrize(
    ("words", "setting"),
    [
        ([], False),
        (["--gradient_checkpointing"], True),
        (["--gradient_checkpointing", "--use_ema"], True),
        (["--gradient_checkpointing=auto"], "auto"),
        (["--gradient_checkpointing", "auto"], "auto"),
        (["--no-gradient_checkpointing"], False),
    ],
)
def test_the_flag_of_diffusers_still_takes_no_word(words: list[str], setting: bool | str) -> None:
    """A train.sh that says ``--gradient_checkpointing`` must go on as it was."""
    assert parse(words, {}).spec.gradient_checkpointing == setting


def test_checkpointing_is_left_out_only_where_the_estimate_fits() -> None:
    """Wrong one way it costs a third of the speed, the other way the run."""
    spec = TrainSpec(train_batch_size=4, use_ema=True, gradient_checkpointing="auto")
    need = memory_needed(
        spec.model_copy(update={"gradient_checkpointing": False, "mixed_precision": "fp16"}), SD1
    )
    for free, on in ((int(need / 0.85), False), (need, True), (None, True)):
        chosen, because = choices.checkpointing(spec, "fp16", SD1, free)
        assert (chosen, bool(because)) == (on, True), free
    assert choices.checkpointing(spec, "no", SD1, int(need / 0.85))[0], "fp32 needs more"


def test_a_resume_keeps_what_the_checkpoint_was_trained_with(
    train: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chosen anew by what happens to be free, it would end with other bits."""
    flags = ["--gradient_checkpointing=auto", "--auto_batch_size",
             "--gradient_accumulation_steps", "2"]  # fmt: skip
    with monkeypatch.context() as patch:
        patch.setattr(choices, "free_memory", lambda _device: 1)
        first = train(*flags, "--max_train_steps", "1")
        assert first.code == 0, first.err
    told = {e["what"]: e["chosen"] for e in first.events("choice") if e["what"] in SETTLED}
    assert told == {"gradient_checkpointing": "on", "train_batch_size": "2 x 2"}
    again = train(*flags, "--max_train_steps", "2", "--resume_from_checkpoint", "latest")
    assert again.code == 0, again.err
    (event,) = again.events("resumed")
    assert event["exact"] is True
    last = [e for e in again.events("choice") if e["attempt"] == 2 and e["what"] in SETTLED]
    assert {e["what"]: e["because"] for e in last} == {
        "gradient_checkpointing": "the checkpoint was trained with it",
        "train_batch_size": "the checkpoint was trained so",
    }


def test_the_split_of_a_step_over_passes_changes_no_draw(train: Any) -> None:
    """1 x 4 and 4 x 1 are the same step; a draw by pass and not by sample would show at once."""
    options = ["--use_ema", "--random_flip", "--noise_offset", "0.1", "--snr_gamma", "5",
               "--learning_rate", "0.001", "--max_train_steps", "4"]  # fmt: skip
    found = []
    for batch, passes in ((1, 4), (4, 1), (2, 2)):
        done = train(*options, "--train_batch_size", str(batch), "--gradient_accumulation_steps",
                     str(passes), out=f"out-{batch}")  # fmt: skip
        assert done.code == 0, done.err
        found.append([line["loss"] for _, line in sorted(done.metrics().items())])
    assert found[0] == pytest.approx(found[1], abs=1e-6)
    assert found[0] == pytest.approx(found[2], abs=1e-6)


@pytest.mark.parametrize(
    ("batch", "passes", "speeds", "best"),
    [
        (1, 4, {1: 10.0, 2: 18.0, 4: 25.0}, 4),
        (1, 8, {1: 10.0, 2: 18.0, 4: None}, 2),  # 4 do not fit: 8 are not tried
        (2, 4, {2: 10.0, 4: 10.1}, 2),  # not faster: 8 are not tried
        (3, 3, {3: 10.0}, 3),  # the passes cannot be halved
        (1, 4, {1: None}, None),
    ],
)
def test_sizes_are_tried_upward_while_they_pay(
    batch: int, passes: int, speeds: dict[int, float | None], best: int | None
) -> None:
    """A size tried past the first that does not fit can leave the device in pieces."""
    trials = probing.ladder(probing.sizes(batch, passes), lambda size: speeds[size])
    assert (trials[-1].batch if trials else None) == best


def test_a_trial_leaves_the_training_as_it_was(train: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gradients of a trial in the first update, or draws used up by it, are another training."""
    split = ["--train_batch_size", "1", "--gradient_accumulation_steps", "4", "--use_ema"]
    plain = train(*split, out="plain")
    original: Callable[..., float] = probing._pass
    tried: list[int] = []

    def passing(loop: Loop, batch: int) -> float:
        tried.append(batch)
        if batch == 4:
            raise torch.cuda.OutOfMemoryError(OUT_OF_MEMORY)
        return original(loop, batch) / batch**2  # the larger one is surely faster

    monkeypatch.setattr(probing, "_pass", passing)
    monkeypatch.setattr(probing, "_reason_against", lambda _loop: None)
    done = train(*split, "--auto_batch_size", out="probed")
    assert done.code == 0, done.err
    assert sorted(set(tried)) == [1, 2, 4]
    (choice,) = [e for e in done.events("choice") if e["what"] in SETTLED]
    assert choice["chosen"] == "2 x 2"
    for step, line in plain.metrics().items():
        assert done.metrics()[step]["loss"] == pytest.approx(line["loss"], abs=1e-6)
    assert done.events("plan")[0]["effective_batch"] == 4


def test_without_a_compiler_the_start_is_refused_in_words(
    train: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found out by torch itself, it is a page of traceback after the caching."""

    def none() -> str:
        raise exc.InvalidCxxCompiler

    monkeypatch.setattr(cpp_builder, "get_cpp_compiler", none)
    done = train("--torch_compile")
    assert done.code == 3
    assert "torch_compile" in done.err
    assert "install g++" in done.err
    assert not any(e["phase"] == "caching" for e in done.events("phase"))


def test_a_compiled_network_trains_and_publishes_the_same(
    train: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its wrapper must not get into the names of the weights; its warm-up must change none.

    With the backend that traces and generates no code: the real one takes half a minute here.
    """
    monkeypatch.setattr(compiling, "compiled", lambda net: torch.compile(net, backend="eager"))
    plain = train("--use_ema", out="plain")
    done = train("--use_ema", "--torch_compile", out="compiled")
    assert done.code == 0, done.err
    phases = [event["phase"] for event in done.events("phase")]
    assert phases.index("compiling") < phases.index("training")
    for step, line in plain.metrics().items():
        assert done.metrics()[step]["loss"] == pytest.approx(line["loss"], abs=1e-5)
    unet = UNet2DConditionModel.from_pretrained(done.out, subfolder="unet")
    assert sum(p.numel() for p in unet.parameters()) == 16_928

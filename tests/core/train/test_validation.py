"""The loss on held-out images: never trained on, the same question at every step."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from diffusers import UNet2DConditionModel
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from sdcore.errors import NotReadyError
from sdcore.runs.events import Event, Metrics
from sdcore.task.train_spec import TrainSpec
from sdcore.train import finding, loop, validating
from sdcore.train.batches import Chances
from sdcore.train.latents import Draw
from sdcore.train.randomness import Stream, generator, normal
from sdcore.train.timesteps import BUCKETS, by_bucket
from sdcore.train.validating import split
from support.plain_training import Plain
from support.trained import Trained

VISITS = 10  # at least; three images are then visited four times each
TRAINED = 7
FLAGS = ["--validation_split", "0.3", "--validation_steps", "2", "--max_train_steps", "4",
         "--checkpointing_steps", "2", "--use_ema", "--learning_rate", "0.01",
         "--random_flip", "--snr_gamma", "5", "--noise_offset", "0.1"]  # fmt: skip


@pytest.fixture(autouse=True)
def _few_visits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validating, "_LEAST_VISITS", VISITS)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """The rows that training shows."""
    rows: set[int] = set()
    draw = Chances.draw

    def seen(self: Chances, position: int) -> Draw:
        found = draw(self, position)
        rows.add(found.row)
        return found

    monkeypatch.setattr(Chances, "draw", seen)
    return rows


def plain_loss(plain: Plain, folder: Path, held: list[int]) -> float:
    """Mean squared error of saved weights over the schedule, image by image."""
    unet = UNet2DConditionModel.from_pretrained(folder).eval()
    rounds = math.ceil(VISITS / len(held))
    losses = []
    for turn in range(rounds):
        places = generator(1, Stream.HELD_OUT, 1 + turn).permutation(len(held))
        for row, place in zip(held, places, strict=True):
            t = int((place * rounds + turn + 0.5) / (rounds * len(held)) * 1000)
            losses.append(one_loss(plain, unet, row, len(losses), t))
    return sum(losses) / len(losses)


@torch.no_grad()
def one_loss(plain: Plain, unet: Any, row: int, number: int, t: int) -> float:
    line = plain.rows[row]
    posterior = plain.vae.encode(plain.values(plain.image(line))[None]).latent_dist
    shape = tuple(posterior.mean.shape[1:])
    eps = normal(1, Stream.VALIDATION_POSTERIOR, [number], shape)
    latents = (posterior.mean + posterior.std * eps) * plain.vae.config.scaling_factor
    noise = normal(1, Stream.VALIDATION_NOISE, [number], shape)
    ids = plain.tokenizer([line["text"]], padding="max_length", return_tensors="pt").input_ids
    text = plain.text(ids, return_dict=False)[0]
    alpha = plain.alphas[t]
    noisy = alpha.sqrt() * latents + (1 - alpha).sqrt() * noise
    return float(F.mse_loss(unet(noisy, torch.tensor([t]), text, return_dict=False)[0], noise))


def test_held_out_images_are_measured_plainly_and_never_trained_on(
    train: Any, model: Path, data: Path, drawn: set[int]
) -> None:
    """Weights, flips and offsets of the loss would make curves that cannot be compared."""
    done = train(*FLAGS)
    assert done.code == 0, done.err
    assert len(drawn) == TRAINED
    adapter: TypeAdapter[Any] = TypeAdapter(Event)
    assert {adapter.validate_python(event).kind for event in done.events()} > {
        "validation", "timestep_loss",
    }  # fmt: skip
    assert Metrics.model_validate(done.metrics()[4]).val_loss
    held = sorted(set(range(10)) - drawn)
    plain = Plain(model, data, TrainSpec())
    events = {event["step"]: event for event in done.events("validation")}
    assert list(events) == [0, 2, 4]
    assert events[0]["loss"] == pytest.approx(plain_loss(plain, model / "unet", held), abs=1e-6)
    folder = done.out / "checkpoints/step-4"
    line = done.metrics()[4]
    assert line["val_loss"] == pytest.approx(plain_loss(plain, folder / "unet", held), abs=1e-6)
    averaged = plain_loss(plain, folder / "unet_ema", held)
    assert line["val_loss_ema"] == pytest.approx(averaged, abs=1e-6)
    assert line["val_loss"] != line["val_loss_ema"]
    assert [step for step, metrics in done.metrics().items() if "val_loss" in metrics] == [2, 4]


def test_measuring_changes_nothing_and_a_resume_measures_the_same(train: Any) -> None:
    """Also with random numbers of the network's own, which it would draw from."""
    whole = train(*FLAGS, out="whole")
    often = train(*FLAGS, "--validation_steps", "1", out="often")
    assert often.losses() == whole.losses()
    train(*FLAGS, "--max_train_steps", "2")
    resumed = train(*FLAGS, "--resume_from_checkpoint", "latest")
    assert resumed.losses() == whole.losses()
    for step in (2, 4):
        assert resumed.metrics()[step]["val_loss"] == whole.metrics()[step]["val_loss"]
        assert often.metrics()[step]["val_loss_ema"] == whole.metrics()[step]["val_loss_ema"]
    other = train(*FLAGS, "--validation_split", "2", "--resume_from_checkpoint", "latest")
    assert other.code == 3
    assert "validation_split 2" in other.err
    assert "have been trained on" in other.err


@given(
    count=st.integers(2, 400), wish=st.floats(0.0, 0.99) | st.integers(1, 399).map(float),
    seed=st.integers(0, 2**63 - 1),
)  # fmt: skip
def test_every_image_is_trained_on_or_held_out(count: int, wish: float, seed: int) -> None:
    rows = range(0, 3 * count, 3)
    spec = TrainSpec(validation_split=wish)
    if (max(1, round(wish * count)) if 0 < wish < 1 else wish) >= count:
        with pytest.raises(NotReadyError, match="validation_split"):
            split(rows, spec, seed)
        return
    trained, held = split(rows, spec, seed)
    assert sorted([*trained, *held]) == list(rows)
    assert list(trained) == sorted(trained)
    assert bool(held) == (wish > 0)
    if wish >= 1:
        assert len(held) == wish


@pytest.mark.parametrize("older", [False, True])
def test_the_loss_by_timestep_covers_what_came_before_a_stop(
    train: Any, monkeypatch: pytest.MonkeyPatch, older: bool
) -> None:
    """Of a run stopped every hour, each figure was of the minutes since the last resume."""
    flags = ["--max_train_steps", "5"]
    whole = train(*flags, out="whole")
    forward = loop.Loop.forward

    def stopping(self: Any, micro: int) -> Any:
        self.job.stop.by = "SIGTERM"
        return forward(self, micro)

    with monkeypatch.context() as patch:
        patch.setattr(loop.Loop, "forward", stopping)
        stopped = train(*flags)
    assert stopped.code == 4
    assert not stopped.events("timestep_loss")
    if older:  # written before there were sums in it
        path = stopped.out / "checkpoints" / stopped.steps[0] / "trainer.json"
        record = json.loads(path.read_bytes())
        del record["timestep_loss"]
        path.write_text(json.dumps(record))
        monkeypatch.setattr(finding, "fault_of", lambda folder: None)
    done = train(*flags, "--resume_from_checkpoint", "latest")
    assert done.code == 0, done.err
    (expected,), (told,) = whole.events("timestep_loss"), done.events("timestep_loss")
    assert expected["first_step"] == 1
    assert sum(expected["images"]) == 5 * 2
    if older:
        assert told["first_step"] == 1 + int(stopped.steps[0].removeprefix("step-"))
    else:
        for name in ("first_step", "step", "images", "means"):
            assert told[name] == expected[name]


def test_the_loss_by_timestep_adds_up_to_the_loss(train: Any) -> None:
    """Else it says where the loss is made of something that is not the loss."""
    done: Trained = train("--max_train_steps", "8", "--snr_gamma", "5",
                          "--gradient_accumulation_steps", "2")  # fmt: skip
    (event,) = done.events("timestep_loss")
    assert (event["first_step"], event["step"], sum(event["images"])) == (1, 8, 32)
    assert [mean is None for mean in event["means"]] == [n == 0 for n in event["images"]]
    total = sum((m or 0.0) * n for m, n in zip(event["means"], event["images"], strict=True))
    losses = [line["loss"] for line in done.metrics().values()]
    assert total / 32 == pytest.approx(sum(losses) / 8, rel=1e-6)


def test_a_loss_falls_into_its_tenth_and_a_nan_stays_there() -> None:
    loss = torch.tensor([1.0, 2.0, math.nan, 4.0])
    numbers = by_bucket(loss, torch.tensor([0, 99, 500, 999]), 1000).tolist()
    assert [numbers[0], numbers[9], numbers[10], numbers[19]] == [3.0, 4.0, 2.0, 1.0]
    assert [i for i in range(BUCKETS) if math.isnan(numbers[i])] == [5]


def test_too_many_held_out_images_are_refused_with_numbers(train: Any) -> None:
    done = train("--validation_split", "10")
    assert done.code == 3
    assert "10 of 10 images" in done.err
    assert json.loads((done.out / "ranks/rank-0.json").read_text())["outcome"] == "failed"


def test_adapters_and_their_average_are_measured_through_the_text_encoder(train: Any) -> None:
    """The average of adapters lies in the layers only while it is asked for."""
    flags = ["--train_lora", "--train_text_encoder", "--use_ema", "--optimizer", "prodigy",
             "--learning_rate", "1", "--validation_split", "2", "--max_train_steps", "12",
             "--proportion_empty_prompts", "0.3"]  # fmt: skip
    seldom = train(*flags, "--validation_steps", "12", out="seldom")
    assert seldom.code == 0, seldom.err
    often = train(*flags, "--validation_steps", "4", out="often")
    assert often.losses() == seldom.losses()
    last, base = often.metrics()[12], often.events("validation")[0]
    assert base["loss"] == base["ema"]
    assert len({last["val_loss"], last["val_loss_ema"], base["loss"]}) == 3
    assert last["val_loss_ema"] == seldom.metrics()[12]["val_loss_ema"]

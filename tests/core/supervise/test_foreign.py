"""What is read from the output of trainers that are not ours; the logs are of real programs."""

import math
from itertools import accumulate
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdcore.supervise.foreign.bars import parse_bar
from sdcore.supervise.foreign.curve import (
    NO_STEPS,
    NO_STEPS_OF_TRANSFORMERS,
    STARTS_OVER,
    Curve,
)
from sdcore.supervise.foreign.pieces import Tail
from support.foreign import LOGS, bar, fed, fed_copy, read, told


def test_the_bar_of_diffusers_tells_step_total_loss_rate_and_pace() -> None:
    """The bars of loading and of drawing samples stand in the same log, one of them at 100 %."""
    steps, curve = told(LOGS / "diffusers.log")

    assert steps[-1] == (12, 0.0833)
    assert {step for step, _ in steps} <= set(range(1, 13))
    assert curve.total == 12
    assert curve.found == "its progress bar shows step_loss"
    last = parse_bar(bar("Steps", 60, 500, "lr=1e-05, step_loss=0.121"))
    assert last is not None
    assert (last.said.lr, last.said.it_per_s) == (1e-05, 1.45)


def test_the_bar_of_sd_scripts_is_followed_under_its_own_name() -> None:
    """Its loss is a running mean; whoever compares it must be able to see that."""
    steps, curve = told(LOGS / "sdscripts.log")

    assert steps[-1] == (10, 0.1)
    assert curve.total == 10
    assert curve.found is not None
    assert "avr_loss" in curve.found


def test_the_trainer_of_transformers_gets_the_step_of_the_bar_behind_its_line() -> None:
    """Its lines have no step; the mean over the run at its end is no loss of a step."""
    steps, curve = told(LOGS / "transformers.log")

    assert steps == [(5, 1.275), (10, 1.53), (15, 1.402), (20, 1.402)]
    assert curve.total == 20


def test_the_bar_of_lightning_begins_anew_each_epoch_and_the_steps_go_on() -> None:
    content = (LOGS / "lightning.log").read_bytes()
    # Read at every redraw, as a slow trainer is.
    cuts = [at for at in range(len(content)) if content[at : at + 1] == b"\r"]
    found = fed_copy(LOGS / "lightning.log", cuts)

    assert [each.step for each in found] == list(range(1, 16))
    assert told(LOGS / "lightning.log")[0][-1] == (15, 0.067)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("plain", [(10, 0.4182), (20, 0.3907), (30, 0.3555), (40, math.nan)]),
        ("json", [(1, 0.5), (2, 0.25), (3, math.nan), (4, 0.125)]),
    ],
)
def test_lines_of_their_own_are_all_read(name: str, wanted: list[tuple[int, float]]) -> None:
    """Also one whose loss is not a number: that is the one a person waits for."""
    steps, _ = told(LOGS / f"{name}.log")

    assert [step for step, _ in steps] == [step for step, _ in wanted]
    assert [loss for _, loss in steps] == pytest.approx([loss for _, loss in wanted], nan_ok=True)


@pytest.mark.parametrize("name", ["diffusers", "sdscripts", "transformers", "plain", "json"])
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_where_a_log_is_cut_between_two_reads_makes_no_step_wrong(
    name: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A bar half written, a line without its end, a dictionary without the bar behind it."""
    copy = tmp_path_factory.mktemp("log") / f"{name}.log"
    copy.write_bytes((LOGS / copy.name).read_bytes())
    size = copy.stat().st_size
    cuts = data.draw(st.lists(st.integers(0, size), max_size=12))
    # Every drawing and every line, each by itself, is all that was ever printed.
    printed = {
        (each.done, str(each.said.loss))
        for piece in copy.read_text("utf-8").replace("\n", "\r").split("\r")
        if (each := parse_bar(piece)) is not None
    }
    whole, _ = told(copy)

    found = [(each.step, str(each.loss)) for each in fed(copy, cuts, Curve())]

    steps = [step for step, _ in found]
    assert steps == sorted(set(steps))
    lines = {(step, str(loss)) for step, loss in whole}
    assert set(found) <= printed | lines
    assert found[-1][0] == whole[-1][0]
    if name in {"transformers", "plain", "json"}:
        assert len(found) == len(whole), "a line of its own was lost"


def test_a_bar_that_no_one_can_place_is_not_guessed(tmp_path: Path) -> None:
    """Without the number of the epoch a bar that starts over says nothing of the run."""
    log = tmp_path / "train.log"
    log.write_text(bar("train loop", 3, 10, "loss=0.5"), newline="")
    curve, tail = Curve(), Tail(log)
    found = list(read(tail, curve, final=False))
    with log.open("a", newline="") as file:
        file.write(bar("train loop", 1, 10, "loss=0.4"))
    found += list(read(tail, curve))

    assert [each.step for each in found] == [3]
    assert curve.trouble == STARTS_OVER


def test_a_bar_of_the_whole_run_may_name_its_epoch(tmp_path: Path) -> None:
    """Taken for one that begins anew each epoch, step 7 of 20 would be shown as step 27."""
    log, curve = tmp_path / "train.log", Curve()
    log.write_text("")
    tail, found = Tail(log), []
    for n, epoch, at in [(3, 1, "00:03"), (7, 2, "00:07"), (9, 2, "00:09")]:
        with log.open("a", newline="") as file:
            file.write(bar(f"Epoch {epoch}/2", n, 20, "loss=0.5", at))
        found += list(read(tail, curve, final=False))

    assert [each.step for each in found] == [3, 7, 9]
    assert curve.total == 20


def test_bars_by_epoch_count_on_and_tell_the_total(tmp_path: Path) -> None:
    log, curve = tmp_path / "train.log", Curve()
    log.write_text("")
    tail, found = Tail(log), []
    for epoch in (1, 2):
        for n in (2, 5):
            with log.open("a", newline="") as file:
                file.write(bar(f"Epoch {epoch}/4", n, 5, "loss=0.5", f"00:0{n}"))
            found += list(read(tail, curve, final=False))

    assert [each.step for each in found] == [2, 5, 7, 10]
    assert curve.total == 20


def test_lines_that_count_anew_each_epoch_are_not_mixed_into_one_curve(tmp_path: Path) -> None:
    """Nor are ranks that lag behind the first one taken for a new epoch."""
    lag = "".join(f"[rank{rank}] step={n} loss=0.5\n" for n in range(2, 99) for rank in range(8))
    steps, curve = told(tmp_path / "lag", lag.replace("[rank0] step=50", "[rank0] step=51"))
    assert len(steps) == 96  # 50 came too late
    assert curve.trouble is None

    epochs = "".join(f"step={n} loss=0.5\n" for _ in range(2) for n in range(1, 40))
    steps, curve = told(tmp_path / "epochs", epochs + "step=41 loss=0.5\n")
    assert [step for step, _ in steps] == list(range(1, 40))
    assert curve.trouble == STARTS_OVER


def by_epoch(epochs: int, length: int, every: int, words: str, *, first: int = 1) -> str:
    """Return what a plain loop prints."""
    return "".join(
        words.format(e=epoch + first, n=epochs, s=step, t=length) + ", Loss: 0.5000\n"
        for epoch in range(epochs)
        for step in range(every, length + 1, every)
    )


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("length", [30, 1500])
@pytest.mark.parametrize(
    "words",
    ["Epoch [{e}/{n}], Step [{s}/{t}]", "epoch {e} of {n} | step {s:,}/{t:,}",
     "Epoch {e} it 1 iter {s}/{t}"],
)  # fmt: skip
def test_steps_that_begin_anew_in_each_epoch_are_counted_on(
    words: str, length: int, first: int, tmp_path: Path
) -> None:
    """The commonest loop of PyTorch: 30 of 30 after one of three epochs looks like the end."""
    every = length // 6
    text = by_epoch(3, length, every, words, first=first)

    steps, curve = told(tmp_path / "log", text)

    assert [step for step, _ in steps] == list(range(every, 3 * length + 1, every))
    assert curve.total == (3 * length if "{n}" in words else None)
    assert curve.trouble is None


@pytest.mark.parametrize("words", ["Epoch [{e}/{n}], Step [{s}/{t}]", "Epoch {e} step {s}/{t}"])
def test_steps_of_the_run_beside_an_epoch_stay_what_they_are(words: str, tmp_path: Path) -> None:
    """Taken for those of an epoch, step 31 of 90 would be shown as step 121 of 270."""
    lines = [
        words.format(e=(step - 1) // 30 + 1, n=3, s=step, t=90) + " loss=0.5\n"
        for step in range(1, 91)
    ]
    for late in (35, 70):  # a rank that is behind
        lines.insert(late, lines[late - 20])

    steps, curve = told(tmp_path / "log", "".join(lines))

    assert [step for step, _ in steps] == list(range(1, 91))
    assert curve.total == 90


def test_a_log_that_begins_in_a_later_epoch_is_not_guessed(tmp_path: Path) -> None:
    """Whether its first one was 0 or 1 is a whole epoch of difference."""
    words = "Epoch {e}, Step [{s}/{t}]"
    steps, curve = told(tmp_path / "log", by_epoch(3, 30, 5, words, first=7))

    assert steps == []
    assert curve.trouble == STARTS_OVER


def test_an_epoch_that_is_half_over_stands_beside_steps_of_the_run(tmp_path: Path) -> None:
    text = "".join(
        f'{{"step": {n}, "loss": 0.5, "epoch": {n / 4}, "total_steps": 12}}\n' for n in range(1, 13)
    )
    steps, curve = told(tmp_path / "log", text)

    assert [step for step, _ in steps] == list(range(1, 13))
    assert curve.total == 12


@pytest.mark.parametrize(
    ("text", "wanted", "total"),
    [
        ("step 1,000/15,000 loss 0.25\n", (1000, 0.25), 15000),
        ("step=1,000,loss=0.25\n", (1000, 0.25), None),
        ("step 999/1,000,000 loss: 1,234.5\n", (999, 1234.5), 1_000_000),
        ("{'step': '2,500', 'loss': '0.25'}\n", (2500, 0.25), None),
        ("epoch: 1 step: 20, loss is 0.25\n", (20, 0.25), None),
        ("\r1|20|Loss: 0.25: 40%|##  | 20/50 [00:01<00:02, 12.0it/s]", (20, 0.25), None),
        ("\rEpoch 0: |          | 5/? [00:00<?, 48.0it/s, v_num=0, train_loss=0.25]",
         (5, 0.25), None),
        ("\rEpoch 1 loss=0.25: 40%|##  | 20/50 [00:01<00:02, 12.0it/s]", (20, 0.25), None),
    ],
)  # fmt: skip
def test_what_other_trainers_print_is_understood(
    text: str, wanted: tuple[int, float], total: int | None, tmp_path: Path
) -> None:
    """A thousand with a comma was read as 1; the others made no curve and no warning."""
    steps, curve = told(tmp_path / "log", text)

    assert steps == [wanted]
    assert curve.total == total


def test_the_bar_of_torchtune_is_followed_through_its_epochs(tmp_path: Path) -> None:
    """Its description holds the loss, and its bar begins anew; the step in it goes on."""
    drawn = [
        f"\r{(n - 1) // 3 + 1}|{n}|Loss: {2.5 / n}: {n}%|# "
        f" | {(n - 1) % 3 + 1}/3 [00:01<00:02, 1.5it/s]"
        for n in range(1, 7)
    ]
    (tmp_path / "log").write_text("".join(drawn), newline="")
    cuts = [len("".join(drawn[:n]).encode()) for n in range(1, 6)]

    found = fed(tmp_path / "log", cuts, Curve())

    assert [(each.step, each.loss, each.total) for each in found] == [
        (n, 2.5 / n, None) for n in range(1, 7)
    ]


def test_lightning_that_learns_its_length_after_the_first_epoch_is_followed(
    tmp_path: Path,
) -> None:
    """Of a stream nobody knows the length before its end, and of some not even then."""
    words = "v_num=0, train_loss=0.5"

    def unknown(epoch: int, n: int) -> str:
        return f"\rEpoch {epoch}: |      | {n}/? [00:0{n}<?, 4.0it/s, {words}]"

    def steps(*drawn: str) -> tuple[list[int | None], Curve]:
        path, curve = tmp_path / "train.log", Curve()
        path.write_text("".join(drawn), newline="")
        return [each.step for each in fed(path, list(accumulate(map(len, drawn))), curve)], curve

    first = [unknown(0, 1), unknown(0, 5)]
    known = [bar("Epoch 1", n, 5, words, f"00:0{n}") for n in (1, 5)]
    assert steps(*first, *known)[0] == [1, 5, 6, 10]
    found, curve = steps(*first, unknown(1, 1), unknown(1, 5))
    assert found == [1, 5]
    assert curve.trouble == STARTS_OVER


def test_a_bar_of_images_says_why_it_makes_no_curve(tmp_path: Path) -> None:
    text = "\rtrain: 50%|##| 30/90 [00:00<00:01, 12.0img/s, loss=1]"
    steps, curve = told(tmp_path / "log", text)

    assert steps == []
    assert curve.trouble is not None
    assert "counts img and not steps" in curve.trouble


def test_a_trainer_of_transformers_without_its_bar_is_told_how_to_have_it(tmp_path: Path) -> None:
    """That its lines have no steps is not in its user's hands; these two settings are."""
    line = "{'loss': 0.5, 'grad_norm': 1.1, 'learning_rate': 4e-05, 'epoch': 0.5}\n"
    _, curve = told(tmp_path / "log", 2 * line)

    assert curve.trouble == NO_STEPS_OF_TRANSFORMERS
    assert "disable_tqdm=False" in curve.trouble
    assert 'report_to="tensorboard"' in curve.trouble


def test_losses_without_a_step_are_no_curve_and_say_so(tmp_path: Path) -> None:
    steps, curve = told(tmp_path / "log", "{'loss': 0.5}\n{'loss': 0.4}\nloss: 0.3\n")

    assert steps == []
    assert curve.trouble == NO_STEPS


def test_lines_go_before_bars_and_one_name_is_followed(tmp_path: Path) -> None:
    """A bar rounds its mean; a line has the loss of the step. Mixed, the curve would jump."""
    content = bar("Steps", 1, 9, "avr_loss=0.9") + "\n"
    content += "step=2 loss=0.25\n" + bar("Steps", 3, 9, "avr_loss=0.8") + "\nstep=4 loss=0.125\n"
    steps, _ = told(tmp_path / "log", content)

    assert steps == [(1, 0.9), (2, 0.25), (4, 0.125)]


def test_what_is_printed_into_a_bar_is_read_too(tmp_path: Path) -> None:
    """``print`` inside a loop with tqdm ends up behind the bar, on its line."""
    content = bar("Steps", 3, 9, "lr=1e-05") + "step=3 loss=0.5\r\n"
    steps, _ = told(tmp_path / "log", content + bar("Steps", 4, 9, "lr=1e-05") + "step 4 loss 0.4")

    assert steps == [(3, 0.5), (4, 0.4)]


@pytest.mark.parametrize(
    "text",
    [
        bar("Validation", 3, 9, "loss=0.5"),
        "\r 50%|#####     | 25/50 [00:01<00:01, 24.5it/s]",  # a pipeline drawing a sample
        "\rDownloading: 50%|##| 3/9 [00:00<00:01, 12.0MB/s, loss=1]",
        "\rtrain: 50%|##| 30/90 [00:00<00:01, 12.0img/s, loss=1]",  # 30 images, not steps
        "\rSteps: 50%|##| 1.2k/5k [00:00<00:01, 12.0it/s, loss=1]",  # 1,150 or 1,249?
        "step=3 val_loss=0.5\n",
        "step=3.5 loss=0.5\n",
        "step=-3 loss=0.5\n",
        "step=3 loss_scale=65536\n",
        "{'train_runtime': 3.1, 'train_loss': 0.5, 'step': 9}\n",
        "saved step-500, loss of quality: 3\n",
    ],
)
def test_what_is_no_step_of_training_adds_none(tmp_path: Path, text: str) -> None:
    """One wrong number at the right edge of a chart, and nobody believes the next one."""
    steps, _ = told(tmp_path / "log", text)

    assert steps == []

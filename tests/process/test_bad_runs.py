"""Runs that go wrong on their way: what is said, which code, what is kept, what is left."""

import json
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from sdcore.runs.files import read_json
from support.commands import Console, on_small_disk, write_task
from support.fake_runs import until

DEAF = "trap '' TERM; echo up > $OUTPUT_DIR/up; while :; do sleep 0.1; done"


@pytest.fixture
def task(tmp_path: Path, data: Path, model: Path) -> Path:
    """A tiny training of two steps with a checkpoint after each."""
    return write_task(tmp_path, mounts={"/mnt/dataset": data, "/mnt/model": model})


@pytest.mark.parametrize(
    ("order", "code", "cause", "words"),
    [
        (
            "raise@step=2", 1, "error",
            ("RuntimeError: injected fault", "| RuntimeError: injected fault", "strike"),
        ),
        # Slow, so that the checkpoint of step 1 is on the disk by then.
        ("slow@seconds=1;kill@step=2", 1, "signal", ("rank 0 was ended by SIGKILL at step 1",)),
        (
            "oom@step=2", 5, "out_of_memory",
            ("memory was full: CUDA out of memory", "train_batch_size 2 -> 1",
             "gradient_accumulation_steps 1 -> 2", "gradient_checkpointing"),
        ),
        (
            "nan@step=2", 6, "non_finite",
            ("the loss is not finite at step 2", "0003.png", "lower learning_rate"),
        ),
    ],
)  # fmt: skip
def test_a_trainer_that_fails_says_why_and_keeps_its_checkpoint(
    sdtui: Console, task: Path, order: str, code: int, cause: str, words: tuple[str, ...]
) -> None:
    """The launcher returns 1 for each of these, and ends with a traceback of its own."""
    answer = sdtui("--run", task, env=sdtui.fault(order))
    [run] = sdtui.runs()
    answer.says("failed after", "at step 1/2", *words, f"sdtui resume {run.id}", str(run.log))
    assert "accelerate" not in answer.err
    assert (answer.code, answer.out) == (code, "")
    sdtui.nothing_left()
    record = sdtui.record()
    assert (record["state"], record["exit_code"], record["cause"]) == ("failed", code, cause)
    assert record["last_step"] == 1
    assert record["checkpoint"] == "output/checkpoints/step-1"
    assert (run.checkpoints / "step-1" / "manifest.json").is_file()
    assert record["pipeline"] is None
    assert sdtui("wait").code == code


def test_images_without_a_row_are_counted_and_named_and_training_goes_on(
    sdtui: Console, tmp_path: Path, data: Path, model: Path
) -> None:
    """They are often left over; silence would hide a metadata file that lost its end."""
    own = tmp_path / "own"
    shutil.copytree(data, own)
    for name in ("left.png", "over.png"):
        shutil.copy(data / "0000.png", own / name)
    task = write_task(tmp_path, mounts={"/mnt/dataset": own, "/mnt/model": model})
    answer = sdtui("--run", task)
    [run] = sdtui.runs()
    answer.says("warning: 2 images without a caption", "left out of the training: left.png, over")
    answer.says("data: 4 images", "done after")
    assert (answer.code, answer.out) == (0, f"{run.pipeline}\n")
    sdtui.nothing_left()


def test_a_disk_that_fills_up_pauses_a_run_until_there_is_room(task: Path, tmp_path: Path) -> None:
    """One checkpoint of 0.4 MB fits beside what others left there; the second does not."""
    small, kept = tmp_path / "small", tmp_path / "kept"
    others = 'head -c 1200k /dev/zero > "$SMALL/others"; '
    cleaned = (
        '(until grep -qs "\\"paused\\"" "$SDTUI_HOME"/runs/*/events.jsonl; do sleep 0.2; done; '
        'rm "$SMALL/others") & '
    )
    # What lies on the small disk goes with the command: keep a copy.
    copying = '"$@"; code=$?; cp -r "$SDTUI_HOME/runs" "$KEPT"; exit $code'
    script = others + cleaned + copying
    before = [*on_small_disk(small, "size=2000k"), "sh", "-c", script, "sh"]
    sdtui = Console(small / "home")
    environment = {"KEPT": str(kept), "SMALL": str(small)}
    answer = sdtui("--run", task, before=before, env=environment)
    answer.says("paused", "training waits for room", "checkpoint of step 2 saved")
    assert answer.code == 0
    sdtui.nothing_left()
    [run] = kept.glob("*-bad")
    assert (run / "output/checkpoint/model_index.json").is_file()
    names = {each.name for each in (run / "output/checkpoints").iterdir()}
    assert names == {"step-1", "step-2"}
    assert json.loads((run / "exit.json").read_text())["state"] == "done"


def test_a_command_deaf_to_sigterm_is_killed_when_its_grace_is_over(
    sdtui: Console, tmp_path: Path
) -> None:
    """And a running run is not removed: its files would vanish below it."""
    run_id = sdtui("--run", write_task(tmp_path, command=DEAF), "--detach").out.strip()
    [run] = sdtui.runs()
    until(run.output / "up")
    answer = sdtui("rm", "--yes", run_id)
    answer.says("is not removed", "the run is alive", f"sdtui stop {run_id}")
    assert answer.code == 2
    assert run.task.exists()
    assert sdtui("ls").out.splitlines()[1].startswith("● running")

    answer = sdtui("stop", run_id, "--grace", "0.5")
    answer.says("SIGTERM is sent; SIGKILL in ", "stopped by sdtui stop, without saving")
    assert answer.code == 0
    sdtui.nothing_left()
    record = sdtui.record()
    assert (record["state"], record["exit_code"], record["signal"]) == ("stopped", 143, 9)
    assert sdtui("wait").code == 143
    assert sdtui("rm", "--yes", run_id).code == 0
    assert sdtui.runs() == []


def _read_until(process: subprocess.Popen[str], words: str) -> str:
    assert process.stderr is not None
    text = ""
    for line in process.stderr:
        text += line
        if words in line:
            return text
    raise AssertionError(f"{words!r} did not come:\n{text}")


def test_three_times_ctrl_c_ends_a_command_deaf_to_sigterm(sdtui: Console, tmp_path: Path) -> None:
    """Nobody promises that a program of the user's own saves: only that it ends."""
    process = sdtui.start("--run", write_task(tmp_path, command=DEAF))
    assert "saves" not in _read_until(process, "running")
    [run] = sdtui.runs()
    until(run.output / "up")
    for words in ("stopping: SIGTERM is sent, and", "once more sends SIGKILL", "SIGKILL now"):
        process.send_signal(signal.SIGINT)
        _read_until(process, words)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "stopped by SIGINT, without saving" in err
    sdtui.nothing_left()
    assert (read_json(run.exit) or {})["signal"] == signal.SIGKILL


def test_ctrl_c_again_ends_a_training_that_hangs(sdtui: Console, task: Path) -> None:
    """The first asks for a save, which never comes; those after it must not wait 300 s."""
    process = sdtui.start("--run", task, env=sdtui.fault("slow@seconds=600"))
    _read_until(process, "plan: 2 steps")
    for words in ("finishes its step and saves", "SIGTERM now", "SIGKILL now"):
        process.send_signal(signal.SIGINT)
        _read_until(process, words)
    process.communicate(timeout=30)
    assert process.returncode == 130
    sdtui.nothing_left()

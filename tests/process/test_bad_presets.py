"""Presets, data, models and hosts that cannot train: told before anything starts."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from support.commands import Console, on_small_disk, write_task
from support.nvml import FakeGpus, fake_gpus, gpu, nvml_library

__all__ = ["fake_gpus", "nvml_library"]

DATASET, MODEL = "/mnt/dataset", "/mnt/model"
Change = Callable[[Path], object]


@pytest.fixture
def task(tmp_path: Path, data: Path, model: Path) -> Path:
    """A preset that could train."""
    return write_task(tmp_path, mounts={DATASET: data, MODEL: model})


def contents(folder: Path) -> dict[str, str]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def refused(sdtui: Console, code: int, *words: str, arguments: tuple[object, ...]) -> str:
    """Assert that ``--run`` returns ``code``, says ``words`` and starts nothing at all."""
    answer = sdtui("--run", *arguments)
    answer.says("cause:", "remedy:", *words)
    assert (answer.code, answer.out) == (code, "")
    assert sdtui.runs() == []
    sdtui.nothing_left()
    return answer.err


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("resolutoin = 512", ("task.toml:17: train.resolutoin", "did you mean resolution?")),
        (
            'use_ema = "yes please"',
            ("task.toml:17: train.use_ema", "valid boolean", "write true or false"),
        ),
        ("learning_rate = -1.0", ("task.toml:17: train.learning_rate", "greater than 0")),
        ("= 5", ("task.toml is not valid TOML", "line 17", "mend that line")),
    ],
    ids=["unknown-key", "wrong-type", "out-of-range", "no-toml"],
)
def test_a_wrong_line_is_named_with_its_number(
    sdtui: Console, task: Path, wrong: str, words: tuple[str, ...]
) -> None:
    """A misspelt key that is passed over trains for hours on a default."""
    with task.open("a") as file:
        file.write(f"{wrong}\n")
    refused(sdtui, 2, *words, arguments=(task,))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--set", "train.resolution=33"], ("multiple of 8 (it is 33)", "write 32 (px)")),
        (["--name", "../escape"], ("'../escape' cannot name a run", "choose another name")),
        (["--name", "a\x1b[2Jb"], (r"'a\x1b[2Jb' cannot name a run", "choose another name")),
        (["--name", "last"], ("the name 'last' cannot be used", "it stands for the newest run")),
        (["--set", 'name="x\\ny"'], (r"'x\ny' cannot name a run",)),
    ],
    ids=["resolution", "dots", "escape", "last", "newline"],
)
def test_a_wrong_wish_is_told_with_what_would_be_right(
    sdtui: Console, task: Path, tmp_path: Path, arguments: list[str], words: tuple[str, ...]
) -> None:
    """A name becomes a folder and is shown on terminals: it must not leave or steer them."""
    before = contents(tmp_path)
    refused(sdtui, 2, *words, arguments=(task, *arguments))
    assert contents(tmp_path) == before


@pytest.mark.parametrize("name", ["../../escape", "a\u001b[31mb", ".hidden", ""])
def test_a_preset_cannot_name_its_run_out_of_the_folder(
    sdtui: Console, tmp_path: Path, name: str
) -> None:
    """Presets are passed around; one must not write where it likes."""
    task = write_task(tmp_path, name=name, command="true")
    refused(sdtui, 2, "cannot name a run", "choose another name", arguments=(task,))


def _row(folder: Path, row: object) -> None:
    with (folder / "metadata.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")


def _empty(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (shutil.rmtree, ("/mnt/dataset cannot be made", "there is no such folder", "correct the")),
        (
            lambda folder: (folder / "metadata.jsonl").rename(folder / "labels.jsonl"),
            ("4 images but no captions", "no metadata.jsonl", "rename labels.jsonl"),
        ),
        (
            lambda folder: _row(folder, {"file_name": "0009.png", "text": "gone"}),
            ("1 image that is not there", "0009.png (line 5)", "copy the images there"),
        ),
        (
            lambda folder: (folder / "0001.png").write_bytes(b"\x89PNG\r\n\x1a\n no more"),
            ("1 image cannot be used", "0001.png: ", 'train.on_bad_image = "skip"'),
        ),
        (
            lambda folder: _row(folder, {"file_name": "0003.png", "text": ["a", "b"]}),
            ("mix strings and lists", "a string in line 1 and a list in line 5", "write every"),
        ),
        (_empty, ("holds no images", "the folder is empty", "name a folder with")),
        (
            lambda folder: (folder / "metadata.jsonl").write_text(""),
            ("describes no image", "has no rows", "one line per image"),
        ),
    ],
    ids=["missing", "no-metadata", "row-without-file", "corrupt", "mixed-captions", "empty",
         "no-rows"],
)  # fmt: skip
def test_data_that_cannot_be_trained_on_is_told_before_the_start(
    sdtui: Console, tmp_path: Path, data: Path, model: Path, change: Change, words: tuple[str, ...]
) -> None:
    """Found by the trainer, each would cost the wait for a GPU and the loading of the model."""
    folder = tmp_path / "own"
    shutil.copytree(data, folder)
    change(folder)
    before = contents(tmp_path)
    task = write_task(tmp_path, mounts={DATASET: folder, MODEL: model})
    refused(sdtui, 3, str(folder) if "0001.png: " not in words else "", *words, arguments=(task,))
    task.unlink()
    assert contents(tmp_path) == before


def test_a_folder_that_is_no_pipeline_is_told_before_the_start(
    sdtui: Console, tmp_path: Path, data: Path
) -> None:
    task = write_task(tmp_path, mounts={DATASET: data, MODEL: data})
    words = (f"{data} is not a pipeline folder", "no model_index.json", "give the folder")
    refused(sdtui, 3, *words, arguments=(task,))


def test_fp16_on_a_cpu_is_refused_with_what_works_instead(sdtui: Console, task: Path) -> None:
    """It would fail after the model is loaded; `--set` is one line away."""
    words = ("cannot run on a CPU", "gpu.count is 0", "--set train.mixed_precision=no")
    refused(sdtui, 3, *words, arguments=(task, "--set", "train.mixed_precision=fp16"))


def test_more_gpus_than_there_are_would_wait_for_ever(
    sdtui: Console, task: Path, fake_gpus: Callable[..., FakeGpus], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("the task wants 3 GPUs", "this host has no GPU", "--set gpu.count=0")
    wants = (task, "--set", "gpu.count=3")
    refused(sdtui, 3, *words, arguments=wants)
    for variable, value in fake_gpus(gpu("GPU-a"), gpu("GPU-b")).env.items():
        monkeypatch.setenv(variable, value)
    words = ("the task wants 3 GPUs", "this host has 2 GPUs", "--set gpu.count=2")
    refused(sdtui, 3, *words, arguments=wants)


def test_no_room_for_one_checkpoint_is_told_before_the_start(
    sdtui: Console, task: Path, tmp_path: Path
) -> None:
    """Told at the first save, it has cost the steps up to there."""
    small = on_small_disk(tmp_path / "small", "size=100k")
    answer = sdtui("--run", task, before=small, env={"SDTUI_HOME": str(tmp_path / "small/home")})
    words = ("there is no room for one checkpoint", "100 KiB are free", "set SDTUI_HOME to")
    answer.says(*words)
    assert (answer.code, answer.out) == (3, "")


@pytest.mark.parametrize("kind", ["read-only", "file"])
def test_an_output_that_cannot_be_written_is_told_before_the_start(
    sdtui: Console, task: Path, tmp_path: Path, kind: str
) -> None:
    if kind == "file":
        before, home = None, task / "home"
        words = (f"{task} is a file",)
    else:
        before, home = on_small_disk(tmp_path / "small", "ro"), tmp_path / "small/home"
        words = (f"you may not write to {tmp_path / 'small'}",)
    answer = sdtui("--run", task, before=before, env={"SDTUI_HOME": str(home)})
    answer.says("cannot be made", *words, "set SDTUI_HOME to a folder of yours")
    assert (answer.code, answer.out) == (3, "")


def test_a_start_command_that_does_not_exist_is_told_at_once(
    sdtui: Console, tmp_path: Path
) -> None:
    """The second is bash's to find: the run that was made says so, and its log is kept."""
    task = write_task(tmp_path, command="no-such-trainer --fast")
    words = ("the start command 'no-such-trainer' does not exist", "no program on PATH")
    refused(sdtui, 3, *words, arguments=(task, "--detach"))
    answer = sdtui("--run", write_task(tmp_path, command="/no/such/trainer --fast"), "--detach")
    answer.says("could not be started", "/no/such/trainer: No such file", "correct `command`")
    assert (answer.code, answer.out) == (3, "")
    sdtui.nothing_left()
    record = sdtui.record()
    assert (record["state"], record["exit_code"], record["cause"]) == ("failed", 3, "launch")
    [run] = sdtui.runs()
    assert "No such file" in run.log.read_text()
    assert sdtui("wait").code == 3

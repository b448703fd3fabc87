"""The ``[metrics]`` table: what makes no sense is refused when the task is read."""

import tomllib
from pathlib import Path

import pytest

from sdcore.launch.planner import plan_launch
from sdcore.runs.paths import RunDir
from sdcore.task.presets import load_preset
from sdcore.task.problems import PresetError
from sdcore.task.spec import TaskSpec
from sdcore.task.writing import dump_preset

PATTERN = r"it (?P<step>\d+) L=(?P<loss>\S+)"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[metrics]\nsource = 'log'", "the built-in trainer writes its metrics itself"),
        ("command = 'x'\n[metrics]\nsource = 'stdout'", "log"),
        ("command = 'x'\n[metrics]\npatern = 'x'", "did you mean pattern?"),
        (f"command = 'x'\n[metrics]\nsource = 'none'\npattern = '{PATTERN}'", "lines of the log"),
        ("command = 'x'\n[metrics]\npattern = '(?P<step>'", "not a regular expression"),
        ("command = 'x'\n[metrics]\npattern = '(a+)+(?P<step>1)(?P<loss>2)'", "can take for ever"),
        ("command = 'x'\n[metrics]\npattern = 'step (?P<step>1)'", "names no loss"),
    ],
)
def test_metrics_that_make_no_sense_are_refused_in_words(
    tmp_path: Path, text: str, words: str
) -> None:
    """Else the curve of a training that takes days is empty, and nobody is told why."""
    preset = tmp_path / "t.toml"
    preset.write_text(text)

    with pytest.raises(PresetError) as caught:
        load_preset(preset)

    assert words in str(caught.value)
    assert "t.toml:" in str(caught.value)


def test_metrics_go_into_the_record_of_the_task_and_to_the_supervisor() -> None:
    """A resume reads the task from its record; without the pattern it would find nothing."""
    task = TaskSpec(command="true", metrics={"source": "log", "pattern": PATTERN})

    again = TaskSpec.model_validate(tomllib.loads(dump_preset(task, resolved=True)))
    plan = plan_launch(again, RunDir(Path("/runs/20260101-000000-x")))

    assert again == task
    assert (plan.metrics_source, plan.metrics_pattern) == ("log", PATTERN)


def test_the_environment_can_say_where_to_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    preset = tmp_path / "t.toml"
    preset.write_text("command = 'true'")
    monkeypatch.setenv("SDTUI_METRICS__SOURCE", "tensorboard")

    assert load_preset(preset).task.metrics.source == "tensorboard"

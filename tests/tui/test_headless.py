import json
import re
from pathlib import Path

import pytest

from sdcore.runs.paths import runs_root
from sdcore.runs.store import all_runs
from sdtui.stream import MESSAGES
from support.fake_runs import sdtui, until

PRESET = """\
name = "shell"
command = "{command}"

[gpu]
count = 0

[env]
WANDB_API_KEY = "0123456789abcdef"
"""


@pytest.fixture
def preset(tmp_path: Path) -> Path:
    """A task that is over at once and needs neither data nor model."""
    path = tmp_path / "shell.toml"
    path.write_text(PRESET.format(command="echo trained; echo key $WANDB_API_KEY"))
    return path


def test_a_run_from_start_to_end(preset: Path) -> None:
    """The words on stderr say how to come back; the secret stands nowhere."""
    run = sdtui("--run", str(preset), "--name", "named", "--env", "lr=1e-4")
    (made,) = all_runs()
    assert run.returncode == 0, run.stderr
    assert made.name == "named"
    assert f"sdtui attach {made.id}" in run.stderr
    assert "done after" in run.stderr
    assert sdtui("logs").stdout == "trained\nkey ***\n"
    for command in (["show"], ["show", "--json"], ["ls", "--json"], ["attach", "--json"]):
        assert "0123456789abcdef" not in sdtui(*command).stdout


def test_the_output_of_a_start_command_is_shown_as_it_comes(preset: Path) -> None:
    """It writes no metrics: without its own lines there is nothing to see until its end."""
    first = sdtui(
        "--run", str(preset), "--set", "command=echo $SDTUI_ATTEMPT. $WANDB_API_KEY; false"
    )
    assert re.search(r"^[\d:]{8}  1\. \*\*\*$", first.stderr, re.MULTILINE), first.stderr
    again = sdtui("resume", "last")
    assert re.search(r"^[\d:]{8}  2\. \*\*\*$", again.stderr, re.MULTILINE), again.stderr
    assert "  1. " not in again.stderr
    assert "1. ***" in sdtui("attach").stderr


def test_detach_prints_the_id_alone_and_wait_gets_the_code(tmp_path: Path) -> None:
    """``id=$(sdtui --run … --detach)``."""
    preset = tmp_path / "p.toml"
    preset.write_text(PRESET.format(command="exit 3"))
    run = sdtui("--run", str(preset), "--detach")
    (made,) = all_runs()
    assert (run.returncode, run.stdout) == (0, f"{made.id}\n")
    assert sdtui("wait", run.stdout.strip()).returncode == 1
    assert json.loads(made.exit.read_text())["code"] == 3


def test_a_run_that_is_over_is_resumed_and_removed(preset: Path) -> None:
    assert sdtui("--run", str(preset), "--json").returncode == 0
    refused = sdtui("resume", "last")
    assert (refused.returncode, "nothing left to do" in refused.stderr) == (2, True)
    again = sdtui("resume", "last", "--json", "--env", "A=1")
    assert again.returncode == 0, again.stderr
    messages = [MESSAGES.validate_json(line) for line in again.stdout.splitlines()]
    assert (messages[-1].type, messages[-1].attempt) == ("exit", 2)
    unasked = sdtui("rm", "last")
    assert (unasked.returncode, "add --yes" in unasked.stderr) == (2, True)
    assert sdtui("rm", "--yes", "last").returncode == 0
    assert all_runs() == []


def test_a_dry_run_shows_the_command_and_makes_nothing(preset: Path) -> None:
    run = sdtui("--run", str(preset), "--dry-run")
    assert run.returncode == 0, run.stderr
    assert "bash -c 'echo trained" in run.stdout
    assert "0123456789abcdef" not in run.stdout
    record = json.loads(sdtui("--run", str(preset), "-n", "--json").stdout)
    assert record["ok"]
    assert record["launch"]["env"]["WANDB_API_KEY"] == "***"
    assert not runs_root().exists()


def test_all_that_is_wrong_is_told_at_once_and_nothing_starts(preset: Path) -> None:
    """Finding one fault per attempt costs a queue's wait each time."""
    wrong = ["--set", "gpu.count=64", "--set", "command=no-such-program-here"]
    run = sdtui("--run", str(preset), *wrong)
    assert run.returncode == 3
    assert "the task wants 64 GPUs" in run.stderr
    assert "'no-such-program-here' does not exist" in run.stderr
    checked = sdtui("check", str(preset), *wrong, "--json")
    assert checked.returncode == 3
    assert len(json.loads(checked.stdout)["findings"]) == 2
    told = sdtui("--run", str(preset), *wrong, "--json")
    findings = [MESSAGES.validate_json(line) for line in told.stdout.splitlines()]
    assert [finding.level for finding in findings] == ["error", "error"]
    assert not runs_root().exists()


def test_a_wrong_preset_returns_2_without_a_traceback(tmp_path: Path) -> None:
    path = tmp_path / "p.toml"
    path.write_text('name = "x"\n[train]\nresolutoin = 512\nuse_ema = "yes please"\n')
    run = sdtui("--run", str(path))
    assert run.returncode == 2
    assert "resolution" in run.stderr
    assert "p.toml:3" in run.stderr
    assert "p.toml:4" in run.stderr
    assert "Traceback" not in run.stderr
    assert sdtui("check", str(tmp_path / "none.toml")).returncode == 2


def test_stop_ends_a_start_command_of_the_users_own(tmp_path: Path) -> None:
    preset = tmp_path / "p.toml"
    preset.write_text(PRESET.format(command="touch $OUTPUT_DIR/up; exec sleep 600"))
    assert sdtui("--run", str(preset), "--detach").returncode == 0
    (made,) = all_runs()
    until(made.output / "up")
    assert sdtui("ls").stdout.splitlines()[1].startswith("● running")
    assert sdtui("rm", "--yes", "last").returncode == 2
    stopped = sdtui("stop", "last", "--grace", "1")
    assert stopped.returncode == 0
    assert sdtui("wait").returncode == 143
    assert "stopped after" in stopped.stderr


@pytest.mark.parametrize("which", ["preset", "events"])
def test_schemas_and_presets_are_data(which: str) -> None:
    assert json.loads(sdtui("schema", which).stdout)["$schema"]
    assert {"name", "description", "path"} == set(json.loads(sdtui("presets", "--json").stdout)[0])


def test_doctor_says_what_this_host_has() -> None:
    record = json.loads(sdtui("doctor", "--json").stdout)
    assert record["cpus"] >= 1
    assert "memory" in sdtui("doctor").stdout

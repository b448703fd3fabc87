import json
import re
import subprocess

import pytest

from sdcore.runs import requests
from sdtui import cli
from sdtui.stream import MESSAGES
from support.fake_runs import (
    GOLDEN,
    T0,
    Supervised,
    exit_record,
    make_run,
    metric,
    sdtui,
    watch_in_terminal,
)


def test_ls_shows_every_run_with_a_sign_and_a_word(capsys: pytest.CaptureFixture[str]) -> None:
    """The state must be told without colour, too."""
    make_run("20260801-120000-cats", exit=exit_record("failed"))
    make_run("20260802-120000-dogs", exit=exit_record(gpus=["GPU-1", "GPU-2"]))
    with Supervised(make_run("20260803-120000-birds"), "--delay", "1", "--state", "queued"):
        assert cli.main(["ls"]) == 0
    header, *rows = capsys.readouterr().out.splitlines()
    assert " ".join(header.split()) == "STATE RUN STEP LOSS IMG/S GPUS ELAPSED ETA AGE NOTE"
    assert [row.split()[:3] for row in rows] == [
        ["◌", "queued", "20260803-120000-birds"],
        ["✓", "done", "20260802-120000-dogs"],
        ["✗", "failed", "20260801-120000-cats"],
    ]
    assert rows[1].split()[3:8] == ["10/10", "0.5", "4", "2", "1m"]
    assert [row[header.index("NOTE") :] for row in rows] == [
        "waits for 2 free GPUs; GPU 0 is used by run x",
        "",
        "it is failed",
    ]


def test_ls_as_json_is_an_array_that_any_parser_takes(capsys: pytest.CaptureFixture[str]) -> None:
    """Python's NaN is no JSON, and a diverged run has one."""
    make_run(exit=exit_record(last_loss=float("nan")))
    assert cli.main(["ls", "--json"]) == 0

    def refuse(word: str) -> None:
        raise AssertionError(word)

    (record,) = json.loads(capsys.readouterr().out, parse_constant=refuse)
    assert (record["state"], record["loss"], record["step"]) == ("done", "NaN", 10)


@pytest.mark.parametrize("columns", [200, 80, 40])
def test_ls_fits_the_terminal(columns: int) -> None:
    """A wrapped row is no row; the id stays whole as long as it can."""
    long = "20260802-120000-a-run-with-a-name-of-some-length"
    make_run(long, exit=exit_record("interrupted", last_step=123_456, total_steps=1_500_000))
    make_run("20260802-120000-b", exit=exit_record())
    text = watch_in_terminal(["ls"], columns)
    plain = re.sub(r"\x1b\[\d*m", "", text)
    assert all(len(line) <= columns for line in plain.splitlines())
    assert ("AGE" in plain) == (columns == 200)
    assert (long in plain) == (columns >= 80)


def test_show_tells_everything_but_secrets(capsys: pytest.CaptureFixture[str]) -> None:
    """People paste this into bug reports."""
    make_golden()
    assert cli.main(["show", "golden"]) == 0
    text = capsys.readouterr().out
    for part in ("✓ done: training is complete", "6/6", "HF_TOKEN=***", "warning: one image"):
        assert part in text
    assert "from_pretrained('" in text
    assert cli.main(["show", "golden", "--json"]) == 0
    record = json.loads(text_json := capsys.readouterr().out)
    assert record["launch"]["env"]["HF_TOKEN"] == "***"
    assert "hf_golden_secret_1" not in text + text_json


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ({"state": "done", "code": 0, "seconds": 2.0}, "done in 2s; its output: "),
        ({"state": "failed", "code": 7, "seconds": 2.0}, "failed: exit code 7 after 2s"),
        ({"state": "killed", "timeout_s": 60.0}, "killed at its limit of 1m 00s"),
        ({"state": "running", "started": 1.0, "timeout_s": 60.0}, "nobody saw its end"),
        ({"state": "failed", "reason": "\x1b]52;c;eA==\x07\x1b[2Jgone"}, "failed: gone"),
        ({"state": 3, "code": "x", "seconds": float("nan")}, "failed: ended by a signal"),
    ],
)
def test_show_tells_how_the_command_at_the_end_fared(
    record: dict[str, object], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A message that never came is asked about; a damaged record must not end the asking."""
    run = make_run("20260802-120000-a", exit=exit_record())
    run.hook.write_text(json.dumps(record | {"attempt": 1}))
    run.hook_log.write_text("sent\n")
    assert cli.main(["show", "a"]) == 0
    text = capsys.readouterr().out
    assert words in text
    assert "\x1b" not in text
    assert str(run.hook_log) in text
    assert cli.main(["show", "a", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["hook"]["state"] == record["state"]
    run.hook.write_text(json.dumps(record | {"attempt": 2}))
    assert cli.main(["show", "a"]) == 0
    assert words not in capsys.readouterr().out, "of another attempt"


def make_golden() -> None:
    run = make_run("20260806-070640-golden")
    subprocess.run(["cp", "-rT", str(GOLDEN), str(run.root)], check=True)


def test_show_masks_a_record_that_holds_secrets(capsys: pytest.CaptureFixture[str]) -> None:
    """The launcher masks; a record that was edited or made elsewhere may not be masked."""
    task = b'[env]\nWANDB_API_KEY = "0123456789"\n'
    launch = {"env": {"WANDB_API_KEY": "0123456789"}, "argv": ["x", "--key=0123456789"]}
    end = exit_record("failed", last_lines=["key 0123456789 refused"], reason="key 0123456789")
    make_run(exit=end, task=task, launch=launch)
    assert cli.main(["show"]) == 0
    text = capsys.readouterr().out
    assert "0123456789" not in text
    assert "key *** refused" in text


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["logs"], ["loading", "step 3", "HF_TOKEN is ***", "saved the pipeline"]),
        (["logs", "-n", "2"], ["HF_TOKEN is ***", "saved the pipeline"]),
        (["logs", "-n", "0"], []),
        (["logs", "-f", "-n", "1"], ["saved the pipeline"]),
    ],
)
def test_logs_are_folded_clean_and_masked(
    arguments: list[str], wanted: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    make_golden()
    assert cli.main(arguments) == 0
    assert capsys.readouterr().out.splitlines() == wanted


@pytest.mark.parametrize("follow", [["-f"], []])
def test_the_last_lines_are_counted_without_the_launchers_own(
    follow: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """After a clean stop the end of the log was 12 lines that read like a crash."""
    frames = "".join(f'  File "/x/accelerate/commands/launch.py", line {n}\n' for n in range(9))
    end = "subprocess.CalledProcessError: Command '['x']' returned non-zero exit status 4."
    log = f"one\ntwo\nsaved\nTraceback (most recent call last):\n{frames}{end}\n"
    make_run(exit=exit_record("stopped"), log=log.encode())
    assert cli.main(["logs", "-n", "2", *follow]) == 0
    assert capsys.readouterr().out == "two\nsaved\n"


def test_a_stop_that_saved_is_told_from_one_that_did_not(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Only one of them goes on where it was; the word in JSON is the same."""
    end = exit_record("stopped", reason="stopped by SIGINT, without saving", exit_code=130)
    make_run("20260801-120000-lost", exit=end)
    make_run("20260802-120000-kept", exit=exit_record("stopped"))
    assert cli.main(["ls"]) == 0
    rows = capsys.readouterr().out.splitlines()[1:]
    assert [row.split("2026")[0].rstrip() for row in rows] == ["■ stopped, saved", "■ stopped"]
    assert cli.main(["show", "lost"]) == 0
    assert "■ stopped by SIGINT, without" in capsys.readouterr().out


def test_show_labels_the_times_of_one_attempt_and_leaves_out_what_is_not_known(
    capsys: pytest.CaptureFixture[str],
) -> None:
    make_run(exit=exit_record(attempt=2, last_step=None, total_steps=None, last_loss=None))
    assert cli.main(["show"]) == 0
    text = capsys.readouterr().out
    assert re.search(r"elapsed +1m 40s \(this attempt\)", text)
    assert re.search(r"started .+ \(this attempt\)", text)
    assert not re.search(r"^(step|loss)", text, re.MULTILINE)


def test_following_a_log_ends_with_the_run_and_misses_nothing() -> None:
    with Supervised(make_run(), "--steps", "20") as fake:
        run = sdtui("logs", "-f")
        fake.process.wait()
    assert run.returncode == 0
    assert run.stdout.splitlines() == ["step 20", "saved"]


@pytest.mark.parametrize(("arguments", "code"), [([], 0), (["--fail"], 5)])
def test_wait_is_silent_and_returns_the_code_of_the_run(arguments: list[str], code: int) -> None:
    with Supervised(make_run(), *arguments):
        run = sdtui("wait", "last")
    assert (run.returncode, run.stdout, run.stderr) == (code, "", "")


def test_wait_for_a_run_whose_supervisor_is_killed_returns_7() -> None:
    with Supervised(make_run(), "--delay", "10") as fake:
        fake.process.kill()
        assert sdtui("wait").returncode == 7


def test_wait_as_json_writes_the_last_line_of_the_stream(
    capsys: pytest.CaptureFixture[str],
) -> None:
    make_run(exit=exit_record("failed"), metrics=[metric(1)])
    assert cli.main(["wait", "--json"]) == 1
    message = MESSAGES.validate_json(capsys.readouterr().out)
    assert (message.type, message.exit_code) == ("exit", 1)


@pytest.mark.parametrize(("flags", "code"), [([], 4), (["--now"], 143), (["--kill"], 143)])
def test_stop_shows_the_way_down_and_returns_0(flags: list[str], code: int) -> None:
    run = make_run()
    with Supervised(run, "--steps", "100000", "--save", "0.8"):
        stopped = sdtui("stop", run.name, "--grace", "9", *flags)
    assert (stopped.returncode, stopped.stdout) == (0, "")
    assert json.loads(run.exit.read_text())["exit_code"] == code
    assert "stopped after" in stopped.stderr
    assert f"sdtui resume {run.id}" in stopped.stderr
    if not flags:
        assert "stopping: finishes its step and saves; SIGTERM in " in stopped.stderr


def test_stop_with_detach_only_leaves_the_request() -> None:
    run = make_run()
    with Supervised(run, "--delay", "30"):
        assert sdtui("stop", "last", "--detach", "--grace", "5").returncode == 0
        wish = requests.pending(run, "stop")
        assert wish is not None
        assert (wish["by"], wish["grace_s"]) == ("sdtui stop", 5)
        assert "asked already" in sdtui("stop", "last", "--detach").stderr


def test_stopping_a_run_that_is_over_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    """A script that stops a run must not fail because it was quicker."""
    run = make_run(exit=exit_record())
    assert cli.main(["stop", "last"]) == 0
    assert "is over already: done" in capsys.readouterr().err
    assert not run.requests.exists()


def test_rm_removes_what_is_over_and_refuses_what_lives() -> None:
    over = make_run("20260801-120000-over", exit=exit_record())
    alive = make_run("20260802-120000-alive")
    with Supervised(alive, "--delay", "30"):
        run = sdtui("rm", "--yes", "alive", "over", "over")
        assert alive.root.is_dir()
    assert run.returncode == 2
    assert not over.root.exists()
    assert "the run is alive" in run.stderr
    assert f"removed {over.id}" in run.stderr


def test_rm_touches_nothing_when_one_name_is_wrong() -> None:
    """A slip in the second name must not cost the first run."""
    over = make_run(exit=exit_record())
    assert sdtui("rm", "--yes", over.name, "nothing-like-it").returncode == 2
    assert over.root.is_dir()


def test_times_in_records_that_no_calendar_has_are_borne(
    capsys: pytest.CaptureFixture[str],
) -> None:
    make_run(exit=exit_record(started=1e300, ended=-1e300))
    assert cli.main(["show"]) == 0
    assert cli.main(["ls"]) == 0
    assert f"{T0}" not in capsys.readouterr().out

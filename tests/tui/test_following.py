import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from io import StringIO
from typing import IO

import pytest

from sdcore.runs import locks
from sdcore.runs.follow import Follower
from sdcore.runs.paths import RunDir
from sdcore.runs.status import read_status
from sdtui.following import Ladder
from sdtui.progress import PlainDisplay
from sdtui.stream import MESSAGES, stream_schema
from sdtui.words import NOTHING_TO_SAVE, state_words
from support.fake_runs import (
    T0,
    Supervised,
    exit_record,
    make_run,
    metric,
    plain_environment,
    sdtui,
    watch_in_terminal,
)

# What ``sdtui --run`` does once the run is started.
OWNER = """
import sys
from pathlib import Path
from sdcore.runs.paths import RunDir
from sdtui.following import Signals, follow_run
with Signals() as signals:
    print("following", flush=True)
    run = RunDir(Path(sys.argv[1]))
    sys.exit(follow_run(run, signals, json="--json" in sys.argv, owner=True))
"""


def own(run: RunDir, *arguments: str) -> subprocess.Popen[str]:
    """Follow ``run`` as its owner, in a process that can be sent signals."""
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(run.root), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "following\n"
    return process


def read_until(stream: IO[str] | None, words: str) -> str:
    """Read lines up to the one that holds ``words``."""
    assert stream is not None
    text = ""
    for line in stream:
        text += line
        if words in line:
            return text
    raise AssertionError(f"{words!r} did not come; this did:\n{text}")


def test_without_a_terminal_progress_is_lines_and_the_pipeline_is_data() -> None:
    """``pipeline=$(sdtui --run …)`` works, and a CI log stays short."""
    run = make_run()
    with Supervised(run, "--gate", "--steps", "200", "--delay", "0.01") as fake:
        process = own(run)
        fake.go()
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert out == f"{run.pipeline}\n"
    assert "\x1b" not in err
    assert "\r" not in err
    lines = [line[10:] for line in err.splitlines()]
    assert any(re.match(r"step \d+/200 \(\d+ %\)  loss 0.5  4 images/s  ETA", x) for x in lines)
    assert sum(line.startswith("step ") for line in lines) <= 21
    assert "warning: an image is small" in lines
    assert f"StableDiffusionPipeline.from_pretrained('{run.pipeline}')" in err
    assert f"samples   {run.samples}" in err


def test_a_failure_tells_cause_remedy_log_and_code() -> None:
    run = make_run()
    with Supervised(run, "--fail"):
        process = own(run)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (5, "")
    for part in ("CUDA out of memory", "remedy     lower", "| OutOfMemoryError", "returned 1"):
        assert part in err


def test_json_lines_follow_the_schema_and_hold_the_whole_run() -> None:
    """Programs read this; stderr stays silent."""
    run = make_run(metrics=[metric(1, loss=float("nan"))])
    with Supervised(run, "--gate", "--steps", "10") as fake:
        process = own(run, "--json")
        fake.go()
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    messages = [MESSAGES.validate_json(line) for line in out.splitlines()]
    kinds = [message.type for message in messages]
    assert kinds[0] == "run"
    assert kinds[-1] == "exit"
    assert set(kinds) == {"run", "status", "event", "metrics", "exit"}
    steps = [message.step for message in messages if message.type == "metrics"]
    assert list(dict.fromkeys(steps)) == list(range(1, 11))
    assert {"run", "exit"} <= set(stream_schema()["discriminator"]["mapping"])


@pytest.mark.parametrize(
    ("signals", "code", "by"),
    [
        ([signal.SIGINT], 4, "SIGINT"),
        ([signal.SIGTERM], 4, "SIGTERM"),
        ([signal.SIGINT, signal.SIGINT], 143, None),
        ([signal.SIGINT, signal.SIGTERM, signal.SIGINT], 143, None),
    ],
)
def test_the_first_signal_saves_the_second_ends_the_third_kills(
    signals: list[signal.Signals], code: int, by: str | None
) -> None:
    """An impatient Ctrl-C must not cost nine hours; a third must not be ignored."""
    run = make_run()
    words = ["it finishes its step and saves", "SIGTERM now", "SIGKILL now"]
    with Supervised(run, "--steps", "100000", "--save", "1" if by else "60", "--delay", "0.4"):
        process = own(run)
        read_until(process.stderr, "training")
        for number, word in zip(signals, words, strict=False):
            process.send_signal(number)
            read_until(process.stderr, word)
        _, err = process.communicate(timeout=60)
    assert process.returncode == code
    if by is not None:
        assert f"asked by {by}" in err
        assert "stopping: finishes its step and saves; SIGTERM in" in err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_who_attaches_only_leaves(number: signal.Signals) -> None:
    """Looking at a colleague's run must not stop it."""
    run = make_run()
    with Supervised(run, "--steps", "100000") as fake:
        process = subprocess.Popen(
            [sys.executable, "-m", "sdtui", "attach"], stderr=subprocess.PIPE, text=True
        )
        read_until(process.stderr, "training")
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
        assert fake.process.poll() is None
    assert process.returncode == 128 + number
    assert f"the run goes on: sdtui attach {run.id}" in err
    assert not list(run.requests.iterdir())


def test_a_hang_up_leaves_the_run_alone() -> None:
    """SSH drops; the run must not notice."""
    run = make_run()
    with Supervised(run, "--steps", "100000") as fake:
        process = own(run)
        read_until(process.stderr, "training")
        process.send_signal(signal.SIGHUP)
        process.communicate(timeout=60)
        assert fake.process.poll() is None
    assert process.returncode == 129
    assert not list(run.requests.iterdir())


def test_a_reader_that_leaves_ends_the_following_and_not_the_run() -> None:
    """``sdtui attach --json | head -3``."""
    run = make_run()
    with Supervised(run, "--steps", "100000") as fake:
        command = f"{sys.executable} -m sdtui attach --json | head -3; echo ${{PIPESTATUS[0]}}"
        shell = subprocess.run(
            ["bash", "-c", command], capture_output=True, text=True, check=True, timeout=60
        )
        assert fake.process.poll() is None
    assert shell.stderr == ""
    assert shell.stdout.splitlines()[-1] == "141"


def test_nohup_is_respected() -> None:
    """A shell's ``&`` and ``nohup`` set signals to be ignored; we must not take them back."""
    run = make_run()
    with Supervised(run, "--gate", "--steps", "20") as fake:
        process = subprocess.Popen(
            [
                "bash",
                "-c",
                'trap "" INT HUP; exec "$@"',
                "_",
                sys.executable,
                "-m",
                "sdtui",
                "attach",
            ],
            stderr=subprocess.PIPE,
            text=True,
        )
        read_until(process.stderr, "caching")
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGHUP)
        fake.go()
        process.communicate(timeout=60)
    assert process.returncode == 0


def test_attach_to_a_run_that_is_over_tells_its_end() -> None:
    make_run(
        exit=exit_record("failed", remedy="mend it"), metrics=[metric(s) for s in range(1, 99)]
    )
    run = sdtui("attach")
    assert run.returncode == 1
    assert "mend it" in run.stderr
    assert "step 98" not in run.stderr


def test_a_queued_run_says_what_it_waits_for() -> None:
    with Supervised(make_run(), "--gate", "--state", "queued", "--steps", "2") as fake:
        process = subprocess.Popen(
            [sys.executable, "-m", "sdtui", "attach"], stderr=subprocess.PIPE, text=True
        )
        read_until(process.stderr, "queued: waits for 2 free GPUs; GPU 0 is used by run x")
        fake.go()
        process.communicate(timeout=60)
    assert process.returncode == 0


@pytest.mark.parametrize("resumed", [False, True])
def test_a_resume_without_a_checkpoint_says_that_it_begins_anew(*, resumed: bool) -> None:
    """It used to show the old attempt's step, as if nothing had been lost."""
    run = make_run(
        state={"format": 1, "phase": "running", "attempt": 2},
        launch={"total_steps": 3000},
        metrics=[metric(60)],
        events=[{"at": T0, "attempt": 1, "kind": "phase", "phase": "training"}],
    )
    lock = locks.take(run.lock)
    assert lock is not None
    told, follower = StringIO(), Follower(run)
    display = PlainDisplay(told)
    display.show(follower.poll())
    with run.events.open("a") as file:
        start = {"at": T0, "attempt": 2, "kind": "phase", "phase": "training"}
        goes_on = {"at": T0, "attempt": 2, "kind": "resumed", "step": 50, "exact": True}
        for event in [goes_on, start] if resumed else [start]:
            file.write(json.dumps(event) + "\n")
    display.show(follower.poll())
    os.close(lock)
    text = told.getvalue()
    assert "step 60" not in text
    assert ("no checkpoint: starts again from step 0" in text) is not resumed
    assert ("goes on from step 50" in text) is resumed


@pytest.mark.parametrize("cooperative", [True, False])
def test_a_stop_in_a_queue_tells_of_no_signal(*, cooperative: bool) -> None:
    """Nothing runs that could be sent SIGTERM, or take a while to end."""
    state = {"format": 1, "phase": "queued", "waiting_for": "a free GPU"}
    run = make_run(state=state, launch={"cooperative": cooperative})
    run.requests.mkdir()
    lock = locks.take(run.lock)
    assert lock is not None
    said = Ladder(run).climb(signal.SIGINT)
    os.close(lock)
    assert said == "stopping: it waits in a queue, and is taken out of it"


def test_a_stop_before_the_first_step_promises_no_save() -> None:
    run = make_run(state={"format": 1, "phase": "stopping", "step": "save"}, launch={})
    run.requests.mkdir()
    lock = locks.take(run.lock)
    assert lock is not None
    assert state_words(read_status(run)) == f"stopping: {NOTHING_TO_SAVE}"
    assert NOTHING_TO_SAVE in Ladder(run).climb(signal.SIGINT)
    os.close(lock)


HOSTILE = "\x1b]52;c;ZXZpbA==\x07 \x1b[2J\x9b31m\x1b[10A name"


def test_on_a_terminal_progress_is_one_line_and_data_cannot_steer_it() -> None:
    """The bar may go back within its line only; what a caption says reaches no terminal."""
    run = make_run()
    arguments = ["--gate", "--steps", "60", "--delay", "0.03", "--text", HOSTILE]
    with Supervised(run, *arguments) as fake:
        text = watch_in_terminal(["attach", run.id], columns=80, started=fake.go)
    assert "training" in text
    assert "loss 0.5" in text
    assert re.search(r"warning: +name", text)
    assert "\x1b]52" not in text
    assert "\x1b[2J" not in text
    assert "\x9b" not in text
    assert "\x1b[10A" not in text
    # One cursor-up is Rich's, when it takes the bar away at the end.
    assert text.count("\x1b[1A") <= 1
    frames = [re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", f) for f in re.split(r"[\r\n]", text)]
    assert max(len(frame) for frame in frames if "loss" in frame) <= 80
    assert text.endswith("\n")
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")  # the cursor is back


def test_a_terminal_that_vanishes_ends_the_following_and_not_the_run() -> None:
    """Closing a window gives EIO on every later write, and perhaps no SIGHUP."""
    run = make_run()
    with Supervised(run, "--steps", "100000") as fake:
        main, child = pty.openpty()
        process = subprocess.Popen(
            [sys.executable, "-c", OWNER, str(run.root)],
            stdin=child,
            stdout=child,
            stderr=child,
            env=plain_environment(TERM="xterm-256color"),
            start_new_session=True,
        )
        os.close(child)
        os.read(main, 100)
        time.sleep(1.0)
        os.close(main)
        assert process.wait(timeout=30) == 129
        assert fake.process.poll() is None
    assert not list(run.requests.iterdir())


def test_a_diverged_loss_is_strict_json() -> None:
    """Python writes NaN bare, which no other parser takes."""
    make_run(exit=exit_record("failed", last_loss=float("nan")), metrics=[metric(1, loss=1e999)])
    run = sdtui("attach", "--json")
    records = [json.loads(line, parse_constant=pytest.fail) for line in run.stdout.splitlines()]
    assert [r["loss"] for r in records if "loss" in r] == ["Infinity", "NaN"]

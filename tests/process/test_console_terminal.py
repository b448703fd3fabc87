"""What reaches the terminal from the real console: no escape that is not its own, no secret."""

import json
import os
import re
import signal
import time
from pathlib import Path

import pytest

from sdcore.runs.paths import home
from sdcore.runs.status import read_status
from support.fake_runs import Supervised, exit_record, make_run, metric
from support.pty_console import PtyConsole

HARM = "\x1b]52;c;ZXZpbA==\x07\x1b]0;title\x07\x1b[2J\x9b2J\u202ex\a\b\x1bPq\x1b\\"
SECRET = "hf_nobody_may_see_this"
# All that Textual and our own writer send; OSC 22 is the shape of the mouse pointer.
_OURS = re.compile(
    rb"\x1b\[[0-9;:]*m|\x1b\[[0-9;]*[HCGKJABDr]|\x1b\[\?[0-9;]*(?:[hl]|\$p)|\x1b\[[0-9]* ?q|\x1bM"
    rb"|\x1b\[[>=<?]?[0-9;]*[uct]|\x1b\]22;[a-z-]*\x07|\r?\n|\r|\x1b[78=>]"
)
_HARMFUL = re.compile(
    rb"[\x00-\x1f\x7f].{0,30}|\xc2[\x80-\x9f].{0,20}|\xe2\x80[\xaa-\xae]|\xe2\x81[\xa6-\xa9]"
)


def _harm_in(stream: bytes) -> list[bytes]:
    """Return what of a stream could steer the terminal and is not ours."""
    return _HARMFUL.findall(_OURS.sub(b"", stream))


def _secret_in(stream: bytes) -> bool:
    return SECRET[:9].encode() in re.sub(rb"\x1b\[[0-9;]*m", b"", stream)


def _harmful_run() -> None:
    words, quoted = f"{HARM}{SECRET}", json.dumps(HARM)
    kinds = ("phase", "model", "data", "plan", "choice", "resumed", "warning", "non_finite", HARM)
    texts = ("name", "text", "precision", "device", "what", "chosen", "because", "good_checkpoint")
    events = [
        {"at": 1.0, "attempt": 1, "kind": kind, "step": 3, "loss": 1.0, "files": [words],
         "passed_over": [words], **dict.fromkeys(texts, words)}
        for kind in kinds
    ]  # fmt: skip
    device = {"index": 0, "uuid": HARM, "name": HARM, "utilization": 9, "throttle": [HARM]}
    run = make_run(
        exit=exit_record("failed", reason=HARM, remedy=HARM, last_lines=[words], gpus=[HARM]),
        metrics=[metric(step) for step in range(1, 60)],
        events=events,
        gpu=[{"at": 1.0, "gpus": [device]}],
        log=f"{words}\nTraceback\nRuntimeError: {words}\n".encode() * 30,
        task=f'name = {quoted}\ncommand = {quoted}\n[env]\nHF_TOKEN = "{SECRET}"\n'.encode(),
    )
    folder = run.samples / "step-5"
    folder.mkdir(parents=True)
    (folder / "\x1b[31m.png").write_bytes(b"no picture")
    sample = {"file": "\x1b[31m.png", "prompt": words, "weights": HARM, "seed": 1}
    (folder / "samples.json").write_text(json.dumps({"samples": [sample]}))


def test_nothing_that_a_run_says_steers_the_terminal_or_shows_a_secret(tmp_path: Path) -> None:
    """A log line could fill the clipboard, rename the window, or tell the token to the room."""
    _harmful_run()
    with PtyConsole(140, 40) as it:
        it.until("shapes")
        it.press("\r")
        it.until("train_loss")
        for key in ("4", "G", "w", "y", "5", "v", "6", "j", "\r", "\x1b", "7", "\x10", "\x1b", "1"):
            it.press(key)
            it.quiet(0.3)
        it.press("e")  # its task cannot be edited, and why is told in its own words
        it.until("task.toml")
        it.quiet(0.3)
        stream = bytes(it.stream)

    # The one OSC 52 is the person's own copy, by ``y``.
    copied = re.findall(rb"\x1b\]52;[^\x07\x1b]*(?:\x07|\x1b\\)", stream)
    assert all(b"ZXZpbA==" not in each for each in copied)
    assert len(copied) <= 1
    assert _harm_in(stream.replace(copied[0], b"") if copied else stream) == []
    assert not _secret_in(stream)


def test_a_secret_in_the_form_is_on_no_screen_and_in_no_file(tmp_path: Path) -> None:
    """Typed, pasted or loaded: it goes to the training and nowhere else."""
    preset = tmp_path / "own.toml"
    preset.write_text(
        f'name = "own"\ncommand = "true"\n[gpu]\ncount = 0\n[env]\nHF_TOKEN = "{SECRET}"\n'
    )
    with PtyConsole(140, 40) as it:
        it.until("demo")
        it.press("2")
        it.until("Basics")
        it.press("\x0f")
        it.until("Load a task")
        it.press(f"{preset}\r")
        it.until("own")
        for _tab in range(6):
            it.press("\x1b[17~")  # F6
            it.quiet(0.4)
            if "NAME=value" in it.text():
                for _row in range(30):  # down to the line that adds a variable
                    it.press("\t")
                    it.quiet(0.1)
                    if "+ variable" in it.text().split("\n")[it.screen.cursor.y]:
                        break
                it.press(f"MY_SECRET={SECRET}")
                it.quiet(0.4)
                it.press("\r")
                it.quiet(0.4)
                # An input method composes where the terminal's cursor stands.
                assert "+ variable" in it.text().split("\n")[it.screen.cursor.y]
        it.press("\x19")  # copies the command
        it.quiet(1.5)
        seen = it.text()
        stream = bytes(it.stream)

    assert "own" in seen
    assert not _secret_in(stream), seen
    kept = [path for path in home().rglob("*") if path.is_file()]
    assert kept, "at least the draft"
    for path in kept:
        assert SECRET.encode() not in path.read_bytes(), path
        assert path.stat().st_mode & 0o077 == 0, path
    assert home().stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("sent", [signal.SIGHUP, signal.SIGTERM])
def test_a_signal_ends_it_at_once_and_the_terminal_is_as_before(sent: signal.Signals) -> None:
    """A terminal left without echo, or full of mouse codes, must be closed blindly."""
    run = make_run(metrics=[metric(1)])
    with Supervised(run, "--steps", "3", "--gate"), PtyConsole(100, 30) as it:
        it.until("shapes")
        it.press("\r")
        it.until("train_loss")
        os.kill(it.process.pid, sent)
        it.process.wait(20)
        time.sleep(0.2)
        stream = bytes(it.stream)
        assert read_status(run).state == "running"
    if sent == signal.SIGTERM:  # after SIGHUP there is no terminal any more
        assert b"\x1b[?1049l" in stream
        assert b"\x1b[?25h" in stream
        assert b"\x1b[?1000l" in stream
    assert b"Traceback" not in stream

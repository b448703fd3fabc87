"""The form's helper process: whatever it does, the form gets an answer in words."""

import sys
import time
from pathlib import Path
from typing import Any

import pytest

from sdcore.task.presets import load_preset
from sdcore.task.writing import to_table
from sdtui.form.checker import Checker
from support.real_runs import until

# A helper that obeys what it is asked: it answers, dies, hangs, or writes no JSON.
_HELPER = """\
import json, os, sys, time
for line in sys.stdin:
    r = json.loads(line)
    do = r["task"].get("do")
    if do == "die":
        os._exit(1)
    if do == "die once":
        try:
            open(sys.argv[1], "x").close()
            os._exit(1)
        except FileExistsError:
            pass
    if do == "hang":
        time.sleep(600)
    if do == "babble":
        print("no json", flush=True)
        continue
    time.sleep(r["task"].get("for", 0))
    print(json.dumps({"id": r["id"], "ask": r["ask"], "pid": os.getpid()}), flush=True)
"""


def _raise(error: Exception) -> None:
    raise error


@pytest.fixture
def helper(tmp_path: Path) -> tuple[Checker, list[dict[str, Any]]]:
    script = tmp_path / "helper.py"
    script.write_text(_HELPER)
    answers: list[dict[str, Any]] = []
    argv = (sys.executable, str(script), str(tmp_path / "died"))
    return Checker(answers.append, _raise, timeout_s=1.0, argv=argv), answers


def test_a_dying_helper_is_started_again(helper: Any) -> None:
    """One bad file that ends the helper must not end the checking of the form."""
    checker, answers = helper
    checker.ask("look", {"do": "die once"})
    assert "pid" in until(lambda: answers)[0]

    checker.ask("look", {"do": "die"})
    assert "twice" in until(lambda: answers[1:])[0]["trouble"]
    checker.ask("look", {"do": "babble"})
    assert "trouble" in until(lambda: answers[2:])[0]

    checker.ask("look", {})
    assert "pid" in until(lambda: answers[3:])[0]
    checker.close()


def test_a_hanging_helper_is_ended_and_told_of(helper: Any) -> None:
    """A dead network mount would leave the form checking for ever."""
    checker, answers = helper
    checker.ask("check", {"do": "hang"})

    assert "over 1 s" in until(lambda: answers)[0]["trouble"]
    checker.ask("check", {})
    assert "pid" in until(lambda: answers[1:])[0]
    checker.close()


def test_only_the_newest_question_is_answered(helper: Any) -> None:
    """Typing twenty letters must not queue twenty looks at a data set."""
    checker, answers = helper
    checker.ask("look", {"for": 0.3})
    until(lambda: not checker._waiting)
    for _typed in range(20):
        last = checker.ask("look", {})
    check = checker.ask("check", {})
    until(lambda: len(answers) == 3)
    time.sleep(0.1)

    assert [answer["id"] for answer in answers] == [1, check, last]  # a check goes first
    checker.close()


def test_a_look_at_a_path_that_was_typed_on_is_given_up(helper: Any) -> None:
    """A pause after ``/data`` would hold the form while ten million files are listed."""
    checker, answers = helper
    checker._timeout_s, checker._patience_s = 60.0, 0.3
    checker.ask("look", {"do": "hang", "mounts": [{"source": "/data"}]})
    until(lambda: not checker._waiting)
    time.sleep(0.5)
    assert answers == []

    last = checker.ask("look", {"mounts": [{"source": "/data/pokemon"}]})
    assert [answer["id"] for answer in until(lambda: answers)] == [last]

    check = checker.ask("check", {"for": 0.8, "mounts": [{"source": "/data"}]})
    until(lambda: not checker._waiting)
    after = checker.ask("look", {"mounts": [{"source": "/data/pokemon"}]})
    until(lambda: len(answers) == 3)  # what a person asked for is answered
    assert [answer["id"] for answer in answers[1:]] == [check, after]

    slow = checker.ask("look", {"for": 0.8, "mounts": [{"source": "/data/pokemon"}]})
    until(lambda: not checker._waiting)
    same = checker.ask("look", {"name": "new", "mounts": [{"source": "/data/pokemon"}]})
    until(lambda: len(answers) == 5)
    assert [answer["id"] for answer in answers[3:]] == [slow, same]
    assert len({answer["pid"] for answer in answers}) == 1
    checker.close()


def test_closing_ends_the_helper_at_once(helper: Any) -> None:
    """A key that leaves the form must not wait for a disk."""
    checker, answers = helper
    checker.ask("look", {"do": "hang"})
    until(lambda: checker._child)
    child = checker._child
    checker.close()

    until(lambda: child.poll() is not None)
    time.sleep(0.1)
    assert answers == []


def test_the_real_helper_tells_what_lies_at_the_paths(tmp_path: Path) -> None:
    """The verdict lines of the form are only as good as its facts."""
    task = load_preset("demo").task
    (tmp_path / "train.sh").write_text("true\n")
    table = to_table(task)
    table["mounts"].append({"source": str(tmp_path), "target": "/mnt/project"})
    table["mounts"].append({"source": str(tmp_path / "none"), "target": "/data"})
    answers: list[dict[str, Any]] = []
    checker = Checker(answers.append, _raise)
    checker.ask("look", table)
    answer = until(lambda: answers)[0]
    checker.ask("check", to_table(task))
    report = until(lambda: answers[1:])[0]["report"]
    named = {"train": {"train_data_dir": str(task.mounts[0].source)}, "mounts": table["mounts"][1:]}
    checker.ask("look", named)
    facts = until(lambda: answers[2:])[0]["facts"]
    checker.close()

    assert answer["facts"]["/mnt/dataset"]["images"] == 480
    assert answer["facts"]["/mnt/model"]["pipeline"] == "StableDiffusionPipeline"
    assert answer["facts"]["/mnt/project"] == {"train_sh": True}
    assert answer["facts"]["/data"]["error"]["cause"] == "there is no such folder"
    assert facts["data"]["images"] == 480  # named by a setting, not mounted
    assert answer["host"]["disk_free"] > 0
    assert report["plan"]["max_train_steps"] == 300

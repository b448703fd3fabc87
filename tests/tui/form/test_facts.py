"""What the helper found, in words; and the arithmetic of the summary."""

import subprocess
import sys

from sdcore.checks.plan import make_plan
from sdcore.launch.plan import LaunchPlan
from sdcore.launch.runtimes.facts import Program, RuntimeFacts, Tree
from sdcore.task.presets import load_preset
from sdcore.task.spec import TaskSpec
from sdtui.form.desk import Desk, next_name
from sdtui.form.facts import Look, Verdict
from sdtui.form.sections import help_of
from sdtui.form.summary import short_command

HOST = {"gpus": [], "gpu_reason": "no driver", "memory_total": 8 << 30, "disk_free": 1 << 40}


def test_verdicts_in_the_words_of_the_form() -> None:
    """A person judges a path by this one line."""
    look = Look(HOST, {
        "/mnt/dataset": {"images": 833, "captions": 1, "too_long": 2, "limit": 77, "corrupt": 0},
        "/mnt/model": {"pipeline": "StableDiffusionPipeline", "family": "SD 1.x",
                       "parameters": 859_520_964, "here": True, "missing": []},
        "/mnt/project": {"train_sh": False},
        "/x": {"error": {"what": "/x", "cause": "gone \x1b[2J", "remedy": ""}},
    })  # fmt: skip

    words = [getattr(look.verdict(t), "words", None) for t in (*look.facts, "/y")]

    assert words == [
        "833 images, 1 caption, 2 over 77 tokens",
        "StableDiffusionPipeline, SD 1.x, U-Net of 859.5 M parameters",
        "no train.sh here",
        "gone : press F2 to browse",
        None,
    ]


def test_the_summary_is_the_plan_of_the_check() -> None:
    """Two estimates of one run on one screen are both disbelieved."""
    task = load_preset("demo").task
    facts = {"/mnt/dataset": {"images": 480}, "/mnt/model": {"parameters": 2_220_820}}

    plan = Look(HOST, facts).plan(task)

    assert plan == make_plan(
        task.effective_train(), images=480, parameters=2_220_820, processes=1,
        device="the CPU", disk_free=1 << 40, memory_total=8 << 30,
    )  # fmt: skip


def test_while_a_field_is_wrong_the_others_are_still_looked_at() -> None:
    """A slip in one field must not blind the form to a wrong folder in another."""
    desk = Desk()
    desk.take(load_preset("demo").task)
    before = desk.look_table()
    desk.edit("train.seed", "x")
    desk.edit("name", "!")
    desk.judge()

    assert desk.task is None
    assert desk.look_table() == before | {"train": {}} | {"mounts": before["mounts"]}
    desk.edit("mounts.0.source", "a:b")
    assert len(desk.look_table()["mounts"]) == 1


def test_the_form_says_what_surrounds_a_task_and_plans_with_what_was_found() -> None:
    """To look at programs and folders in the console itself would freeze it on a dead disk."""
    desk = Desk()
    desk.take(TaskSpec.model_validate({
        "command": "ls /mnt/x", "gpu": {"count": 0},
        "mounts": [{"source": "/data", "target": "/mnt/x"}],
    }))  # fmt: skip
    assert desk.launch() is None, "nothing is known yet"
    task = TaskSpec.model_validate(desk.look_table())
    assert task.command == "ls /mnt/x", "the helper has to know it"

    facts = RuntimeFacts(programs={"unshare": Program("/usr/bin/python3")}, tree=Tree())
    choice = {"name": "unshare", "why": "it makes the mount points", "worry": None}
    desk.look = Look(HOST, {}, {"facts": facts.to_record(), **choice})

    launch = desk.launch()
    assert isinstance(launch, LaunchPlan)
    assert launch.runtime == "unshare"
    assert short_command(launch) == "ls /mnt/x"
    assert desk.look.runtime_verdict() == Verdict("plain", "unshare: it makes the mount points")
    told = Look(HOST, {}, {"error": "docker: it is not installed"}).runtime_verdict()
    assert told is not None
    assert told.level == "bad"


def test_fresh_names_count_on() -> None:
    """A copy of a copy is not called a-2-2-2."""
    assert next_name("a", ["a"]) == "a-2"
    assert next_name("a-2", ["a", "a-2", "a-3"]) == "a-4"
    assert next_name("x" * 64, []) == "x" * 58 + "-2"


def test_help_names_key_limits_and_default() -> None:
    """The help of a field is drawn from the model, so that it cannot be out of date."""
    words = help_of("train.resolution", "256")
    for part in ("train.resolution", "≥ 8, ≤ 8192", "multiple of 8", "default 512"):
        assert part in words
    assert help_of("env.lr", "") == help_of("train.learning_rate", "").replace(
        "train.learning_rate", "env.lr"
    )


def test_the_console_loads_no_reader_of_data_for_the_form() -> None:
    """PyArrow, tokenizers and Pillow belong to the helper: seconds, and a hundred megabytes."""
    probe = (
        "import sys, sdtui.screens.new, sdtui.screens.new_boxes, sdtui.screens.choose_preset,"
        "sdtui.screens.browse;"
        "print({'pyarrow', 'tokenizers', 'PIL', 'numpy', 'torch'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)

    assert run.stdout == "set()\n"

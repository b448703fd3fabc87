"""The draft: nothing typed is lost, and the task is exactly what the form shows."""

import json
import string
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from sdcore.task.platform_env import PLATFORM_ENV
from sdcore.task.presets import load_preset, shipped
from sdcore.task.spec import TaskSpec
from sdcore.task.writing import to_table
from sdtui.form.dotenv import parse_env
from sdtui.form.draft import Draft, EnvRow
from sdtui.form.entries import Entry, entries

TEXT = st.text(st.characters(exclude_categories=("C",)), min_size=1, max_size=20)
PATHS = st.text(string.ascii_letters + "/. ~-_", min_size=1, max_size=20)
SWITCHES = st.booleans() | st.none()


def _values(entry: Entry) -> st.SearchStrategy[Any]:
    if entry.kind == "choice":
        return st.sampled_from(entry.choices)
    multiple = entry.multiple or 1
    return {
        "switch": st.booleans(),
        "whole": st.integers(0, 500).map(lambda n: n * multiple),
        "number": st.floats(0, 2, allow_nan=False) | st.sampled_from([1e-5, 5.0]),
        "lines": st.lists(TEXT | st.just("two\nlines"), max_size=3),
        "text": TEXT | st.just("a\nb"),
    }[entry.kind]


def _table(prefix: str, without: tuple[str, ...] = ()) -> st.SearchStrategy[dict[str, Any]]:
    inner = {
        e.name: _values(e)
        for e in entries().values()
        if e.key.rpartition(".")[0] == prefix and e.name not in without
    }
    return st.fixed_dictionaries({}, optional=inner).map(dict)


MOUNTS = st.lists(
    st.fixed_dictionaries(
        {"source": PATHS, "target": st.sampled_from(["/mnt/dataset", "/mnt/model", "/data/x"])},
        optional={"read_only": st.booleans()},
    ),
    max_size=3,
    unique_by=lambda mount: mount["target"],
)
TASKS = st.fixed_dictionaries(
    {},
    optional={
        "name": st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True),
        "description": TEXT | st.just(""),
        "image": TEXT,
        "runtime": st.sampled_from(["auto", "host", "docker"]),
        "command": TEXT,
        "gpu": _table("gpu"),
        "mounts": MOUNTS,
        "env": st.dictionaries(st.from_regex(r"[A-Z_][A-Z0-9_]{0,9}", fullmatch=True), TEXT)
        | st.just({"lr": "1e-4", "batch_size": "2"}),
        "hooks": st.fixed_dictionaries(
            {}, optional={"end": TEXT | st.just(""), "timeout_s": st.integers(1, 3600)}
        ),
        "train": _table("train", ("hub_token", "input_perturbation")),
        "cluster": st.fixed_dictionaries(
            {"engine": st.just("slurm")},
            optional={"nodes": st.integers(1, 9), "extra": st.just(["--exclusive"])},
        ),
    },
)


def _pruned(table: dict[str, Any]) -> dict[str, Any]:
    """Drop tables without a key: left out and empty mean the same."""
    return {key: value for key, value in table.items() if value not in ({}, [])}


@settings(max_examples=150, suppress_health_check=list(HealthCheck), deadline=None)
@given(TASKS)
def test_a_task_survives_the_form(table: dict[str, Any]) -> None:
    """A value that changes on its way through the form would train something else for hours."""
    try:
        task = TaskSpec.model_validate(table)
    except ValidationError:
        return  # the strategy knows no limits; the rest is plenty
    if task.name == "last":
        return

    draft = Draft.from_task(task)
    kept = Draft.from_record(json.loads(json.dumps(draft.to_record())))
    for row, before in zip(kept.env, draft.env, strict=True):
        row.value, row.withheld = before.value, False  # what a person types again

    again, problems = kept.task()
    assert problems == []
    assert again == task
    assert _pruned(to_table(again)) == _pruned(to_table(task))  # what is unset stays unset


@pytest.mark.parametrize("name", [preset.name for preset in shipped()])
def test_every_shipped_preset_survives_the_form(name: str) -> None:
    """The demo is the first thing a newcomer starts from the form."""
    task = load_preset(name).task

    assert Draft.from_task(task).task() == (task, [])


def test_unfinished_values_survive_a_lost_link() -> None:
    """A draft that only keeps what is valid loses what was being typed."""
    draft = Draft()
    draft.set("train.resolution", "5x")
    draft.set("train.learning_rate", "1e-")
    draft.set("gpu.count", "-")

    kept = Draft.from_record(json.loads(json.dumps(draft.to_record())))

    assert kept.get("train.resolution") == "5x"
    task, problems = kept.task()
    assert task is None
    assert {p.key for p in problems} == {"train.resolution", "train.learning_rate", "gpu.count"}
    assert all(p.cause and p.remedy for p in problems)


def test_secrets_stay_out_of_the_file() -> None:
    """A token in a draft outlives the form on a shared disk."""
    draft = Draft(env=[EnvRow("HF_TOKEN", "hf_geheim"), EnvRow("NCCL_DEBUG", "INFO")])

    text = json.dumps(draft.to_record())
    kept = Draft.from_record(json.loads(text))

    assert "hf_geheim" not in text
    assert kept.variable("NCCL_DEBUG") == EnvRow("NCCL_DEBUG", "INFO")
    assert [p.key for p in kept.task()[1]] == ["env.HF_TOKEN"]  # never started with nothing
    kept.set_variable("HF_TOKEN", "new")
    assert kept.task()[1] == []


def test_a_setting_and_its_variable_never_contradict_each_other() -> None:
    """The same value in two places, changed in one, makes an error nobody asked for."""
    draft = Draft()
    for variable, setting in PLATFORM_ENV.items():
        draft.set(f"train.{setting}", "8")
        draft.set_variable(variable, "16")  # the table of variables wins, being changed last
        assert draft.get(f"train.{setting}") == "16"
        draft.set(f"train.{setting}", "24")  # the training section changes the variable
        assert (row := draft.variable(variable)) is not None
        assert row.value == "24"
    draft.set("train.learning_rate", "1e-4")
    task, problems = draft.task()
    assert problems == []
    assert task is not None
    assert task.effective_train().train_batch_size == 24

    draft.set_variable("lr", "quick")
    assert [p.key for p in draft.task()[1]] == ["env.lr"]
    draft.set("train.learning_rate", "")
    assert draft.variable("lr") is None


def test_problems_name_the_row_on_the_form() -> None:
    """With an empty row above, the task's first mount is the form's second."""
    draft = Draft()
    draft.add_standard_mounts()
    draft.mounts[1].source = "a:b"
    draft.env = [EnvRow("A", "1"), EnvRow("A", "2")]

    assert {p.key for p in draft.task()[1]} == {"mounts.1", "env.A"}


def test_a_pasted_env_file_is_read_as_shells_do() -> None:
    """A quote or a comment taken as part of a token makes a login fail hours later."""
    text = """
# comment
export HF_TOKEN='hf_abc#1'   # mine
PLAIN = some words  # not this
QUOTED="a \\"b\\" $HOME\\n"
URL=http://x/#anchor
EMPTY=
what is this
"""
    assert parse_env(text) == (
        [
            ("HF_TOKEN", "hf_abc#1"),
            ("PLAIN", "some words"),
            ("QUOTED", 'a "b" $HOME\n'),
            ("URL", "http://x/#anchor"),
            ("EMPTY", ""),
        ],
        1,
    )


def test_a_quoted_value_of_a_pasted_env_file_goes_over_lines() -> None:
    """A private key has thirty lines; each was told to be no NAME=value, and the key was lost."""
    text = """
KEY="-----BEGIN KEY-----
MIIE#no comment
it's
-----END KEY-----"  # mine
export JSON='{
  "a": 1
}'
AFTER=1
"""
    key = "-----BEGIN KEY-----\nMIIE#no comment\nit's\n-----END KEY-----"
    found = [("KEY", key), ("JSON", '{\n  "a": 1\n}'), ("AFTER", "1")]
    assert parse_env(text) == (found, 0)
    assert parse_env(text.replace("\n", "\r\n")) == (found, 0)


@pytest.mark.parametrize("quote", ["'", '"'])
def test_a_forgotten_quote_costs_its_own_line_alone(quote: str) -> None:
    """The quotes of the next variable would close it, and both would be wrong."""
    text = f"A={quote}x\nB={quote}y{quote}\nwhat\nC={quote}z"

    assert parse_env(text) == ([("A", f"{quote}x"), ("B", "y"), ("C", f"{quote}z")], 1)


@given(st.text())
def test_no_pasted_text_breaks_the_reader(text: str) -> None:
    """A clipboard can hold anything."""
    variables, odd = parse_env(text)
    assert len(variables) + odd <= len(text.splitlines())

"""Keys that a person has set: judged as they are read, and named in what the console says."""

import ast
import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from textual.binding import Binding
from textual.dom import DOMNode

import sdtui
from sdtui import keymap
from sdtui.settings import Settings
from support.console import Driven, drive
from support.fake_runs import exit_record, make_run

TUI = Path(sdtui.__file__).parent
# A key by its name amid words. Enter and Tab belong to the fields themselves.
_NAMED = re.compile(
    r"(?<![\w\[.])(?:\^[a-z]\b|[Ff]\d{1,2}\b|ctrl\+\w|[Ee]sc\b|keys? [a-z0-9]\b)"
    r"|(?:^|[;:,(] )[a-z0-9] (?:again|resumes|starts|copies|compares|shows|draws)\b|: [a-z]$"
)


@pytest.fixture(autouse=True)
def _own_keys_again() -> Iterator[None]:
    yield
    keymap.settled(Settings())


def _bound() -> Iterator[Binding]:
    for module in pkgutil.walk_packages(sdtui.__path__, "sdtui."):
        if module.name.split(".")[1] in {"screens", "widgets", "form", "app"}:
            importlib.import_module(module.name)
    kinds = [DOMNode]
    for kind in kinds:
        kinds += kind.__subclasses__()
        if kind.__module__.startswith("sdtui."):
            own = kind.__dict__.get("BINDINGS", ())
            yield from (each for each in own if isinstance(each, Binding))


def test_the_table_of_keys_is_that_of_the_screens() -> None:
    """An action that the table forgets could not be given a key; one too many would clash."""
    keys = dict[str, set[str]]()
    before = set()
    for binding in _bound():
        keys.setdefault(str(binding.id), set()).update(binding.key.split(","))
        before |= {str(binding.id)} if binding.priority else set()

    assert {id_: set(each) for id_, each in keymap.DEFAULTS.items()} == keys
    assert before == keymap.BEFORE_ALL


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"run.stopp": "S"}, "console.keys.run.stopp: there is no such action; did you mean"),
        ({"xyz": "S"}, "there is no such action; [app.help] shows their names"),
        ({"run.stop": 3}, "cannot be 3"),
        ({"run.stop": " "}, "cannot be ' '"),
        ({"run.stop": "hyperspace"}, "hyperspace is not the name of a key"),
        ({"run.stop": "shift+s"}, "shift+s is not the name of a key"),  # terminals send S
        ({"run.stop": "S,,x"}, ", is not the name of a key"),
        ({"run.stop": "tab"}, "tab goes from field to field"),
        ({"new.create": "x"}, "x could not be typed any more"),
        ({"tasks.new": "s"}, "console.keys.tasks.new: s is the key of tasks.stop there"),
        ({"tasks.new": "q"}, "q is the key of app.quit there"),
        ({"tasks.new": "space"}, "space is the key of table.mark there"),
        ({"run.stop": "f"}, "f is the key of"),  # of the log beside it
        ({"run.stop": "S", "run.side": "S"}, "console.keys.run.side: S is the key of run.stop"),
    ],
)
def test_what_cannot_be_a_key_is_told_and_not_applied(keys: dict[str, str], words: str) -> None:
    """``"tasks.new" = "s"`` made Stop vanish without a word."""
    fit, problems = keymap.judged({"run.export": "X", **keys})

    assert words in "\n".join(map(str, problems))
    assert len(problems) == 1
    assert fit == {"run.export": "X", **dict(list(keys.items())[:-1])}


@pytest.mark.parametrize(
    "keys",
    [
        {"run.stop": "S"},
        {"tasks.stop": "r", "tasks.resume": "s"},  # changed for each other
        {"tasks.new": "s", "tasks.stop": "S"},
        {"run.stop": "alt+s,ctrl+k,f4"},
        {"new.create": "ctrl+g"},
        {"app.help": "h,f1", "run.resume": ";"},
        {"new.path": "slash", "new.search": "slash"},  # one at a time, by design
        {"confirm.yes": "s"},  # a box has its keys to itself
    ],
)
def test_what_can_be_a_key_is_taken(keys: dict[str, str]) -> None:
    if "app.help" in keys:  # h is the chart's and the pictures' key
        assert [p.values[0] for p in keymap.judged(keys)[1]] == ["h"]
    else:
        assert keymap.judged(keys) == (keys, ())


def test_an_id_without_quotes_is_what_it_looks_like() -> None:
    """In TOML ``run.stop = "S"`` is a table run; nobody who writes it means one."""
    assert keymap.judged({"run": {"stop": "S"}}) == ({"run.stop": "S"}, ())
    assert "run.stopp" in str(keymap.judged({"run": {"stopp": "S"}})[1][0])


def test_a_refused_key_is_told_at_the_start_and_changes_nothing() -> None:
    make_run("20260801-000000-shapes", exit=exit_record())

    async def story(driven: Driven) -> None:
        await driven.until("shapes")
        await driven.told("console.keys.tasks.new: o is the key of tasks.sort there")
        await driven.press("o")
        await driven.until("by state")
        await driven.press("Z")
        await driven.until("Mounts")

    keys = {"tasks.new": "o", "go.new": "Z"}
    drive(story, settings=Settings(link="fast", language="en", keys=keys))


def test_a_key_of_its_own_for_one_action_leaves_the_other_its_key() -> None:
    """/ begins a path in one part of the form and finds a setting in another."""

    async def story(driven: Driven) -> None:
        await driven.press("2")
        await driven.until("Description")
        for _part in range(5):
            await driven.press("f6")
        await driven.until("Max steps")
        await driven.press("slash")
        await driven.type("noise off")
        await driven.until("Noise offset")
        assert "Max steps" not in driven.text()

    drive(story, settings=Settings(link="fast", language="en", keys={"new.path": "f4"}))


@pytest.mark.parametrize(
    ("keys", "name"),
    [
        ({}, "s"), ({"run.stop": "S"}, "S"), ({"run.stop": "ctrl+k"}, "^k"),
        ({"run.stop": "f4"}, "F4"), ({"run.stop": "question_mark"}, "?"), ({"run.stop": ";"}, ";"),
        ({"run.stop": "escape"}, "esc"), ({"run.stop": "alt+down,x"}, "alt+↓"),
    ],
)  # fmt: skip
def test_a_key_has_the_name_that_is_on_it(keys: dict[str, str], name: str) -> None:
    keymap._given.clear()
    keymap._given.update({id_: tuple(keymap._split(value)) for id_, value in keys.items()})

    assert keymap.keyed("[run.stop] again; [no.such] stays") == f"{name} again; [no.such] stays"
    assert re.fullmatch(r"\^r", keymap.key("new.create"))


def _texts() -> Iterator[tuple[str, str, bool]]:
    """Yield each text of the console, its file, and whether ``keyed`` is near it."""
    for path in sorted(TUI.rglob("*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        uses = any(getattr(node, "name", "") == "keyed" for node in ast.walk(tree))
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in {
                "_",
                "N_",
                "ngettext",
            }:
                for text in (each.value for each in node.args if isinstance(each, ast.Constant)):
                    yield str(text), path.name, uses


def test_no_text_names_a_key_by_hand() -> None:
    """``s again goes further`` is a lie as soon as Stop has another key."""
    texts = list(_texts())
    named = {text for text, _file, _keyed in texts if _NAMED.search(text)}

    assert named == set()
    for text, file, uses_keyed in texts:
        ids = [id_ for id_ in re.findall(r"\[(\w+\.\w+)\]", text) if id_ != "console.keys"]
        assert set(ids) <= set(keymap.DEFAULTS), text
        assert not ids or uses_keyed or file == "keymap.py", (file, text)


def test_messages_name_the_key_of_their_screen() -> None:
    """The list of tasks and the run's own screen may have other keys for one thing."""
    make_run("20260801-000000-shapes", exit=exit_record("stopped"))

    async def story(driven: Driven) -> None:
        await driven.until("u starts it again")
        await driven.press("enter")
        await driven.until("^k starts it again")
        driven.app.listing.marked = ("20260801-000000-shapes",)
        await driven.press("escape")
        await driven.until("1 marked: C compares them")

    keys = {"tasks.resume": "u", "run.resume": "ctrl+k", "go.compare": "C"}
    drive(story, (140, 40), Settings(link="fast", language="en", keys=keys))

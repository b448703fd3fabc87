"""Every text that the console shows passes through gettext: read from its sources."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

TUI = Path(__file__).parents[2] / "tui" / "sdtui"
# English by design, the commands and ``--run``; and the table of keys.
_NOT_THE_CONSOLE = {"commands", "arguments.py", "cli.py", "completing.py", "following.py",
                    "headless.py", "keymap.py", "progress.py", "stream.py", "words.py"}  # fmt: skip
_WRAPPERS = {"_", "N_", "ngettext", "told"}
# Calls that show their arguments; before those of ``_FROM`` stand names.
_SHOWS = {"notify", "_say", "Text", "Static", "Label", "set_words", "tell", "Verdict", "Problem",
          "FormProblem", "SdError", "UsageError"}  # fmt: skip
_FROM = {"Verdict": 1, "Problem": 1, "FormProblem": 1}
_WORDS = re.compile(r"[A-Za-z]{2,},? [a-z]{2,}")  # a phrase, wherever it stands
_WORD = re.compile(r"[A-Za-z]{3,}")  # even one word, where it is shown
_ALLOWED = {
    # Before the app there is no console, and the command line is English.
    ("opening.py", "the console cannot be opened"),
    ("opening.py", "standard input and output are no terminal that it could draw on"),
    ("opening.py", "in scripts use the commands, for example: sdtui --run demo, sdtui ls --json"),
    # Sentences of the core, told by ``told`` where they are shown.
    ("form/worker.py", "you may not read it"),
    ("form/worker.py", "there is no such folder"),
    # Errors of the code, which nobody is shown.
    ("export.py", "count ends never"),
    ("phrases.py", "a minute is the least"),
    ("form/draft.py", "this is no draft"),
    # Looked for in a log, and names in a file.
    ("live/logfile.py", "Not a plain file"),
    ("live/log_levels.py", r"^(?:Segmentation fault|Killed|Aborted|Bus error|terminate called)\b"),
}


def test_every_text_of_the_console_is_marked_for_translation() -> None:
    """One forgotten ``_()`` is an English sentence amid Chinese ones, found by a user."""
    found = sorted(TUI.rglob("*.py"))
    files = [f for f in found if f.relative_to(TUI).parts[0] not in _NOT_THE_CONSOLE]
    assert len(files) > 100

    bare = {
        (str(path.relative_to(TUI)), text)
        for path in files
        for text in _bare(ast.parse(path.read_text("utf-8")))
    }

    assert sorted(bare - _ALLOWED) == []
    assert not _ALLOWED - bare, "what is allowed without need"


def _bare(tree: ast.Module) -> Iterator[str]:
    """Yield the texts outside every wrapper, docstrings and styles left out.

    One that a wrapper holds elsewhere in the file is the name of that in a table.
    """
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    marked = {
        argument.value
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and _name(call) in _WRAPPERS
        for argument in call.args
        if isinstance(argument, ast.Constant)
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
            continue
        around = list(_around(node, parents))
        calls = [each for each in around if isinstance(each, ast.Call)]
        if isinstance(parents[node], ast.Expr) or any(_name(call) in _WRAPPERS for call in calls):
            continue
        if node.value in marked or _is_markup(node.value):
            continue
        if any(isinstance(each, ast.Assert) or _is_style(each) for each in around):
            continue
        shown = any(_name(call) in _SHOWS and _is_said(call, node, parents) for call in calls)
        if _WORDS.search(node.value) or (shown and _WORD.search(node.value)):
            yield node.value


def _around(node: ast.AST, parents: dict[ast.AST, ast.AST]) -> Iterator[ast.AST]:
    """Yield what a node stands in, up to the statement."""
    while node in parents and not isinstance(node, ast.stmt):
        node = parents[node]
        yield node


def _is_said(call: ast.Call, node: ast.AST, parents: dict[ast.AST, ast.AST]) -> bool:
    """Say whether ``node`` is a text argument itself, not the key of a value or an option."""
    while node in parents:
        above = parents[node]
        if above is call:
            return node in call.args[_FROM.get(_name(call), 0) :]
        if isinstance(above, ast.keyword) and above.arg in {"what", "cause", "remedy"}:
            return True
        if isinstance(above, ast.Subscript | ast.Call | ast.keyword | ast.Compare):
            return False
        node = above
    return False


def _name(call: ast.Call) -> str:
    return str(getattr(call.func, "id", getattr(call.func, "attr", "")))


def _is_style(node: ast.AST) -> bool:
    """Say whether it is an assignment of styles or names of classes."""
    targets = node.targets if isinstance(node, ast.Assign) else []
    return any(getattr(target, "id", "").endswith(("CSS", "_EXAMPLE")) for target in targets) or (
        isinstance(node, ast.keyword) and node.arg in {"classes", "id"}
    )


def _is_markup(text: str) -> bool:
    """Say whether it is a piece of an SVG, or a type."""
    piece = text.lstrip('"').lstrip().startswith(("<", 'fill="', "font-family", "stroke"))
    return piece or re.match(r"\w+\[", text) is not None

"""Shell completion: what a Tab offers, in the shells themselves."""

import argparse
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sdcore.runs.paths import runs_root
from sdcore.task.platform_env import PLATFORM_ENV
from sdcore.task.presets import shipped
from sdcore.task.spec import TaskSpec
from sdcore.task.train_spec import TrainSpec
from sdtui import cli
from sdtui.arguments import build_parser
from sdtui.completing import VALUES, offers
from support.fake_runs import make_run, plain_environment
from support.pty_console import PtyConsole

BIN = Path(sys.executable).parent


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Return the environment of a shell that finds this ``sdtui``; be in an empty folder."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return plain_environment(PATH=f"{BIN}:{os.environ['PATH']}", LANG="C.UTF-8")


def parts(line: str) -> list[str]:
    """Split a line as readline does for bash: at blanks, and around = and :."""
    words: list[str] = []
    for word in line.split(" "):
        piece = ""
        for sign in word:
            if sign in "=:":
                words += [piece] if piece else []
                words.append(sign)
                piece = ""
            else:
                piece += sign
        if piece or not word or not line.endswith(word):
            words += [piece] if piece or not word else []
    return words


def in_bash(line: str, env: dict[str, str]) -> list[str]:
    """Source the script, complete the end of ``line`` and return COMPREPLY."""
    words = parts(line)
    script = (
        'eval "$(sdtui completion bash)"\n'
        f"COMP_WORDS=({shlex.join(words)}); COMP_CWORD={len(words) - 1}\n"
        f"COMP_LINE={shlex.quote(line)}; COMP_POINT={len(line)}\n"
        'read -r _ _ name _ <<< "$(complete -p sdtui)"\n'
        'set -- "$name"; "$1" sdtui "${COMP_WORDS[COMP_CWORD]}" ""\n'
        '(( ${#COMPREPLY[@]} )) && printf "%s\\n" "${COMPREPLY[@]}"; true\n'
    )
    argv = ["bash", "--norc", "--noprofile", "-euc", script]
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("sdtui at", ["attach"]),
        ("sdtui comp", ["completion"]),
        ("sdtui completion ", ["bash", "zsh", "fish"]),
        ("sdtui --ru", ["--run"]),
        ("sdtui stop --k", ["--kill"]),
        ("sdtui --run pok", ["pokemon"]),
        ("sdtui check pla", ["platform-page"]),
        ("sdtui export slurm pok", ["pokemon"]),
        ("sdtui export k", ["kubernetes"]),
        ("sdtui --run demo --set train.lr_s", ["train.lr_scheduler="]),
        ("sdtui --run demo --set train.lr_scheduler=pol", ["polynomial"]),
        ("sdtui --run demo --set train.use_ema=", ["true", "false"]),
        ("sdtui --run demo --set gpu.sh", ["gpu.share="]),
        ("sdtui check demo --set cluster.eng", ["cluster.engine="]),
        ("sdtui resume last --set hooks.e", ["hooks.end="]),
        ("sdtui check demo --env lr", ["lr="]),
        ("sdtui --set train.seed=1 --run pok", ["pokemon"]),
        ("sdtui --run demo --name x", []),
        ("sdtui --run demo ls", []),
        ("sdtui nonsense --x", []),
    ],
)
def test_bash_completes(line: str, wanted: list[str], shell: dict[str, str]) -> None:
    """Through COMP_WORDS, in which bash has parted every word at its equals signs."""
    assert in_bash(line, shell) == wanted


@pytest.mark.parametrize("command", ["attach", "show", "logs", "wait", "stop", "resume", "rm"])
def test_runs_are_offered_by_name_and_id(command: str, shell: dict[str, str]) -> None:
    """An id of 15 digits is what nobody types."""
    for id_ in ("20260801-070640-cats", "20260802-070640-cats", "20260803-070640-dogs"):
        make_run(id_)
    assert in_bash(f"sdtui {command} ", shell) == [
        "last", "dogs", "cats",
        "20260803-070640-dogs", "20260802-070640-cats", "20260801-070640-cats",
    ]  # fmt: skip
    assert in_bash(f"sdtui {command} 202608010", shell) == []
    assert in_bash(f"sdtui {command} 20260801", shell) == ["20260801-070640-cats"]
    assert in_bash("sdtui rm dogs ca", shell) == ["cats"]
    assert in_bash("sdtui show dogs ca", shell) == []


def test_paths_are_offered_beside_the_shipped_presets(shell: dict[str, str]) -> None:
    """A preset of one's own is a file, perhaps in a folder with a blank in its name."""
    Path("my task.toml").touch()
    Path("notes.txt").touch()
    Path("more things").mkdir()
    Path("more things/deep.toml").touch()
    found = in_bash("sdtui --run ", shell)
    assert {preset.name for preset in shipped()} <= set(found)
    assert found[-2:] == ["more things/", "my task.toml"]
    assert offers(["sdtui", "check", "more things/"])[-1].word == "more things/deep.toml"
    assert in_bash("sdtui new-project m", shell) == ["more things/"]
    assert in_bash("sdtui export slurm demo -o n", shell) == ["notes.txt"]


def test_variables_of_the_named_preset_are_offered(shell: dict[str, str]) -> None:
    """Those six that the platform has, and what the preset's own script reads."""
    Path("own.toml").write_text('[env]\nMY_WAY = "1"\n"bad name" = "2"\n')
    assert in_bash("sdtui --run own.toml --env ", shell) == [
        *(f"{name}=" for name in PLATFORM_ENV), "MY_WAY=",
    ]  # fmt: skip


def test_hostile_names_reach_no_shell(shell: dict[str, str]) -> None:
    """A Tab must not run what somebody put into a shared folder, nor steer the terminal."""
    make_run("20260801-070640-fine")
    for name in (
        "20260801-070641-$(touch pwned)",
        "20260801-070642-a;id",
        "20260801-070643-\x1b[2J",
    ):
        (runs_root() / name).mkdir()
    for name in ("\x1b]52;c;eA==\x07.toml", "$(touch pwned).toml", "two\nlines.toml", "a`id`.toml"):
        Path(name).touch()
    assert in_bash("sdtui show ", shell) == ["last", "fine", "20260801-070640-fine"]
    found = in_bash("sdtui --run ", shell)
    assert not [word for word in found if "\x1b" in word or "lines" in word]
    with interactive_bash(shell) as it:
        it.press("sdtui --run ./\\$\t")
        it.until(r"\$\(touch\ pwned\).toml")
    assert not Path("pwned").exists()


def interactive_bash(env: dict[str, str]) -> PtyConsole:
    Path("rc").write_text('PS1="> "\nbind "set enable-bracketed-paste off"\n'
                          'eval "$(sdtui completion bash)"\n')  # fmt: skip
    argv = ["bash", "--noprofile", "--rcfile", "rc", "-i"]
    it = PtyConsole(100, 30, argv=argv, **env)
    it.until(">")
    return it


def test_tab_in_a_real_bash_goes_on_where_a_value_follows(shell: dict[str, str]) -> None:
    """A blank after the equals sign has to be taken back each time."""
    make_run("20260801-070640-cats")
    with interactive_bash(shell) as it:
        it.press("sdtui --run dem\t--set train.lr_sch\tpoly\t--set gpu.sha\ttr\t")
        it.until("sdtui --run demo --set train.lr_scheduler=polynomial --set gpu.share=true")
        it.press("\x15sdtui att\tca\t")
        it.until("> sdtui attach cats")


@pytest.mark.parametrize("name", ["zsh", "fish"])
def test_zsh_and_fish_complete(name: str, shell: dict[str, str], tmp_path: Path) -> None:
    """The same answers, through the completion of the shell itself."""
    program = shutil.which(name)
    if program is None:
        pytest.skip(f"{name} is not installed")
    make_run("20260801-070640-cats")
    if name == "fish":
        for line, wanted in (("sdtui show ca", "cats"), ("sdtui att", "attach"),
                             ("sdtui --set train.lr_scheduler=pol",
                              "train.lr_scheduler=polynomial")):  # fmt: skip
            script = f"sdtui completion fish | source; complete -C {shlex.quote(line)}"
            done = subprocess.run(
                [program, "--no-config", "-c", script], env=shell | {"HOME": str(tmp_path)},
                capture_output=True, text=True, check=True,
            )  # fmt: skip
            assert done.stdout.split("\t")[0].strip() == wanted
        return
    Path("zrc").write_text("autoload -Uz compinit; compinit -u -D; PS1='> '\n"
                           'eval "$(sdtui completion zsh)"\n')  # fmt: skip
    environment = shell | {"HOME": str(tmp_path), "TERM": "xterm"}
    with PtyConsole(100, 30, argv=[program, "-f", "-i"], **environment) as it:
        it.press("source ./zrc; clear\r")
        it.until(lambda: it.text().startswith(">"))
        it.press("sdtui --run dem\t--set train.lr_sch\tpoly\t")
        it.until("sdtui --run demo --set train.lr_scheduler=polynomial")
        it.press("\x15sdtui att\tca\t")
        it.until("> sdtui attach cats")


def actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield from actions(inner)


def test_no_option_and_no_value_can_be_missed() -> None:
    """A new option is completed without a line of its own; a new kind of value must be told."""
    for action in actions(build_parser()):
        if action.nargs != 0 and action.choices is None:
            assert action.metavar in VALUES, f"{action.dest}: say in VALUES what it may be"
    commands = next(a for a in build_parser()._actions if isinstance(a, argparse._SubParsersAction))
    assert [o.word for o in offers(["sdtui", ""])] == list(commands.choices)
    for name, inner in commands.choices.items():
        wanted = {n for a in inner._actions for n in a.option_strings}
        assert {o.word for o in offers(["sdtui", name, "-"])} == wanted


def test_every_key_of_a_task_is_offered() -> None:
    """From the shipped schema, which another test holds to the models."""
    found = {o.word for o in offers(["sdtui", "--set", ""])}
    assert {f"train.{name}=" for name in TrainSpec.model_fields} <= found
    assert {
        "name=",
        "runtime=",
        "command=",
        "gpu.count=",
        "metrics.source=",
        "cluster.mem=",
    } <= found
    assert not [word for word in found if word.startswith(("mounts", "env"))]
    assert {word.partition(".")[0].rstrip("=") for word in found} <= set(TaskSpec.model_fields)
    assert "runtime=docker" in {o.word for o in offers(["sdtui", "--set", "runtime=d"])}
    assert "--set=gpu.count=" in {o.word for o in offers(["sdtui", "--set=gpu.c"])}


def test_what_has_no_answer_is_answered_in_silence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Words of ours amid the line that somebody types are worse than no candidate."""
    monkeypatch.setenv("SDTUI_HOME", "~nobody-of-this-name/x")
    assert cli.main(["__complete", "bash", "sdtui", "show", ""]) == 0
    assert cli.main(["__complete", "bash"]) == 0
    assert cli.main(["__complete", "fish", "sdtui", "show", "'"]) == 0
    assert "cannot be found" not in "".join(capsys.readouterr())


def test_a_tab_loads_neither_pydantic_nor_the_console() -> None:
    """It is pressed a hundred times a day, and 150 ms are felt."""
    code = (
        "import sys; from sdtui import cli\n"
        "for words in (['show', ''], ['--set', 'train.'], ['--run', ''], ['--env', '']):\n"
        "    cli.main(['__complete', 'bash', 'sdtui', *words])\n"
        "print(sorted({'pydantic', 'textual', 'rich', 'torch', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"

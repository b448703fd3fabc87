"""The command line in full: every command, its arguments and their help."""

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from sdcore import __version__
from sdcore.text import clean_line

_RUN = "an id, the beginning of one, a name (its newest run), or last"
_EPILOG = """\
exit codes: 0 done, 1 training failed, 2 usage or preset, 3 host not ready,
4 stopped and saved, 5 out of memory, 6 non-finite loss, 7 lost (killed or
rebooted), 130/143 interrupted, not saved
"""


class _Parser(argparse.ArgumentParser):
    """Shows a wrong argument in a line, with the nearest right one, instead of the whole usage."""

    def parse_known_args(  # type: ignore[override]  # of its overloads ours is the general one
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> Any:
        """Judge the first word itself: argparse takes what follows a wrong option for a command."""
        words = list(sys.argv[1:] if args is None else args)
        first = words[0].partition("=")[0] if words else ""
        if len(first) > 2 and first.startswith("--") and first not in self._option_string_actions:
            self.error(f"unrecognized arguments: {first}")
        return super().parse_known_args(words, namespace)

    def error(self, message: str) -> NoReturn:
        wrong, right = "", list[str]()
        if found := re.fullmatch(r"unrecognized arguments: (\S+).*", message, re.DOTALL):
            wrong, right = found[1], list(self._option_string_actions)
        elif found := re.fullmatch(r".*invalid choice: '(.*)' \(choose from (.*)\)", message):
            wrong, right = found[1], [word.strip("'") for word in found[2].split(", ")]
        import difflib  # noqa: PLC0415  # rare

        near = difflib.get_close_matches(wrong, right, n=1)
        step = f"run `{self.prog} --help`"
        if near:
            step = f"did you mean {near[0]}? `{self.prog} --help` shows all"
        self.exit(2, f"sdtui: {clean_line(message)}\n  remedy: {step}\n")


def build_parser() -> argparse.ArgumentParser:
    """Describe the whole command line."""
    parser = _Parser(
        prog="sdtui",
        description="Train Stable Diffusion, watch it, leave it, come back.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"sdtui {__version__}")
    parser.add_argument("--run", metavar="PRESET", help="train a preset: a path or a shipped name")
    parser.add_argument(
        "--view", action="store_true", help="open the console to look, and change nothing"
    )
    # Own names, because a command's option of the same name would silently take their place.
    _wishes(parser, prefix="run_")
    parser.add_argument("--name", dest="run_name", metavar="NAME", help="name of the run")
    _detach(parser, dest="run_detach")
    _json(parser, dest="run_json")
    parser.add_argument(
        *("-n", "--dry-run"),
        dest="run_dry_run",
        action="store_true",
        help="show what would run, and start nothing",
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=_Parser)

    def command(name: str, words: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=words, description=words, allow_abbrev=False)

    _json(command("ls", "list all runs, newest first"))
    _add_reading(command)
    _add_acting(command)
    _add_asking(command)
    return parser


def _add_reading(command: Callable[[str, str], argparse.ArgumentParser]) -> None:
    show = command("show", "show everything of a run")
    _json(_which(show))
    attach = command("attach", "follow a run; Ctrl-C leaves it, and it goes on")
    _json(_which(attach))
    logs = _which(command("logs", "print the log of a run"))
    logs.add_argument("-f", "--follow", action="store_true", help="go on until the run is over")
    logs.add_argument("-n", "--lines", type=_whole, metavar="N", help="only the last N lines")
    _json(_which(command("wait", "wait until a run is over; return its exit code")))


def _add_acting(command: Callable[[str, str], argparse.ArgumentParser]) -> None:
    stop = _which(command("stop", "save, then stop a run"), required=True)
    how = stop.add_mutually_exclusive_group()
    how.add_argument("--now", action="store_true", help="SIGTERM now, without a save")
    how.add_argument("--kill", action="store_true", help="SIGKILL now")
    stop.add_argument(
        "--grace", type=_seconds, metavar="S", help="seconds until the next, harder step"
    )
    _detach(stop, words="leave the request and do not wait")
    resume = _which(command("resume", "go on with a run that is over"), required=True)
    _wishes(resume)
    _detach(resume)
    _json(resume)
    rm = command("rm", "remove runs with all they left, checkpoints and pipelines too")
    rm.add_argument("runs", nargs="+", metavar="RUN", help=_RUN)
    rm.add_argument("-y", "--yes", action="store_true", help="do not ask")


def _add_asking(command: Callable[[str, str], argparse.ArgumentParser]) -> None:
    check = command("check", "say what is wrong with a preset, in seconds")
    check.add_argument("preset", metavar="PRESET", help="a path or a shipped name")
    _wishes(check)
    _json(check)
    export = command("export", "write a preset as a job file for a cluster's own client")
    export.add_argument("engine", choices=("slurm", "kubernetes", "skypilot"))
    export.add_argument("preset", metavar="PRESET", help="a path or a shipped name")
    export.add_argument("-o", "--output", metavar="FILE", help="left out: stdout")
    _wishes(export)
    _json(command("presets", "list the presets that come with sdtui"))
    project = command("new-project", "write a project: a train.sh and the task that runs it")
    project.add_argument("folder", metavar="DIR", help="where to; made if it is not there")
    project.add_argument("--dataset", metavar="DIR", default="~/data/my-images",
                         help="folder of the data set")  # fmt: skip
    project.add_argument("--model", metavar="DIR", default="~/models/stable-diffusion-v1-5",
                         help="folder of the model")  # fmt: skip
    project.add_argument("--gpus", type=_gpus, metavar="N", default=1, help="0 trains on the CPU")
    _json(project)
    schema = command("schema", "print the JSON schema of presets or of --json lines")
    schema.add_argument("which", nargs="?", choices=("preset", "events"), default="preset")
    _json(command("doctor", "say what this host has"))
    completion = command("completion", "print what a shell needs to complete sdtui's arguments")
    completion.add_argument("shell", choices=("bash", "zsh", "fish"))


def _which(parser: argparse.ArgumentParser, *, required: bool = False) -> argparse.ArgumentParser:
    if required:
        parser.add_argument("run_ref", metavar="RUN", help=_RUN)
    else:
        parser.add_argument("run_ref", metavar="RUN", nargs="?", default="last", help=_RUN)
    return parser


def _wishes(parser: argparse.ArgumentParser, prefix: str = "") -> None:
    for name, form, words in (
        ("set", "KEY=VALUE", "change the preset, e.g. train.lr_scheduler=cosine"),
        ("env", "NAME=VALUE", "change its environment table, e.g. lr=1e-4"),
    ):
        parser.add_argument(
            f"--{name}",
            dest=prefix + name,
            metavar=form,
            action="append",
            default=[],
            help=f"{words}; may be repeated",
        )


def _json(parser: argparse.ArgumentParser, dest: str = "json") -> None:
    parser.add_argument("--json", dest=dest, action="store_true", help="write JSON to stdout")


def _detach(
    parser: argparse.ArgumentParser,
    dest: str = "detach",
    words: str = "print the run's id and leave it to itself",
) -> None:
    parser.add_argument("--detach", dest=dest, action="store_true", help=words)


def _whole(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of lines")
    return int(text)


def _gpus(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 <= int(text[:9]) <= 64:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of GPUs up to 64")
    return int(text)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 86_400:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds up to 86400")
    return value

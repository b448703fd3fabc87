"""The entry: loads what the arguments need, turns errors into exit codes.

Nothing is imported here that ``--version`` does not need: pydantic costs 150 ms, torch seconds.
Nor what the console alone does not need, the parser of arguments for one.
"""

import errno
import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from sdcore.errors import ExitCode, SdError

_ONLY_WITH_RUN = (
    "run_set", "run_env", "run_name", "run_detach", "run_json", "run_dry_run",
)  # fmt: skip
# What a shell can meet that is neither a bug of ours nor a wrong argument.
_HOST_ERRORS = {
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EMFILE,
    errno.ENOTDIR, errno.EEXIST, errno.ELOOP, errno.ENAMETOOLONG, errno.ESTALE,
    errno.ENOENT,  # a run that is removed while it is read
}  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; see ``ExitCode``."""
    _prepare_streams()
    try:
        code = _dispatch(list(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()  # here, where a closed pipe can still be met
    except BrokenPipeError:
        return _reader_gone()
    except SdError as error:
        from sdtui.terminal import say_error

        say_error(error)
        return int(error.exit_code)
    except KeyboardInterrupt:
        sys.stderr.write("\n")
        return int(ExitCode.INTERRUPTED)
    except OSError as error:
        if error.errno == errno.EIO and error.filename is None:  # the terminal is gone
            return 128 + 1
        if error.errno not in _HOST_ERRORS:
            raise
        from sdtui.terminal import say_error

        say_error(_host_error(error))
        return int(ExitCode.NOT_READY)
    return code


def _prepare_streams() -> None:
    if sys.stdin is None:  # started with <&-
        sys.stdin = Path(os.devnull).open(encoding="utf-8")  # noqa: SIM115  # for good
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # started with >&-
            nowhere = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115  # for good
            setattr(sys, name, nowhere)
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a locale without Unicode must not end us


def _dispatch(argv: list[str]) -> int:
    if not argv:
        return _open_console(read_only=False)
    if argv[0] == "__complete":  # a shell asks, at every Tab; no command for people
        from sdtui.completing import complete

        return complete(argv[1:])
    from sdtui.arguments import build_parser

    parser = build_parser()
    if argv[:1] == ["run"]:
        wished = argv[1] if len(argv) > 1 else "PRESET"
        parser.error(f"`run` is no command; did you mean `sdtui --run {wished}`?")
    args = parser.parse_args(argv)
    stray = [name for name in _ONLY_WITH_RUN if getattr(args, name)]
    if args.command is not None:
        if args.run is not None or stray or args.view:
            flag = "--run" if args.run is not None else _flag(stray[0] if stray else "view")
            parser.error(f"{flag} cannot stand before `{args.command}`; try it after")
        module = importlib.import_module(f"sdtui.commands.{args.command.replace('-', '_')}")
        return int(module.run(args))
    if args.run is None:
        if stray:
            parser.error(f"{_flag(stray[0])} needs --run PRESET or a command")
        return _open_console(read_only=args.view)
    if args.view:
        parser.error("--view belongs to the console and cannot stand with --run")
    from sdtui.headless import run_preset

    return run_preset(
        args.run,
        sets=args.run_set,
        env=args.run_env,
        name=args.run_name,
        detach=args.run_detach,
        json=args.run_json,
        dry_run=args.run_dry_run,
    )


def _open_console(*, read_only: bool) -> int:
    from sdtui.opening import open_console

    return open_console(read_only=read_only)


def _flag(dest: str) -> str:
    return "--" + dest.removeprefix("run_").replace("_", "-")


def _host_error(error: OSError) -> SdError:
    from sdcore.text import clean_line

    where = clean_line(str(error.filename)) if error.filename is not None else "a file"
    remedy = "free some room" if error.errno in {errno.ENOSPC, errno.EDQUOT} else "see who may"
    return SdError(
        f"{where} cannot be used",
        cause=error.strerror or type(error).__name__,
        remedy=f"{remedy}, or set SDTUI_HOME to a folder of yours",
    )


def _reader_gone() -> int:
    """Leave as the shell expects of a program whose reader left, such as ``head``."""
    # Else the interpreter flushes into the closed pipe once more and complains.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 128 + 13

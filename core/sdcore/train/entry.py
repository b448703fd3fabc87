"""The entry: flags in, exit code out, and the outcome of this rank on disk."""

import os
import sys
from collections.abc import Sequence

from sdcore.errors import ExitCode, NotReadyError, SdError
from sdcore.train import collecting, quiet
from sdcore.train.arguments import Arguments, parse
from sdcore.train.outcome import (
    NonFiniteError,
    RankRecord,
    StopEarly,
    is_lost_peer,
    is_out_of_memory,
    last_lines,
    memory_remedy,
)
from sdcore.train.places import Places
from sdcore.train.report import say
from sdcore.train.stopping import StopFlag, follow_parent


def main(argv: Sequence[str] | None = None) -> int:
    """Train.

    Returns:
        0 done, 1 failed, 2 wrong flags, 3 host or data not ready, 4 stopped and saved, 5 out of
        memory, 6 not finite, 130 interrupted twice.
    """
    quiet.set_environment()
    stop = StopFlag()
    stop.install()
    follow_parent(os.environ)
    record = RankRecord(os.environ)
    try:
        arguments = parse(argv, os.environ)
        record.spec = arguments.spec
        with collecting.collecting_later():
            done = _train(arguments, record, stop)
    except StopEarly as early:
        record.write("stopped", str(early))
        say(f"stopped: {early}")
        return ExitCode.STOPPED
    except KeyboardInterrupt:
        record.write("failed", "interrupted twice; the last checkpoint is the newest state")
        return ExitCode.INTERRUPTED
    except SdError as error:
        outcome = "non_finite" if isinstance(error, NonFiniteError) else "failed"
        record.write(outcome, f"{error.what}: {error.cause}", error.remedy)
        _print(f"rank {record.rank}: {error}" if record.rank else str(error))
        return error.exit_code
    except Exception as error:  # noqa: BLE001 - the last stop: told in full, on disk and stderr
        return _failed(error, record)
    if done:
        record.write("done", "")
        return ExitCode.DONE
    record.write("stopped", f"stopped on request at step {record.step} and saved",
                 "resume the run")  # fmt: skip
    say(f"stopped at step {record.step}; saved in {record.checkpoint}")
    return ExitCode.STOPPED


def _train(arguments: Arguments, record: RankRecord, stop: StopFlag) -> bool:
    places = Places.of(arguments.spec, os.environ)
    try:
        places.make()
    except OSError as error:
        raise NotReadyError(
            f"the output folder {places.run.root} cannot be written",
            cause=str(error.strerror),
            remedy="choose another output_dir, or change its owner or permissions",
        ) from error
    record.settle(places)
    from sdcore.train import session  # noqa: PLC0415 - torch: 2 s that a wrong flag must not cost

    return session.run(arguments, places, record, stop)


def _failed(error: Exception, record: RankRecord) -> int:
    trace = last_lines(error)
    if is_out_of_memory(error):
        remedy = memory_remedy(record.spec)
        first = str(error).split("\n")[0]
        record.write("out_of_memory", f"the GPU's memory was full: {first}", remedy, trace)
        _print(f"{trace}\nthe GPU's memory was full\n  remedy: {remedy}")
        return ExitCode.OUT_OF_MEMORY
    reason = f"{type(error).__name__}: {error}"
    if is_lost_peer(error):
        reason = f"another process of this run ended first ({reason})"
    record.write("failed", reason, None, trace)
    _print(trace)
    return ExitCode.FAILED


def _print(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()

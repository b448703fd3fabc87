"""What may be passed on to sbatch, and what would break how a run is kept.

A run relies on where its job starts, what its environment is, which signal comes before the time
limit and who may restart it; an option that changes one of these would lose a run, hours later.
"""

import re

_OURS = "sdtui sets it itself"
_FIELD = "write cluster.{} instead"
_REFUSED = {
    "wrap": "the job is sdtui's own script",
    "export": "the environment travels in a file that only you can read",
    "export-file": "the environment travels in a file that only you can read",
    "get-user-env": "the environment travels in a file that only you can read",
    "output": _OURS, "error": _OURS, "input": _OURS, "open-mode": _OURS, "chdir": _OURS,
    "job-name": _OURS, "comment": _OURS, "parsable": _OURS,
    "array": "a run is one job",
    "hetjob": "a run is one job",
    "clusters": "its job could not be found again",
    "signal": _FIELD.format("grace_s"),
    "requeue": _FIELD.format("restarts"), "no-requeue": _FIELD.format("restarts"),
    "nodes": _FIELD.format("nodes"), "partition": _FIELD.format("partition"),
    "account": _FIELD.format("account"), "qos": _FIELD.format("qos"),
    "constraint": _FIELD.format("constraint"), "time": _FIELD.format("time_limit"),
    "cpus-per-task": _FIELD.format("cpus_per_task"), "mem": _FIELD.format("mem"),
    "gres": "write gpu.count and gpu.type instead", "gpus": "write gpu.count instead",
    "gpus-per-node": "write gpu.count instead", "gpus-per-task": "write gpu.count instead",
    "gpus-per-socket": "write gpu.count instead",
    "ntasks": "there is one task per machine, which starts the processes",
    "ntasks-per-node": "there is one task per machine, which starts the processes",
    "ntasks-per-gpu": "there is one task per machine, which starts the processes",
    "test-only": "nothing would be submitted", "help": "nothing would be submitted",
    "usage": "nothing would be submitted", "version": "nothing would be submitted",
    "wait": "sdtui waits itself: sdtui wait",
}  # fmt: skip
# Whole names that begin a refused one, and mean something else.
_ELSE = {"mem-per-cpu", "mem-per-gpu"}
_DAYS = re.compile(r"(\d+)-(\d+)(?::(\d+))?(?::(\d+))?")


def refused_option(option: str) -> str | None:
    """Say why ``--name`` or ``--name=value`` cannot be passed on; None when it can.

    sbatch takes any beginning of a name that is like no other, so such a beginning counts, too.
    """
    name = option.removeprefix("--").partition("=")[0]
    if name in _REFUSED:
        return _REFUSED[name]
    if name.startswith(("container", "no-container")):
        return "the supervisor stays outside; write image and runtime = 'pyxis' instead"
    if name in _ELSE:
        return None
    full = next((each for each in _REFUSED if each.startswith(name)), None)
    return None if full is None else f"it can be read as --{full}; {_REFUSED[full]}"


def seconds_of(limit: str) -> int | None:
    """Return the seconds of a time limit in Slurm's forms; None for UNLIMITED."""
    if limit == "UNLIMITED":
        return None
    if days := _DAYS.fullmatch(limit):
        day, hour, minute, second = (int(part or 0) for part in days.groups())
        return ((day * 24 + hour) * 60 + minute) * 60 + second
    parts = [int(part) for part in limit.split(":")]
    if len(parts) == 3:
        return (parts[0] * 60 + parts[1]) * 60 + parts[2]
    return parts[0] * 60 + (parts[1] if len(parts) == 2 else 0)

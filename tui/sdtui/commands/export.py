"""``sdtui export``: the job file of a preset, for an engine that takes files."""

import argparse
import sys
from pathlib import Path

from sdcore.errors import NotReadyError, UsageError
from sdcore.runs.files import write_bytes
from sdcore.task.presets import load_preset
from sdcore.task.spec import TaskSpec
from sdcore.text import clean_line, from_home
from sdtui.terminal import say


def run(args: argparse.Namespace) -> int:
    """Write the file, to stdout or where ``-o`` says; an existing one is not written over."""
    text = _render(args.engine, load_preset(args.preset, sets=args.set, env=args.env).task)
    if args.output is None:
        sys.stdout.write(text)
        return 0
    path = Path(from_home(args.output))
    if path.exists():
        raise UsageError(
            f"{clean_line(str(path), 200)} is not written",
            cause="it is there already",
            remedy="remove it, or choose another name",
        )
    write_bytes(path, text.encode())
    say(f"written: {clean_line(str(path), 4096)}")
    return 0


def _render(engine: str, task: TaskSpec) -> str:
    if engine == "kubernetes":
        from sdcore.launch.exporting.kubernetes import job_file

        return job_file(task)
    if engine == "skypilot":
        from sdcore.launch.exporting.skypilot import task_file

        return task_file(task)
    from sdcore.launch.exporting.slurm import batch_file
    from sdcore.launch.slurm import gres_type

    return batch_file(task, gres_type(task.gpu.type, _offered(task)))


def _offered(task: TaskSpec) -> list[str]:
    """Return the types of GPU of the cluster that this machine reaches; none where it is none."""
    from sdcore.cluster.submission import offered_types

    try:
        return offered_types() if task.gpu.count and task.gpu.type else []
    except NotReadyError:
        return []

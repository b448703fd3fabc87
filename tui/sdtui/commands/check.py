"""``sdtui check``: all that is wrong with a preset, and what it would do."""

import argparse

from sdcore.checks.check import check_task
from sdcore.task.presets import load_preset
from sdtui.headless import show_plan
from sdtui.terminal import say


def run(args: argparse.Namespace) -> int:
    """Write the findings; 0 when the task can start, else 2 or 3."""
    task = load_preset(args.preset, sets=args.set, env=args.env).task
    report = check_task(task)
    code = show_plan(task, report, json=args.json, command=False)
    if code == 0 and not args.json:
        say("ready to run")
    return code

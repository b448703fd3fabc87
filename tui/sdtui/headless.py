"""``sdtui --run PRESET``: check, start, follow, all without the console."""

import sys
from collections.abc import Sequence
from datetime import datetime

from sdcore import __version__, units
from sdcore.checks.check import Report, check_task
from sdcore.checks.findings import Finding
from sdcore.cluster.submission import sbatch_options
from sdcore.errors import ExitCode
from sdcore.launch.planner import command_line, plan_launch
from sdcore.runs.paths import RunDir, new_run_id, runs_root
from sdcore.supervise.begin import freeze, start_run
from sdcore.task.presets import load_preset
from sdcore.task.spec import TaskSpec
from sdcore.text import clean, clean_line, shell_word
from sdtui.following import Signals, follow_run, saves_on_stop
from sdtui.stream import run_message
from sdtui.terminal import columns, out, out_json, rows, say


def run_preset(
    ref: str,
    *,
    sets: Sequence[str],
    env: Sequence[str],
    name: str | None,
    detach: bool,
    json: bool,
    dry_run: bool,
) -> int:
    """Train what ``ref`` names; return an exit code of ``ExitCode``.

    Args:
        ref: A path or the name of a shipped preset.
        sets: ``key=value`` wishes.
        env: ``NAME=value`` wishes for the environment table.
        name: The run's name, if another than the preset's.
        detach: Print the id and leave the run to itself.
        json: JSON lines on stdout.
        dry_run: Only show what would run.
    """
    task = load_preset(ref, sets=sets, env=env, name=name).task
    report = check_task(task)
    if dry_run:
        return show_plan(task, report, json=json)
    tell_findings(report, json=json)
    if report.errors:
        return int(report.exit_code)
    steps = report.plan.max_train_steps if report.plan else None
    # From here on a Ctrl-C is a wish to stop the run; it must not cut its creation in two.
    with Signals() as signals:
        run = start_run(freeze(task), total_steps=steps, fingerprint=report.fingerprint)
        return go_on(run, signals, detach=detach, json=json)


def go_on(run: RunDir, signals: Signals, *, detach: bool, json: bool, log_from: int = 0) -> int:
    """Follow a run that was just started, its log from ``log_from`` on, or leave it to itself."""
    if detach and not signals.waiting:  # a Ctrl-C during the start is a wish to stop the run
        out_json(run_message(run, __version__), stream=True) if json else out(run.id)
        return int(ExitCode.DONE)
    if not json:
        say(f"run {run.id}")
        stops = "saves and stops it" if saves_on_stop(run) else "stops it"
        say(f"Ctrl-C {stops}; when the terminal closes it goes on")
        say(f"come back from any shell: sdtui attach {run.id}")
    return follow_run(run, signals, json=json, owner=True, log_from=log_from)


def tell_findings(report: Report, *, json: bool) -> None:
    """Tell all that the check found: warnings to a person, errors always to stderr."""
    for finding in report.findings:
        if json:
            record = {
                "type": "finding",
                "level": finding.level,
                "what": finding.what,
                "cause": finding.cause,
                "remedy": finding.remedy,
                "exit_code": int(finding.exit_code) if finding.level == "error" else 0,
            }
            out_json(record, stream=True)
        if not json or finding.level == "error":
            say(finding_words(finding))


def finding_words(finding: Finding) -> str:
    """Write a finding as every error is written."""
    words = f"{finding.level}: {finding.what}\n  cause:  {finding.cause}"
    return clean(f"{words}\n  remedy: {finding.remedy}" if finding.remedy else words)


def submission(task: TaskSpec) -> str:
    """Write the sbatch that ``--run`` would call, with a run that is not made."""
    run = RunDir(runs_root() / new_run_id(task.name, datetime.now().astimezone()))
    words = ["sbatch", *sbatch_options(task, run), str(run.cluster_folder / "job.sh")]
    return " ".join(shell_word(word) for word in [*words, sys.executable, str(run.root)])


def show_plan(task: TaskSpec, report: Report, *, json: bool, command: bool = True) -> int:
    """Write what would run, and what stands against it, and start nothing.

    Args:
        task: The task.
        report: What its check found.
        json: Write one JSON object.
        command: Also write the command line.
    """
    plan = None
    if command and not report.errors:
        now = datetime.now().astimezone()
        steps = report.plan.max_train_steps if report.plan else None
        plan = plan_launch(
            task, RunDir(runs_root() / new_run_id(task.name, now)), total_steps=steps
        )
    if json:
        record = {"name": task.name, "ok": not report.errors, **report.to_record()}
        if plan is not None:
            record |= {"command": command_line(plan), "launch": plan.masked().to_record()}
        out_json(record)
        return int(report.exit_code)
    facts = [(label, clean_line(words)) for label, words in report.facts]
    lines = report.plan.lines() if report.plan else []
    pairs = [("name", task.name), *facts, *[("plan", clean_line(x)) for x in lines]]
    for line in rows(pairs, columns(sys.stdout)):
        out(line)
    if plan is not None:
        if task.cluster is not None:
            out(f"\n{clean_line(submission(task), 100_000)}")
        out(f"\n{clean_line(command_line(plan), 100_000)}")
    if report.findings and sys.stdout.isatty():
        say("")
    for finding in report.findings:
        say(finding_words(finding))
    if report.errors:
        say(f"not ready: {units.count(len(report.errors), 'error')}")
    return int(report.exit_code)

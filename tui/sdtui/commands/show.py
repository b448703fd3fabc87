"""``sdtui show``: everything of one run."""

import argparse
import shlex
import sys
import time
from typing import Any

from sdcore import units
from sdcore.masking import mask_env
from sdcore.runs.fields import Fields, read_fields
from sdcore.runs.files import last_records
from sdcore.runs.hook import hook_words, read_hook
from sdcore.runs.logs import Mask
from sdcore.runs.paths import RunDir, step_folders
from sdcore.runs.status import Status, read_status
from sdcore.runs.store import find_run
from sdcore.text import clean_line
from sdtui.frozen import surroundings
from sdtui.secrets import mask_of, masked
from sdtui.terminal import columns, out, out_json, rows, state_sign
from sdtui.words import (
    UNFOLDED,
    event_words,
    load_line,
    loss_words,
    metrics_words,
    pace_words,
    path_words,
    phase_words,
    state_words,
    step_words,
)


def run(args: argparse.Namespace) -> int:
    """Write what is known, in sections; with ``--json`` as one object."""
    run_dir = find_run(args.run_ref)
    status = read_status(run_dir)
    launch = (read_fields(run_dir.launch) or Fields(None)).record
    launch = {**launch, "env": _masked_env(launch)}
    if args.json:
        out_json(_record(run_dir, status, launch))
        return 0
    mask = mask_of(run_dir)
    pairs = [*_now(status), *_results(run_dir, status), *_start(run_dir, launch)]
    masked = [(label, mask(words)) for label, words in pairs]
    for line in rows(masked, columns(sys.stdout), whole=UNFOLDED):
        out(line)
    _tell_warnings(run_dir, mask)
    if status.state in {"failed", "interrupted"} and any(status.last_lines):
        out("\nthe log ends:")
        for text in status.last_lines:
            out(f"  | {mask(text)}")
    return 0


def _masked_env(launch: dict[str, Any]) -> dict[str, str]:
    """The launcher has masked it already; a record made by hand may not be."""
    env = launch.get("env")
    return mask_env({str(k): str(v) for k, v in env.items()}) if isinstance(env, dict) else {}


def _record(run_dir: RunDir, status: Status, launch: dict[str, Any]) -> dict[str, Any]:
    mask = mask_of(run_dir)
    record, launch = masked(status.to_record(), mask), masked(launch, mask)
    folders = {
        "checkpoints": [str(path) for path in step_folders(run_dir.checkpoints)],
        "samples": [str(path) for path in step_folders(run_dir.samples)],
    }
    return {**record, "path": run_dir.root, "log": run_dir.log, **folders, "launch": launch,
            "hook": masked(read_hook(run_dir, status.attempt) or {}, mask) or None}  # fmt: skip


def _now(status: Status) -> list[tuple[str, str]]:
    pairs = [
        ("run", status.id),
        ("state", f"{state_sign(status.state)}{state_words(status)[len(status.state) :]}"),
    ]
    if status.remedy:
        pairs.append(("remedy", clean_line(status.remedy)))
    if status.phase and not status.over:
        pairs.append(("phase", phase_words(status)))
    pairs += _progress(status)
    which = " (this attempt)" if status.attempt > 1 else ""
    pairs.append(("elapsed", f"{units.duration(status.elapsed)}{which}"))
    if status.eta_s is not None:
        pairs.append(("ETA", units.duration(status.eta_s)))
    pairs.append(("attempt", str(status.attempt)))
    if status.started is not None:
        pairs.append(("started", f"{_clock(status.started)}{which}"))
    if status.ended is not None:
        pairs.append(("ended", _clock(status.ended)))
    pairs.append(("GPUs", ", ".join(status.gpus) or "none"))
    return pairs + _end(status)


def _progress(status: Status) -> list[tuple[str, str]]:
    pairs = []
    if status.step is not None or status.total is not None:
        pairs.append(("step", step_words(status)))
    if status.loss is not None:
        pairs.append(("loss", loss_words(status.loss)))
    told = (("pace", pace_words(status)), ("metrics", metrics_words(status)))
    pairs += [(label, words) for label, words in told if words]
    if status.epoch is not None:
        pairs.append(("epoch", f"{status.epoch:.2f}"))
    return pairs


def _end(status: Status) -> list[tuple[str, str]]:
    pairs = []
    if status.job is not None:
        pairs.append(("job", status.job + (f" on {status.nodes}" if status.nodes else "")))
    if status.exit_code is not None:
        own = "" if status.code is None else f"; its start command returned {status.code}"
        signal = f"; ended by {status.signal_name}" if status.signal_name else ""
        pairs.append(("exit code", f"{status.exit_code}{own}{signal}"))
    if status.peak_gpu_memory is not None:
        pairs.append(("peak GPU", units.size(status.peak_gpu_memory)))
    if status.peak_rss is not None:
        pairs.append(("peak RSS", units.size(status.peak_rss)))
    return pairs


def _results(run_dir: RunDir, status: Status) -> list[tuple[str, str]]:
    pairs = [("folder", path_words(run_dir.root)), ("log", path_words(run_dir.log))]
    if status.checkpoint is not None:
        pairs.append(("checkpoint", path_words(status.checkpoint)))
    kept = [path.name for path in step_folders(run_dir.checkpoints)]
    if kept:
        pairs.append(("kept", ", ".join(kept)))
    samples = step_folders(run_dir.samples)
    if samples:
        earlier = f" and {len(samples) - 1} earlier" if len(samples) > 1 else ""
        pairs.append(("samples", f"{path_words(samples[-1])}{earlier}"))
    if status.pipeline is not None:
        pairs += [
            ("pipeline", path_words(status.pipeline)),
            ("load it", load_line(status.pipeline)),
        ]
    return pairs + _hook(run_dir, status.attempt)


def _hook(run_dir: RunDir, attempt: int) -> list[tuple[str, str]]:
    record = read_hook(run_dir, attempt)
    if record is None:
        return []
    written = run_dir.hook_log.exists() and run_dir.hook_log.stat().st_size > 0
    output = f"; its output: {path_words(run_dir.hook_log)}" if written else ""
    return [("hook", f"{hook_words(record)}{output}")]


def _start(run_dir: RunDir, launch: dict[str, Any]) -> list[tuple[str, str]]:
    fields = Fields(launch)
    argv, versions = launch.get("argv"), launch.get("versions")
    pairs = [("task", path_words(run_dir.task))]
    if fields.text("description"):
        pairs.insert(0, ("about", str(fields.text("description"))))
    if around := surroundings(run_dir):
        pairs.append(("runtime", ": ".join(around)))
    if isinstance(argv, list):
        pairs.append(("command", clean_line(shlex.join(map(str, argv)), 20_000)))
    own = [f"{k}={v}" for k, v in launch["env"].items() if not k.startswith("SDTUI_")]
    if own:
        pairs.append(("env", clean_line(" ".join(own), 20_000)))
    if isinstance(versions, dict):
        pairs.append(("versions", clean_line(" ".join(f"{k} {v}" for k, v in versions.items()))))
    return pairs


def _tell_warnings(run_dir: RunDir, mask: Mask) -> None:
    events = last_records(run_dir.events, want=10_000, window=1 << 20)
    told = [event_words(e) for e in events if e.get("kind") in {"warning", "non_finite"}]
    for text in dict.fromkeys(text for text in told if text):
        out(mask(text))


def _clock(at: float) -> str:
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
    except (OverflowError, ValueError, OSError):  # a record made by hand can hold any number
        return "–"

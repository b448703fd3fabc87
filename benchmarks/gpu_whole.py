"""Runs one trainer until its steps are made, reads them, and ends it."""

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gpu_cases import Case, Scale
from trainers import Trainer, environment, ours, reference

_WARM = 5  # steps left out
_POLL = 0.5  # s


def measure(
    case: Case, folder: Path, scale: Scale, args: argparse.Namespace, seconds: float
) -> dict[str, Any]:
    """Return the figures of a case, or under ``failed`` why there are none.

    Args:
        case: What to run.
        folder: With model and data; the trainer writes to ``out``.
        scale: How many steps.
        args: Where the reference is.
        seconds: It is ended after so long.
    """
    words, out = case.words(folder, scale), folder / "out"
    if case.needs_reference:
        # It knows nothing of our limit, and saves by itself every 500 steps at the least.
        trainer = reference(args.reference, words, out, args.packages)
    else:
        trainer = ours(case.name, words, out)
    began = time.monotonic()
    trainer.start(environment(folder))
    try:
        failed = _wait(trainer, case, scale, began + seconds)
    finally:
        trainer.kill()
    times = [step.at for step in trainer.steps()][_warm(scale) :]
    if failed is not None and len(times) < 3:
        return {"failed": failed, "log": trainer.tail(1500)}
    spans = [b - a for a, b in itertools.pairwise(times)]
    row: dict[str, Any] = {
        "images_per_s": case.batch * len(spans) / (times[-1] - times[0]),
        "step_s": statistics.median(spans), "steps": len(spans), "peak": trainer.peak_memory(),
        "seconds": round(time.monotonic() - began, 1),
    }  # fmt: skip
    if case.saves:
        row["stalls"] = [event["stall"] for event in _saves(out)]
    chosen = {e["what"]: e["chosen"] for e in _events(out) if e["kind"] == "choice"}
    return row | ({"chosen": chosen} if chosen else {}) | ({"cut": failed} if failed else {})


def measure_steps(folder: Path, scale: Scale, seconds: float) -> Iterator[dict[str, Any]]:
    """Yield a row for each technique; a process of its own, so that it can be ended."""
    argv = [sys.executable, str(Path(__file__).with_name("gpu.py")), "--steps-of",
            str(folder / "model"), *(["--real"] if scale.device == "cuda" else [])]  # fmt: skip
    out, log = folder / "out-steps.jsonl", folder / "out-steps.log"
    with out.open("w") as lines, log.open("w") as errors:
        process = subprocess.Popen(argv, stdout=lines, stderr=errors)
    try:
        code: int | str = process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        code = f"ended after {seconds:.0f} s"
    yield from (json.loads(line) for line in out.read_text().split("\n")[:-1])
    if code != 0:
        yield {"name": "the others", "failed": str(code), "log": log.read_text()[-1500:]}


def _warm(scale: Scale) -> int:
    return min(_WARM, scale.steps // 2)


def _wait(trainer: Trainer, case: Case, scale: Scale, end: float) -> str | None:
    """Wait until it has made its steps and its saves; say why, if it did not."""
    assert trainer.process is not None
    while time.monotonic() < end:
        made = len(trainer.steps()) > scale.steps
        if made and len(_saves(trainer.out)) >= case.saves:
            return None
        if trainer.process.poll() is not None:
            return f"ended with {trainer.process.returncode}"
        time.sleep(_POLL)
    return "its time was over"


def _saves(out: Path) -> list[dict[str, Any]]:
    return [event for event in _events(out) if event["kind"] == "checkpoint"]


def _events(out: Path) -> list[dict[str, Any]]:
    path = out / "events.jsonl"
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    return [json.loads(line) for line in lines]

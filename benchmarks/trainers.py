"""Starts diffusers' ``train_text_to_image.py`` and ours as processes and reads when they stepped.

The reference script is run unchanged from a path. It needs torchvision for its picture
transforms; a build of torchvision for another torch has those, but not the compiled operators
that it registers on import, so ``_SCRIPT`` leaves out the registrations that fail.
"""

import itertools
import json
import math
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
SPINS = {"GOMP_SPINCOUNT": "1000"}  # as sdtui plans a run on the CPU

_SCRIPT = """
import os, runpy, sys, threading, time, torch
real = torch.library.register_fake
def register(name, *rest, **options):
    if str(name).startswith("torchvision::"):
        return lambda function: function
    return real(name, *rest, **options)
torch.library.register_fake = register
import torchvision
torch.library.register_fake = real
def peaks():
    path = os.environ["BENCH_PEAK"]
    while True:  # it may be ended at any moment: at its end is too late
        time.sleep(1)
        if torch.cuda.is_initialized():
            open(path + ".new", "w").write(str(torch.cuda.max_memory_allocated()))
            os.replace(path + ".new", path)
if "BENCH_PEAK" in os.environ:
    threading.Thread(target=peaks, daemon=True).start()
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


class Step(NamedTuple):
    """One optimizer step as the trainer told it."""

    at: float  # seconds since the epoch
    loss: float
    peak: int | None = None  # bytes of GPU memory, where told


class Span(NamedTuple):
    """One turn of a trainer."""

    begin: float  # seconds since the epoch
    end: float
    cpu: float  # seconds of all its threads


@dataclass
class Trainer:
    """A trainer that can be started.

    Attributes:
        name: For the table.
        argv: Of the process.
        out: Where it writes; new for every start.
        steps_file: Its steps are in ``metrics.jsonl``; else in TensorBoard files.
        packages: A folder of packages that only it sees.
        env: Variables that only it gets.
    """

    name: str
    argv: list[str]
    out: Path
    steps_file: bool
    packages: Path | None = None
    env: dict[str, str] = field(default_factory=dict)
    began: float = 0.0
    process: "subprocess.Popen[bytes] | None" = None
    spans: list[Span] = field(default_factory=list)

    def start(self, environ: dict[str, str]) -> "subprocess.Popen[bytes]":
        """Start it, with its output in ``out.log``."""
        self.out.parent.mkdir(parents=True, exist_ok=True)
        with self.out.with_suffix(".log").open("wb") as log:
            self.began = time.time()
            found = {**self.env, "BENCH_PEAK": str(self.out.with_suffix(".peak"))}
            if self.packages:
                found["PYTHONPATH"] = str(self.packages)
            self.process = subprocess.Popen(
                self.argv, env=os.environ | environ | found, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        return self.process

    def check(self, timeout_s: float = 1800) -> None:
        """Wait for its end, and leave with the end of its log if it failed or takes too long."""
        assert self.process is not None
        try:
            code = self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise SystemExit(f"{self.name} was not done after {timeout_s:.0f} s") from None
        if code != 0:
            raise SystemExit(f"{self.name} ended with {code}:\n{self.tail(3000)}")

    def tail(self, characters: int) -> str:
        """Return the end of its log."""
        return self.out.with_suffix(".log").read_text(errors="replace")[-characters:]

    def kill(self) -> None:
        """End it and all that it started, now."""
        if self.process is not None:
            with suppress(ProcessLookupError):  # a group whose processes are all gone
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def peak_memory(self) -> int | None:
        """Return the most bytes of GPU memory it had allocated, where it told."""
        told = self.out.with_suffix(".peak")
        if told.exists():
            return int(told.read_text())
        peaks = [step.peak for step in self.steps() if step.peak is not None]
        return max(peaks, default=None)

    def steps(self) -> list[Step]:
        """Return the steps so far, in order."""
        if self.steps_file:
            return _of_lines(self.out / "metrics.jsonl")
        return _of_events(self.out)


def ours(name: str, flags: Sequence[str], out: Path) -> Trainer:
    """Return our trainer with these flags."""
    argv = [sys.executable, "-m", "sdcore.train", *flags, f"--output_dir={out}"]
    return Trainer(name, argv, out, steps_file=True, env=SPINS)


def reference(
    script: Path,
    flags: Sequence[str],
    out: Path,
    packages: Path | None,
    launcher: Sequence[str] = (),
    name: str = "reference",
) -> Trainer:
    """Return the reference script with these flags, by Python alone or by a launcher's options."""
    out.parent.mkdir(parents=True, exist_ok=True)
    shim = out.with_suffix(".py")
    shim.write_text(_SCRIPT)
    argv = [sys.executable, *launcher, str(shim), str(script), *flags, f"--output_dir={out}"]
    return Trainer(name, argv, out, steps_file=False, packages=packages)


def environment(folder: Path) -> dict[str, str]:
    """Keep every cache below ``folder`` and everyone off the network."""
    return {
        "SDTUI_HOME": str(folder / "home"),
        "HF_DATASETS_CACHE": str(folder / "datasets"),
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }


def _of_lines(path: Path) -> list[Step]:
    if not path.exists():
        return []
    lines = path.read_bytes().split(b"\n")[:-1]  # the last one can be half written
    records = [json.loads(line) for line in lines]
    return [Step(r["at"], r["loss"], r.get("gpu_peak")) for r in records]


def _of_events(out: Path) -> list[Step]:
    from tensorboard.backend.event_processing.event_file_loader import (  # noqa: PLC0415 - 1 s
        EventFileLoader,
    )

    found = []
    for path in sorted(out.rglob("events.out.tfevents.*")):
        for event in EventFileLoader(str(path)).Load():
            for value in event.summary.value:
                if value.tag == "train_loss":
                    loss = value.tensor.float_val[0] if value.HasField("tensor") else None
                    found.append(Step(event.wall_time, loss or value.simple_value))
    return found


def take_turns(trainers: Sequence[Trainer], environ: dict[str, str], slice_s: float) -> None:
    """Run all at once, one moving at a time: the others are stopped by the kernel.

    The machine's other work then falls on all of them alike, which it does not when one runs
    for minutes and then the next.

    Args:
        trainers: Each is started, and run to its end.
        environ: Added to the environment.
        slice_s: Seconds of one turn; several steps should fit.
    """
    with _all_ended(trainers):
        for trainer in trainers:
            os.killpg(trainer.start(environ).pid, signal.SIGSTOP)
        while moving := [t for t in trainers if t.process and t.process.poll() is None]:
            for trainer in moving:
                assert trainer.process is not None
                _slice(trainer, trainer.process, slice_s)
    for trainer in trainers:
        trainer.check()


def _slice(trainer: Trainer, process: "subprocess.Popen[bytes]", seconds: float) -> None:
    os.killpg(process.pid, signal.SIGCONT)
    begin, spent = time.time(), _cpu_seconds(process.pid)
    time.sleep(seconds)
    os.killpg(process.pid, signal.SIGSTOP)
    trainer.spans.append(Span(begin, time.time(), _cpu_seconds(process.pid) - spent))


def _cpu_seconds(group: int) -> float:
    """Return what the processes of a group have computed, all threads; the dead are left out."""
    ticks = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            numbers = path.read_text().rpartition(")")[2].split()
            if int(numbers[2]) == group:
                ticks += int(numbers[11]) + int(numbers[12])
    return ticks / os.sysconf("SC_CLK_TCK")


@contextmanager
def _all_ended(trainers: Sequence[Trainer]) -> Iterator[None]:
    """Leave nothing behind that is stopped and would stay so for ever, also on SIGTERM."""
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        yield
    finally:
        for trainer in trainers:
            if trainer.process is not None and trainer.process.poll() is None:
                trainer.kill()


def seconds_by_turn(trainer: Trainer, skip: int) -> list[float | None]:
    """Return the median seconds of a step in each turn; None where no whole step fell into it.

    Args:
        trainer: After ``take_turns``.
        skip: First steps left out, for warming up.
    """
    times = [step.at for step in trainer.steps()][skip:]
    pairs = list(itertools.pairwise(times))
    found: list[float | None] = []
    for begin, end, _ in trainer.spans:
        inside = [b - a for a, b in pairs if begin <= a and b <= end]
        found.append(statistics.median(inside) if inside else None)
    return found


def cpu_seconds(trainer: Trainer, skip: int) -> float:
    """Return the CPU seconds of a step, over whole turns of stepping.

    What other processes do to the machine hardly shows in it, as it does in the time that passes.
    Turns are left out until ``skip`` steps were made, and the last one, in which it saves and ends.
    """
    times = [step.at for step in trainer.steps()]
    turns = [span for span in trainer.spans if span.begin > times[skip] and span.end < times[-1]]
    made = sum(span.begin <= at <= span.end for at in times for span in turns)
    return sum(span.cpu for span in turns) / made if made else math.nan


def ratios(upper: Trainer, lower: Trainer, skip: int = 3) -> list[float]:
    """Return (seconds of a step of ``upper``) / (of ``lower``) for each turn that has both."""
    pairs = zip(seconds_by_turn(upper, skip), seconds_by_turn(lower, skip), strict=False)
    return [a / b for a, b in pairs if a is not None and b is not None]


def told(values: Sequence[float]) -> str:
    """Say a median with its quartiles."""
    if len(values) < 2:
        return f"{values[0]:.2f} (one turn)" if values else "no turn had both"
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:.2f}  ({low:.2f} to {high:.2f}, {len(values)} turns)"

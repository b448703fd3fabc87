"""Plays a whole run on disk, supervisor and trainer in one: for trying screens, and for tests.

Usage: fake_trainer.py RUN_DIR [options]; ``--name NAME`` makes a run under $SDTUI_HOME instead.
It holds the lock, writes state, metrics, events, log, GPU readings, checkpoints and samples, obeys
requests, and prints ``ready`` once it is on its way. Nothing of torch, no GPU.

  fake_trainer.py --name live --steps 600 --rate 10 --gpus 8
  fake_trainer.py --name flood --flood 1000 --hostile
  fake_trainer.py --name bad --nan-at 120        (or --oom-at, --stall-at)
"""

import argparse
import json
import math
import os
import random
import socket
import struct
import time
import zlib
from pathlib import Path
from typing import Any

from sdcore.runs import locks, requests
from sdcore.runs.files import LineWriter, write_json
from sdcore.runs.paths import RunDir, make_private, runs_root
from sdcore.runs.spans import boot_id

# Each of these did harm in some console: escapes, the clipboard, markup, bidi, odd widths.
HOSTILE = (
    "\x1b[2J\x1b[31mwiped\x1b[0m",
    "\x1b]52;c;ZXZpbA==\x07clipboard",
    "[bold red]markup[/] [link=http://x]y[/link] [/nothing]",
    "\u202egnp.exe\u202c 宽字符测试 👩‍👩‍👧 e\u0301\u0327",
    "\x9b2J\x90q\x9c back\b\bspace \a bell",
)
GIB = 1 << 30


def parser() -> argparse.ArgumentParser:
    """Return the options."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("root", type=Path, nargs="?")
    options.add_argument("--name", help="make a run of this name")
    options.add_argument("--steps", type=int, default=300)
    options.add_argument("--rate", type=float, default=10.0, help="steps a second")
    options.add_argument("--gpus", type=int, default=1)
    options.add_argument("--images", type=int, default=60, help="cached before the first step")
    options.add_argument("--every", type=int, default=50, help="steps between checkpoints")
    options.add_argument("--nan-at", type=int, help="the loss is NaN at this step")
    options.add_argument("--oom-at", type=int, help="out of memory at this step")
    options.add_argument("--stall-at", type=int, help="says nothing more from this step on")
    options.add_argument("--flood", type=float, default=0.0, help=r"log lines a second, half by \r")
    options.add_argument("--hostile", action="store_true", help="texts that try to do harm")
    options.add_argument("--save", type=float, default=0.5, help="seconds that saving takes")
    options.add_argument("--grace", type=float, default=300.0, help="seconds from stop to SIGTERM")
    options.add_argument("--quiet", action="store_true", help="write no log")
    options.add_argument("--foreign", action="store_true", help="a command that reads no requests")
    return options


class Trainer:
    """One run, from its first file to its last."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.run = args, _folder(args)
        self.random = random.Random(7)
        lock = locks.take(self.run.lock)
        assert lock is not None, "somebody runs here already"
        self.lock, self.started, self.step, self.loss = lock, time.time(), 0, 0.9
        self.latest: str | None = None
        self.told_gpus = self.flooded = 0.0
        self.run.requests.mkdir(exist_ok=True)
        self.run.output.mkdir(exist_ok=True)
        self._records()
        self.metrics, self.events = LineWriter(self.run.metrics), LineWriter(self.run.events)
        self.gpu_lines = LineWriter(self.run.gpu)
        self.log = self.run.log.open("ab", buffering=0)

    def _records(self) -> None:
        args, run = self.args, self.run
        host = {"boot_id": boot_id(), "host": socket.gethostname()}
        pid = {"format": 1, "pid": os.getpid(), "started": self.started}
        write_json(run.supervisor, pid | host)
        write_json(run.launch, {"format": 1, "total_steps": args.steps,
                                "cooperative": not args.foreign, "argv": ["fake"]})  # fmt: skip
        run.task.write_text(
            f'name = "{run.name}"\n[gpu]\ncount = {args.gpus}\n[env]\nlr = "1e-5"\n'
            'HF_TOKEN = "hf_fake_secret"\n'
            f"[train]\ncheckpointing_steps = {args.every}\nmax_train_steps = {args.steps}\n"
        )
        self.state("running")

    def state(self, phase: str, **more: object) -> None:
        """Write state.json."""
        gpus = [f"GPU-{index}" for index in range(self.args.gpus)]
        write_json(self.run.state, {"format": 1, "phase": phase, "since": time.time(),
                                    "attempt": 1, "gpus": gpus, **more})  # fmt: skip

    def event(self, kind: str, **more: object) -> None:
        """Append an event."""
        self.events.write({"at": time.time(), "attempt": 1, "kind": kind, **more})

    def say(self, line: str) -> None:
        """Write a line of log."""
        if self.args.quiet:
            return
        self.log.write(f"{line}\n".encode())

    # The course of a run.
    def play(self) -> None:
        """Train to the end, whichever it is."""
        print("ready", flush=True)
        self._begin()
        for step in range(1, self.args.steps + 1):
            self.step = step
            self._one_step()
            self._obey()
            self._mishap()
        self._pipeline()
        self.leave("done", 0, pipeline="output/checkpoint", reason="training is complete")

    def _begin(self) -> None:
        args = self.args
        self.event("phase", phase="loading")
        name = HOSTILE[0] if args.hostile else "stable-diffusion-v1-5"
        device = "NVIDIA H800" if args.gpus else "cpu"
        self.event("model", name=name, parameters=859_520_964, precision="fp16",
                   prediction_type="epsilon", device=device)  # fmt: skip
        self.event("data", images=833, captions=833, fingerprint="x")
        self.event("plan", max_train_steps=args.steps, effective_batch=64,
                   world_size=max(1, args.gpus), steps_per_epoch=13.0, epochs=args.steps / 13,
                   seed=42)  # fmt: skip
        for done in range(0, args.images + 1, max(1, args.images // 10)):
            self.event("phase", phase="caching", done=done, total=args.images, unit="images")
            self._wait(0.02)
        self.event("phase", phase="training", done=0, total=args.steps, unit="steps")
        if args.hostile:
            for text in HOSTILE:
                self.event("warning", text=text)
                self.say(text)

    def _one_step(self) -> None:
        step = self.step
        self.loss = 0.1 + 0.8 * math.exp(-step / 80) + self.random.gauss(0, 0.03)
        shown = math.nan if self.args.nan_at == step else self.loss
        self.metrics.write({
            "at": time.time(), "attempt": 1, "step": step, "epoch": step / 13, "loss": shown,
            "lr": 1e-5 * min(1.0, step / 50), "grad_norm": abs(self.random.gauss(0.4, 0.1)),
            "images_per_s": 64 * self.args.rate * self.random.uniform(0.97, 1.03),
            "gpu_allocated": 54 * GIB, "gpu_peak": 58 * GIB,
        })  # fmt: skip
        if step % 10 == 0:
            self.say(f"{time.strftime('%H:%M:%S')} INFO step={step} loss={shown:.4f} lr=1e-05")
        if step % self.args.every == 0:
            self.save()
            self.draw()
        self._wait(1 / self.args.rate)

    def _wait(self, seconds: float) -> None:
        """Pass the time, with readings once a second and as much log as is wished."""
        end = time.monotonic() + seconds
        while True:
            self._read_gpus()
            self._flood()
            left = end - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(left, 0.02 if self.args.flood else 0.2))

    def _flood(self) -> None:
        if not self.args.flood:
            return
        now = time.monotonic()
        due = int((now - (self.flooded or now)) * self.args.flood)
        if due or not self.flooded:
            self.flooded = now
        lines = [f"{n % 100:3d}%|{'#' * (n % 30):30}| {self.step}" for n in range(due)]
        ends = "\r\n"
        if self.args.hostile and lines:
            lines[-1] += self.random.choice(HOSTILE)
        self.log.write("".join(f"{line}{ends[n % 2]}" for n, line in enumerate(lines)).encode())

    def _read_gpus(self) -> None:
        now = time.time()
        if now - self.told_gpus < 1.0:
            return
        self.told_gpus = now
        if not self.args.gpus:
            self.gpu_lines.write({"at": now, "unavailable": "no_driver", "detail": "no driver"})
            return
        self.gpu_lines.write({"at": now, "gpus": [self._gpu(i) for i in range(self.args.gpus)]})

    def _gpu(self, index: int) -> dict[str, Any]:
        used = int((54 + 6 * math.sin(time.time() / 30 + index)) * GIB)
        return {
            "index": index, "uuid": f"GPU-{index}", "name": "NVIDIA H800", "memory_used": used,
            "memory_reserved": GIB // 2, "memory_total": 80 * GIB,
            "utilization": self.random.randint(90, 99), "power_w": self.random.uniform(550, 690),
            "power_limit_w": 700.0, "xid": [], "temperature_c": 60 + index, "sm_clock_mhz": 1755,
            "throttle": ["power cap"] if self.random.random() < 0.1 else [], "ecc_uncorrected": 0,
            "processes": [{"pid": os.getpid(), "memory": used}], "lost": False,
        }  # fmt: skip

    # What it leaves.
    def save(self) -> None:
        """Save a checkpoint; three are kept."""
        self.event("phase", phase="saving")
        folder = self.run.checkpoints / f"step-{self.step}"
        make_private(folder)
        (folder / "weights").write_bytes(bytes(65536))
        self.latest = f"output/checkpoints/step-{self.step}"
        self.event("checkpoint", step=self.step, path=self.latest, size=3 * GIB, seconds=0.2)
        for old in sorted(self.run.checkpoints.iterdir(), key=lambda p: int(p.name[5:]))[:-3]:
            for file in old.iterdir():
                file.unlink()
            old.rmdir()
        self.event("phase", phase="training", done=self.step, total=self.args.steps, unit="steps")

    def draw(self) -> None:
        """Write two samples of two prompts, raw and EMA."""
        folder = make_private(self.run.samples / f"step-{self.step}")
        prompts = ["a drawing of a cat with blue eyes", "a red circle"]
        if self.args.hostile:
            prompts = [HOSTILE[1], HOSTILE[3]]
        samples = []
        for number, prompt in enumerate(prompts):
            for weights in ("raw", "ema"):
                name = f"{number:04d}-{weights}.png"
                if self.args.hostile and number:
                    name = f"{number:04d}-{weights}-\x1b[31m[b].png"
                (folder / name).write_bytes(picture(self.step, number, weights == "ema"))
                samples.append({"file": name, "prompt": prompt, "weights": weights, "seed": 42})
        write_json(folder / "samples.json", {"format": 1, "step": self.step, "samples": samples})
        self.event("sample", step=self.step, path=f"output/samples/step-{self.step}",
                   count=len(samples))  # fmt: skip

    def _pipeline(self) -> None:
        make_private(self.run.pipeline)
        (self.run.pipeline / "model_index.json").write_text(json.dumps({}))
        self.event("pipeline", step=self.step, path="output/checkpoint", size=4 * GIB)

    # What it is asked, and what befalls it.
    def _obey(self) -> None:
        self._end_if_asked()
        if self.args.foreign:
            if requests.pending(self.run, "stop") is not None:
                self.leave("stopped", 143, reason="ended on request")
            return
        if requests.pending(self.run, "checkpoint") is not None:
            self.save()
            requests.done(self.run, "checkpoint")
        if requests.pending(self.run, "sample") is not None:
            self.draw()
            requests.done(self.run, "sample")
        if (asked := requests.pending(self.run, "stop")) is not None:
            self._stop(str(asked.get("by")))

    def _end_if_asked(self) -> None:
        """Go without a save."""
        if requests.pending(self.run, "kill") is not None:
            self.leave("stopped", 143, reason="killed on request")
        if requests.pending(self.run, "term") is not None:
            self.leave("stopped", 143, reason="ended on request")

    def _stop(self, by: str) -> None:
        self.state("stopping", step="save", deadline=time.time() + self.args.grace)
        end = time.monotonic() + self.args.save
        while time.monotonic() < end:
            self._wait(0.05)
            self._end_if_asked()
        self.save()
        self.leave("stopped", 4, reason=f"stopped by {by}, saved at step {self.step}")

    def _mishap(self) -> None:
        if self.args.nan_at == self.step:
            self.event("non_finite", step=self.step, loss=math.nan, timesteps=[7],
                       files=["0007.png"], good_checkpoint=self.latest)  # fmt: skip
            self.leave("failed", 6, cause="non_finite", reason="the loss is NaN",
                       remedy="lower the learning rate, then resume")  # fmt: skip
        if self.args.oom_at == self.step:
            self.say("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB")
            self.leave("failed", 5, cause="out_of_memory", code=1, reason="CUDA out of memory",
                       remedy="lower train_batch_size or set gradient_checkpointing",
                       last_lines=["Traceback", "torch.OutOfMemoryError"])  # fmt: skip
        while self.args.stall_at is not None and self.step >= self.args.stall_at:
            self._wait(0.1)
            self._obey()

    def leave(self, word: str, exit_code: int, **more: object) -> None:
        """Write exit.json and end."""
        record = {
            "format": 1, "state": word, "exit_code": exit_code, "attempt": 1,
            "started": self.started, "ended": time.time(), "last_step": self.step,
            "total_steps": self.args.steps, "last_loss": self.loss, "images_per_s": 64.0,
            "cause": word, "checkpoint": self.latest, "gpus": [], "peak_gpu_memory": 58 * GIB,
        }  # fmt: skip
        write_json(self.run.exit, {**record, **more})
        raise SystemExit


def _folder(args: argparse.Namespace) -> RunDir:
    root = args.root or runs_root() / f"{time.strftime('%Y%m%d-%H%M%S')}-{args.name or 'fake'}"
    run = RunDir(make_private(root.absolute()))
    run.lock.touch(mode=0o600)
    return run


def picture(step: int, number: int, smooth: bool) -> bytes:
    """Return a 64x64 PNG: a disc on a gradient, its hue by step and prompt."""
    rows = bytearray()
    for y in range(64):
        rows.append(0)
        for x in range(64):
            inside = (x - 32) ** 2 + (y - 32) ** 2 < (10 + step % 18) ** 2
            noise = 0 if smooth else (x * 31 + y * 17 + step) % 40
            base = (200, 60 + 40 * number, step % 255) if inside else (x * 3, y * 3, 90)
            rows += bytes(min(255, value + noise) for value in base)
    head = struct.pack(">IIBBBBB", 64, 64, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(bytes(rows))), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )


if __name__ == "__main__":
    Trainer(parser().parse_args()).play()

"""Caching many images before a training: its speed, a kill in the middle, and the next start.

    python benchmarks/caching.py [--images 10000] [--buckets] [--quick]

Small JPEGs of many shapes, a VAE of a few thousand weights and captions that all differ: what is
measured is our own work per image (reading, decoding, hashing, resizing, writing), with next to
nothing for the encoders. The trainer runs as a process of its own with one thread for torch. It
is started three times over one cache: killed with SIGKILL when half of the images are done, then
left to finish them and make one step, then started once more.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "tests")]

from trainers import environment  # noqa: E402

from support.tiny_model import make_pipeline  # noqa: E402

_POLL = 0.02  # s


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--buckets", action="store_true", help="with enable_bucket")
    parser.add_argument("--quick", action="store_true", help="2,000 images")
    args = parser.parse_args()
    if args.quick:
        args.images = min(args.images, 2_000)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_pipeline(folder / "model")
        began = time.monotonic()
        size = make_images(folder / "data", args.images)
        spent = time.monotonic() - began
        print(f"{args.images:,} JPEGs, {size / 2**20:.0f} MiB, made in {spent:.0f} s; "
              f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}", flush=True)  # fmt: skip
        flags = ["--enable_bucket", "--bucket_reso_steps", "8"] if args.buckets else []
        measure(folder, args.images, flags)
    return 0


def measure(folder: Path, images: int, flags: list[str]) -> None:
    """Start three times over one cache, and print what each start cost."""
    killed = Start(folder, "first", flags)
    done = killed.until(lambda event: (event.get("done") or 0) >= images // 2)["done"]
    speed = killed.events()[-1].get("per_s")
    killed.kill()
    print(f"first start: {done:,} images after {killed.caching():.1f} s of caching, "
          f"{speed or 0:.0f} images/s by its own words; SIGKILL", flush=True)  # fmt: skip
    second = Start(folder, "second", flags)
    left = second.until(lambda event: event.get("unit") == "images")["total"]
    second.until(lambda event: event.get("phase") == "finished")
    print(f"second start: {left:,} images left to do, so the kill cost {left - (images - done):,}; "
          f"{second.told('images')}; {second.told('captions')}", flush=True)  # fmt: skip
    third = Start(folder, "third", flags)
    third.until(lambda event: event.get("phase") == "training")
    print(f"third start: training begins {third.spent():.1f} s after the launch, of which "
          f"{third.caching():.1f} s lie between model and plan", flush=True)  # fmt: skip
    third.until(lambda event: event.get("phase") == "finished")


class Start:
    """One start of the trainer over the common cache."""

    def __init__(self, folder: Path, name: str, flags: list[str]) -> None:
        self._out = folder / name
        self._began = time.time()
        argv = [
            sys.executable, "-m", "sdcore.train",
            "--pretrained_model_name_or_path", str(folder / "model"),
            "--train_data_dir", str(folder / "data"), "--resolution", "32", "--center_crop",
            "--train_batch_size", "1", "--max_train_steps", "1", "--seed", "1", "--report_to",
            "none", "--output_dir", str(self._out), *flags,
        ]  # fmt: skip
        with (folder / f"{name}.log").open("w") as log:
            environ = {**os.environ, "OMP_NUM_THREADS": "1", **environment(folder)}
            self._process = subprocess.Popen(argv, env=environ, stderr=log)
        self._log = folder / f"{name}.log"

    def events(self) -> list[dict[str, Any]]:
        """Return the events that are whole on the disk."""
        path = self._out / "events.jsonl"
        lines = path.read_text().split("\n")[:-1] if path.exists() else []
        return [json.loads(line) for line in lines]

    def until(self, wanted: Any) -> dict[str, Any]:
        """Wait for an event, and return it."""
        while True:
            over = self._process.poll() is not None
            for event in self.events():
                if wanted(event):
                    return event
            if over:
                raise SystemExit(f"the trainer ended before that:\n{self._log.read_text()}")
            time.sleep(_POLL)

    def kill(self) -> None:
        """End it at once."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def spent(self) -> float:
        """Return the seconds from the launch to the last event."""
        return float(self.events()[-1]["at"]) - self._began

    def caching(self) -> float:
        """Return the seconds from the model's loading to the plan, or to the last event."""
        at = {event["kind"]: event["at"] for event in self.events() if event["kind"] != "phase"}
        return float(at.get("plan", self.events()[-1]["at"]) - at["model"])

    def told(self, unit: str) -> str:
        """Write how fast a count of it went."""
        counted = [event for event in self._phases() if event.get("unit") == unit]
        first, last = counted[0], counted[-1]
        if last["at"] <= first["at"]:
            return f"{last['total']:,} {unit} at once"
        speed = (last["done"] - first["done"]) / (last["at"] - first["at"])
        return f"{last['total']:,} {unit} at {speed:.0f}/s"

    def _phases(self) -> Iterator[dict[str, Any]]:
        return (event for event in self.events() if event["kind"] == "phase")


def make_images(folder: Path, count: int) -> int:
    """Write small JPEGs of many shapes with captions that differ; return their bytes."""
    from PIL import Image  # noqa: PLC0415

    folder.mkdir()
    rng, lines, size = random.Random(0), [], 0
    for i in range(count):
        sides = rng.randrange(96, 193), rng.randrange(96, 193)
        image = Image.linear_gradient("L").resize(sides).convert("RGB")
        image.paste((i % 256, i // 256 % 256, 90), (8, 8, 40 + i % 40, 60))
        path = folder / f"{i:06d}.jpg"
        image.save(path, quality=85)
        size += path.stat().st_size
        lines.append(json.dumps({"file_name": path.name, "text": f"picture {i}"}) + "\n")
    (folder / "metadata.jsonl").write_text("".join(lines))
    return size


if __name__ == "__main__":
    sys.exit(main())

"""The benchmark for a GPU that is lent by the minute: what it measured is never lost."""

import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"

# A trainer that never ends by itself, and leaves a large file and a child behind.
ENDLESS = """
import json, pathlib, subprocess, sys, time
out = pathlib.Path(sys.argv[1])
out.mkdir()
(out / "checkpoint").write_bytes(bytes(1 << 20))
subprocess.Popen(["sleep", "600"])
with (out / "metrics.jsonl").open("w", buffering=1) as lines:
    while True:
        time.sleep(0.02)
        if sys.argv[2] == "steps":
            lines.write(json.dumps({"at": time.time(), "loss": 1.0, "gpu_peak": 7}) + "\\n")
"""


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    before, handler = set(sys.modules), signal.getsignal(signal.SIGTERM)
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import gpu  # type: ignore[import-not-found]  # noqa: PLC0415

    yield gpu
    signal.signal(signal.SIGTERM, handler)
    for name in {"gpu", "trainers", *(n for n in sys.modules if n.startswith("gpu_"))} - before:
        sys.modules.pop(name, None)


def test_each_row_is_kept_no_trainer_is_waited_for_and_nothing_stays_on_the_disk(
    gpu: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Twelve trainers once filled the disk with checkpoints, and one that hung cost the hour."""
    whole, trainers = sys.modules["gpu_whole"], sys.modules["trainers"]
    started = []

    def fake(name: str, _flags: Any, out: Path) -> Any:
        assert [path.name for path in out.parent.glob("out*")] == [], "of the one before"
        kind = "nothing" if name == "ours, the same flags" else "steps"
        argv = [sys.executable, "-c", ENDLESS, str(out), kind]
        started.append(trainers.Trainer(name, argv, out, steps_file=True))
        return started[-1]

    monkeypatch.setattr(whole, "ours", fake)
    monkeypatch.setattr(gpu, "_LEAST", 1.0)
    monkeypatch.setattr(gpu, "_prepare", lambda *_: None)
    told = {"resolution": 512}  # without torch, whose import can take as long as all of this
    monkeypatch.setattr(
        gpu.Results, "machine", lambda self, *_: self.add("machine", told, "machine")
    )
    results = tmp_path / "rows.jsonl"
    base = ["gpu.py", "--dry-run", "--folder", str(tmp_path), "--results", str(results),
            "--timeout-s", "8"]  # fmt: skip
    monkeypatch.setattr(sys, "argv", [*base, "--only", "ours", "contiguous", "--budget-s", "200"])
    assert gpu.main() == 0
    rows = {row["name"]: row for row in map(json.loads, results.read_text().splitlines())}
    assert list(rows) == ["machine", "ours, as it chooses", "ours, the same flags",
                          "4 in one pass, contiguous"]  # fmt: skip
    assert rows["ours, as it chooses"]["images_per_s"] > 0
    assert rows["ours, as it chooses"]["peak"] == 7
    assert rows["ours, the same flags"]["failed"] == "its time was over"
    assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl"]
    for trainer in started:
        assert trainer.process.poll() is not None

    # A second run, with no time for anything, keeps what the first one measured.
    monkeypatch.setattr(sys, "argv", [*base, "--only", "pass", "--budget-s", "0"])
    capsys.readouterr()
    assert gpu.main() == 0
    printed = capsys.readouterr().out
    assert "| 4 in one pass, contiguous | " in printed
    assert "| 4 in one pass, contiguous | no time" not in printed
    assert "| 4 in one pass | no time was left | | | | |" in printed

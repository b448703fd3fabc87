"""The file of results of ``gpu.py``, one JSON line a case, and the tables made from it."""

import json
import os
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gpu_steps import Scale

TFLOP_512 = 2.407  # of one image of 512 px, forward and backward; attention products counted
Row = dict[str, Any]


class Results:
    """Appends rows, each on the disk before the next case begins."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def machine(self, scale: Scale, seconds: float) -> None:
        """Write what the figures depend on."""
        import diffusers  # noqa: PLC0415 - seconds, and not for --help
        import torch  # noqa: PLC0415

        name = torch.cuda.get_device_name() if scale.device == "cuda" else platform.processor()
        found = {"device": name or "cpu", "cores": os.cpu_count(), "load": os.getloadavg()[0],
                 "torch": str(torch.__version__), "diffusers": diffusers.__version__,
                 "resolution": scale.resolution, "precision": scale.precision,
                 "prepared_s": round(seconds, 1)}  # fmt: skip
        self.add("machine", found, table="machine")

    def add(self, name: str, row: Row, table: str = "trainers") -> None:
        """Write a row and say it."""
        record = {"at": time.time(), "table": table, "name": name, **row}
        with self._path.open("a") as lines:
            lines.write(json.dumps(record) + "\n")
            lines.flush()
            os.fsync(lines.fileno())
        print(f"{name}: {json.dumps(row)}", flush=True)

    def rows(self) -> list[Row]:
        """Return all rows of the file; the last one of each name, where it is no failure."""
        found: dict[tuple[str, str], Row] = {}
        for line in self._path.read_text().splitlines():
            row = json.loads(line)
            key = row["table"], row["name"]
            if "failed" not in row or key not in found:
                found[key] = row
        return list(found.values())


def tables(rows: Sequence[Row], peak_tflops: float) -> str:
    """Return Markdown: the machine, whole trainers, and the step technique by technique."""
    machine = next((row for row in rows if row["table"] == "machine"), {})
    told = [f"{k} {v}" for k, v in machine.items() if k not in {"at", "table", "name"}]
    heads = "trainer | images/s | of the reference | MFU | peak memory | checkpoint stall"
    lines = [", ".join(told), "", f"| {heads} |", "|---|---|---|---|---|---|"]
    whole = [row for row in rows if row["table"] == "trainers"]
    base = next((r.get("images_per_s") for r in whole if r["name"] == "reference"), None)
    lines += [_whole(row, base, machine, peak_tflops) for row in whole]
    lines += ["", "| one step of 4 images, each row adds | ms | of the row above | peak memory |",
              "|---|---|---|---|"]  # fmt: skip
    before: float | None = None
    for row in (row for row in rows if row["table"] == "steps"):
        if "failed" in row:
            lines.append(f"| {row['name']} | {row['failed']} | | |")
            continue
        gain = f"{before / row['seconds']:.2f}" if before else ""
        lines.append(
            f"| {row['name']} | {1000 * row['seconds']:.1f} | {gain} | {_gib(row['peak'])} |"
        )
        before = row["seconds"]
    return "\n".join(lines)


def _whole(row: Row, base: float | None, machine: Row, peak_tflops: float) -> str:
    if "failed" in row:
        return f"| {row['name']} | {row['failed']} | | | | |"
    speed = row["images_per_s"]
    work = TFLOP_512 * (machine.get("resolution", 512) / 512) ** 2 * speed
    stalls = [f"{1000 * s:.0f} ms ({s / row['step_s']:.1f} steps)" for s in row.get("stalls", [])]
    cells = [
        row["name"], f"{speed:.1f}", f"{speed / base:.2f}" if base else "–",
        f"{work / peak_tflops:.1%}" if row.get("peak") else "–", _gib(row.get("peak")),
        "; ".join(stalls) or "–",
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def _gib(size: int | None) -> str:
    return f"{size / 2**30:.1f} GiB" if size else "–"

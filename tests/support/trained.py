"""Reads what a trainer left in its output folder."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Trained:
    """What one start of the trainer left."""

    code: int
    out: Path
    err: str

    def events(self, kind: str | None = None) -> list[dict[str, Any]]:
        """The lines of events.jsonl, or those of one kind."""
        found = [json.loads(line) for line in (self.out / "events.jsonl").read_text().splitlines()]
        return [event for event in found if kind in (None, event["kind"])]

    def metrics(self) -> dict[int, dict[str, Any]]:
        """The last line of each step in metrics.jsonl."""
        lines = (self.out / "metrics.jsonl").read_text().splitlines()
        return {record["step"]: record for record in map(json.loads, lines)}

    def losses(self) -> list[str]:
        """Loss and gradient norm of each step, to the bit."""
        rows = sorted(self.metrics().items())
        return [f"{m['loss'].hex()} {m['grad_norm'].hex()}" for _, m in rows]

    def bits(self, step: int) -> dict[str, str]:
        """The hash of every file of a checkpoint that holds numbers, and of the pipeline's."""
        folder = self.out / "checkpoints" / f"step-{step}"
        files = [*folder.rglob("*.safetensors"), folder / "optimizer.pt",
                 self.out / "unet/diffusion_pytorch_model.safetensors"]  # fmt: skip
        digests = (hashlib.sha256(file.read_bytes()).hexdigest() for file in files)
        names = (str(file.relative_to(self.out)) for file in files)
        return dict(zip(names, digests, strict=True))

    def rank(self, rank: int = 0) -> dict[str, Any]:
        """What a rank said of itself."""
        record: dict[str, Any] = json.loads((self.out / f"ranks/rank-{rank}.json").read_text())
        return record

    @property
    def steps(self) -> list[str]:
        """The names in checkpoints/."""
        return sorted(path.name for path in (self.out / "checkpoints").iterdir())

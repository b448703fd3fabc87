"""Trains the same run in several numbers of processes, and writes down what each sample was.

    python tests/support/worlds.py FOLDER '[{"out": "four", "size": 4, "flags": […]}, …]'

Every process is a fork of one that has imported everything: four imports of torch take 20 s.
They meet over gloo as under a launcher. ``FOLDER/OUT/samples-RANK.jsonl`` gets a line for each
sample a rank trained on: position, row, caption, flip, crop, timestep, shape, a hash of its noise.
With ``full_s``, ranks wait that many seconds for one another, and the disk is full for longer;
with ``spoiled``, [row, position], the image of that row is bad from that position on.
"""

import errno
import hashlib
import json
import os
import socket
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed.distributed_c10d  # imported once, before the forks

from sdcore.data import BadImageError
from sdcore.train import (
    ahead,
    building,  # noqa: F401 - as above
    checkpoint,
    entry,
    keeping,
    latents,
    world,
)


def watch(path: Path) -> None:
    """Write down every sample of a training batch."""
    inner = ahead.Ahead.take
    path.parent.mkdir(parents=True, exist_ok=True)

    def take(self: ahead.Ahead, positions: list[int]) -> Any:
        batch = inner(self, positions)
        with path.open("a") as file:
            for i, position in enumerate(positions):
                draw = self._batches.chances.draw(position)
                raw = torch.cat([batch.noise[i], batch.posterior[i]]).numpy().tobytes()
                sample = [
                    position, draw.row, draw.caption, draw.flip, draw.crop,
                    int(batch.timesteps[i]), list(batch.noise[i].shape),
                    hashlib.sha256(raw).hexdigest(),
                ]  # fmt: skip
                file.write(json.dumps(sample) + "\n")
        return batch

    ahead.Ahead.take = take  # type: ignore[method-assign]


def fill_disk(patience_s: float) -> None:
    """Let the first save find no room for twice as long as ranks wait for one another."""
    world._PATIENCE, world._BEAT = timedelta(seconds=patience_s), patience_s / 8
    keeping._LOOK = patience_s / 8
    seal, until = checkpoint.seal, [0.0]

    def full(partial: Path, step: int) -> int:
        until[0] = until[0] or time.monotonic() + 2 * patience_s
        if time.monotonic() < until[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        return seal(partial, step)

    checkpoint.seal = full


def spoil(row: int, position: int) -> None:
    """Let the image of a row be bad from a position on, whenever that is prepared."""
    prepare = latents.LiveLatents._prepare

    def spoiled(self: latents.LiveLatents, draw: latents.Draw) -> torch.Tensor:
        if draw.row == row and draw.position >= position:
            raise BadImageError(self._index.rows[row].name, "spoiled")
        return prepare(self, draw)

    latents.LiveLatents._prepare = spoiled  # type: ignore[method-assign]


def start(folder: Path, rank: int, port: int, run: dict[str, Any]) -> int:
    """Train in a fork and return its pid."""
    out, flags = run["out"], run["flags"]
    pid = os.fork()
    if pid:
        return pid
    log = os.open(folder / f"{out}-{rank}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 2)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(run["size"]),
                   "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}  # fmt: skip
    watch(folder / out / f"samples-{rank}.jsonl")
    if "full_s" in run:
        fill_disk(run["full_s"])
    if "spoiled" in run:
        spoil(*run["spoiled"])
    code = 1
    try:
        code = entry.main([*flags, "--output_dir", str(folder / out)])
    finally:
        sys.stderr.flush()
        os._exit(code)


def main(folder: Path, runs: list[dict[str, Any]]) -> None:
    """Train the runs one after another; the first that fails ends it."""
    torch.set_num_threads(1)
    for run in runs:
        out, size = run["out"], run["size"]
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        pids = [start(folder, rank, port, run) for rank in range(size)]
        codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
        logs = "\n".join((folder / f"{out}-{rank}.log").read_text() for rank in range(size))
        assert codes == [0] * size, f"{out}: {codes}\n{logs}"


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]))

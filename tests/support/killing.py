"""Kills a training at random moments, damages what it saved, and looks at what is left.

    python tests/support/killing.py 50 FOLDER FLAGS...

Each start is a fork of a process that has imported everything, so that 50 take a minute.
"""

import json
import os
import random
import signal
import sys
import threading
import time
from pathlib import Path

import torch

from sdcore.runs.paths import step_folders, step_of
from sdcore.train import building, entry, finding  # noqa: F401 - imported once, before the forks

STEPS_PER_KILL = 6
DAMAGE_EVERY = 5


class Killed(BaseException):
    """Ends a training in this process as SIGKILL would: nothing of ours is asked.

    Only the thread that writes a checkpoint lives on, so ``let_saves_end`` before the next start:
    a dead process could not write beside it. A whole checkpoint more is fair.
    """


def let_saves_end() -> None:
    """Wait for the checkpoint that a training ended by ``Killed`` was writing."""
    for thread in threading.enumerate():
        if thread.name == "checkpoint":
            thread.join()


def start(argv: list[str], log: Path) -> int:
    """Train in a fork and return its pid."""
    pid = os.fork()
    if pid:
        return pid
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(descriptor, 2)
    try:
        code = entry.main(argv)
    finally:
        sys.stderr.flush()
    os._exit(code)


def saved(out: Path) -> list[int]:
    """Return the steps whose checkpoints the run has told of, in order."""
    path = out / "events.jsonl"
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    records = []
    for line in lines:
        try:
            records.append(json.loads(line))
        except ValueError:
            continue  # cut by a kill
    return [record["step"] for record in records if record["kind"] == "checkpoint"]


def trained(out: Path) -> dict[int, tuple[str, str]]:
    """Return loss and gradient norm of each step, to the bit."""
    found = {}
    for line in (out / "metrics.jsonl").read_text().splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue  # cut by a kill
        found[record["step"]] = (record["loss"].hex(), record["grad_norm"].hex())
    return found


def kill_once(argv: list[str], out: Path, rng: random.Random) -> bool:
    """Start, kill within 0.3 s of training, and say whether it was still alive."""
    before = (out / "metrics.jsonl").stat().st_size if (out / "metrics.jsonl").exists() else 0
    pid = start(argv, out.with_suffix(".log"))
    while not (out / "metrics.jsonl").exists() or (out / "metrics.jsonl").stat().st_size == before:
        if os.waitpid(pid, os.WNOHANG)[0]:
            return False
        time.sleep(0.002)
    time.sleep(rng.uniform(0, 0.3))
    os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    return os.WIFSIGNALED(status)


def damage(folder: Path, rng: random.Random) -> str:
    """Cut a file of a checkpoint short, or flip one bit; return the file's name."""
    victims = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.stat().st_size]
    victim = rng.choice([path for path in victims if path.name != "manifest.json"])
    content = bytearray(victim.read_bytes())
    if rng.random() < 0.5:
        del content[rng.randrange(len(content)) :]
    else:
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    victim.write_bytes(content)
    return str(victim.relative_to(folder))


def look(out: Path, floor: int) -> int:
    """Check that every checkpoint is whole and none that was told of is lost; return the newest."""
    parent = out / "checkpoints"
    for folder in step_folders(parent):
        assert finding.fault_of(folder) is None, f"{folder.name}: {finding.fault_of(folder)}"
    latest, passed_over = finding.find(parent, "latest", out)
    assert not passed_over
    step = step_of(latest) if latest is not None else 0
    assert step is not None
    assert step >= floor, f"step {floor} was told to be saved, and {step} is the newest"
    return step


def main(kills: int, folder: Path, flags: list[str]) -> None:
    """Kill, damage, look; then train to the end and compare with a run nobody touched."""
    torch.set_num_threads(1)
    rng, out, whole = random.Random(kills), folder / "killed", folder / "whole"
    argv = [*flags, "--max_train_steps", str(STEPS_PER_KILL * kills), "--use_ema",
            "--checkpointing_steps", "1", "--checkpoints_total_limit", "3",
            "--resume_from_checkpoint", "latest", "--output_dir"]  # fmt: skip
    alive = damaged = partial = 0
    floor = 0
    for number in range(1, kills + 1):
        alive += kill_once([*argv, str(out)], out, rng)
        partial += bool(list((out / "checkpoints").glob("*.partial")))
        newest = look(out, max([floor, *saved(out)[-1:]]) if alive else 0)
        floor = newest
        folders = step_folders(out / "checkpoints")
        if number % DAMAGE_EVERY == 0 and len(folders) > 1:
            name = damage(folders[-1], rng)
            latest, passed_over = finding.find(out / "checkpoints", "latest", out)
            assert latest == folders[-2]
            assert passed_over[0].startswith(f"{folders[-1].name}: {name} "), passed_over
            damaged += 1
            floor = step_of(latest) or 0
            # Also while the next attempts write beside it; they replace it in the end.
            pid = start([*argv[:-1], "--max_train_steps", str(newest), argv[-1], str(out)],
                        out.with_suffix(".log"))  # fmt: skip
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
            floor = look(out, newest)
    for place in (out, whole):
        pid = start([*argv, str(place)], place.with_suffix(".log"))
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        assert code == 0, place.with_suffix(".log").read_text()[-2000:]
    assert trained(out) == trained(whole)
    last = f"checkpoints/step-{STEPS_PER_KILL * kills}"
    weights = "diffusion_pytorch_model.safetensors"
    for name in (f"unet/{weights}", f"unet_ema/{weights}", "optimizer.pt"):
        assert (out / last / name).read_bytes() == (whole / last / name).read_bytes()
    print(f"{alive} of {kills} kills hit a living run, {partial} of them a save; {damaged} damaged "
          f"checkpoints were named and passed over; steps made: {len(trained(out))}")  # fmt: skip


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])

"""What a periodic checkpoint costs a training: the copy it waits for, and the writing beside it.

    python benchmarks/saving.py [--quick]

A U-Net of 22 M weights with AdamW and EMA, so that a checkpoint is 358 MB, 64 px, batch 4, on the
CPU; one run of our trainer that saves every ``EVERY`` steps. The stall is what the trainer itself
says it waited (event ``checkpoint``), held against the steps of the same run during which nothing
was saved or written. The steps that a file is written beside are slower, too, since the hashing
takes a core: what a save costs in all is how much longer the steps from one save to the next took
than as many undisturbed ones. Goal: a stall of at most one step.
"""

import argparse
import itertools
import json
import signal
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "tests")]

from train import COMMON, IMAGES, SIDE, machine, row  # noqa: E402
from trainers import environment, ours  # noqa: E402

from support.tiny_model import Sizes, make_dataset, make_pipeline  # noqa: E402

EVERY = 6
_SIZES = Sizes((128, 256), layers=2, groups=32, text=32, text_layers=5)
_WARM = 3  # steps left out


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="3 saves instead of 6")
    saves = 3 if parser.parse_args().quick else 6
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_pipeline(folder / "model", sizes=_SIZES)
        make_dataset(folder / "data", IMAGES, SIDE)
        print(machine(), flush=True)
        trainer = ours("ours", [
            f"--pretrained_model_name_or_path={folder / 'model'}",
            f"--train_data_dir={folder / 'data'}", *COMMON, "--report_to=none",
            f"--max_train_steps={EVERY * (saves + 1)}", f"--checkpointing_steps={EVERY}",
            "--checkpoints_total_limit=1",
        ], folder / "out")  # fmt: skip
        signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
        trainer.start(environment(folder))
        try:
            trainer.check()
        finally:
            trainer.kill()
        tell([step.at for step in trainer.steps()], events(trainer.out))
    return 0


def events(out: Path) -> list[dict[str, Any]]:
    """Return the saves of a run but the last, which ends it and is waited for."""
    lines = [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]
    return [line for line in lines if line["kind"] == "checkpoint"][:-1]


def tell(at: list[float], saves: list[dict[str, Any]]) -> None:
    """Print the figures.

    Args:
        at: When each step was told, s.
        saves: The events of the periodic saves.
    """
    spans = {number: b - a for number, (a, b) in enumerate(itertools.pairwise(at), start=2)}
    written = [(at[s["step"] - 1], at[s["step"] - 1] + s["seconds"] + s["stall"]) for s in saves]
    quiet = [
        span
        for number, span in spans.items()
        if number > _WARM
        and not any(at[number - 2] < end and begin <= at[number - 1] for begin, end in written)
    ]
    step = statistics.median(quiet)
    stalls = [save["stall"] for save in saves]
    extra = [
        sum(spans[n] for n in range(s["step"] + 1, s["step"] + EVERY + 1)) - EVERY * step
        for s in saves
    ]
    row("a step, nothing being written", f"{1000 * step:.0f} ms ({len(quiet)} steps)")
    row("a checkpoint", f"{saves[0]['size'] / 1e6:.0f} MB, written in "
                        f"{statistics.median(s['seconds'] for s in saves):.1f} s")  # fmt: skip
    for words, values in (("stall of a save", stalls), ("a save in all", extra)):
        middle, most = statistics.median(values), max(values)
        row(f"{words} / step" + (" (goal 1.0)" if values is stalls else ""),
            f"{middle / step:.2f}, at most {most / step:.2f}  ({1000 * middle:.0f} ms, "
            f"{len(values)} saves)")  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())

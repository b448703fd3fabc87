"""Training an SD 1.x-sized U-Net on one GPU: ours, the reference, and technique by technique.

    python benchmarks/gpu.py [--reference PATH/train_text_to_image.py] [--packages DIR]
                             [--budget-s 560] [--results FILE] [--only WORD …] [--skip WORD …]
    python benchmarks/gpu.py --dry-run     # a tiny model on the CPU: only that the script works
    python benchmarks/gpu.py --list        # the cases, in their order

859.5 M weights (random), 512 px, fp16, EMA. Whole trainers run as processes, one after another:
the reference with the flags of the platform's page (batch 1, 4 passes, gradient checkpointing),
ours as it chooses, with the same flags, and with one thing changed after another at the same
effective batch; then larger batches. One more process times a step technique by technique. The
cases come in the order of what they tell, so that a run that is cut short has the most of it.

A trainer is ended when its steps are made: a final checkpoint is 13.8 GB and a pipeline 4 GB. Its
folder is deleted as soon as it was read; 35 GB of disk are enough. Each case is written to the file
of results (JSON lines) when it is measured, also one that failed or had no time left; the Markdown
tables come from all that the file holds, so that a second run with the same ``--results`` and
another ``--only`` completes it. Model-FLOPs utilisation counts 2.407 TFLOP per image of 512 px
(forward and backward of the U-Net; nothing for recomputing).
"""

import argparse
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "tests")]

from gpu_cases import DRY, REAL, Case, Scale, cases  # noqa: E402
from gpu_results import Results, tables  # noqa: E402
from gpu_steps import TECHNIQUES, time_steps  # noqa: E402
from gpu_whole import measure, measure_steps  # noqa: E402

_RESULTS = "gpu-results.jsonl"
_LEAST = 20.0  # s that a case needs at least; with less left none is begun


@dataclass(frozen=True)
class Budget:
    """The time that is left."""

    end: float  # monotonic s

    @property
    def left(self) -> float:
        """Seconds."""
        return self.end - time.monotonic()


def main() -> int:
    """Measure, write each result as it comes, and print Markdown tables."""
    began = time.monotonic()
    args = _arguments()
    if args.steps_of is not None:
        return time_steps(args.steps_of, REAL if args.real else DRY)
    scale = DRY if args.dry_run else REAL
    wanted = [case for case in cases(scale) if _is_wanted(case, args)]
    if args.list:
        print("\n".join(case.name for case in wanted))
        return 0
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # nothing stays behind
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        folder = Path(name)
        results = Results(args.results or (folder if args.dry_run else Path()) / _RESULTS)
        _prepare(folder, scale)
        results.machine(scale, time.monotonic() - began)
        budget = Budget(began + args.budget_s)
        for case in wanted:
            _run(case, folder, scale, args, results, budget)
        print(tables(results.rows(), args.peak_tflops))
    return 0


def _run(
    case: Case, folder: Path, scale: Scale, args: argparse.Namespace, results: Results,
    budget: Budget,
) -> None:  # fmt: skip
    """Measure one case in what is left of the time, and leave nothing of it on the disk."""
    if case.needs_reference and args.reference is None:
        return
    if budget.left < _LEAST:
        results.add(case.name, {"failed": "no time was left"})
        return
    seconds = min(args.timeout_s, budget.left - 2)
    try:
        if case.name == TECHNIQUES:
            for row in measure_steps(folder, scale, seconds):
                results.add(row.pop("name"), row, table="steps")
        else:
            results.add(case.name, measure(case, folder, scale, args, seconds))
    finally:
        for path in folder.glob("out*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _is_wanted(case: Case, args: argparse.Namespace) -> bool:
    named = any(word in case.name for word in args.only) if args.only else True
    return named and not any(word in case.name for word in args.skip)


def _prepare(folder: Path, scale: Scale) -> None:
    from gpu_steps import make_sd1  # noqa: PLC0415 - diffusers: seconds, and not for --list

    from support.tiny_model import PLATFORM, make_dataset, make_pipeline  # noqa: PLC0415

    (make_pipeline if scale is DRY else make_sd1)(folder / "model", sizes=PLATFORM)
    make_dataset(folder / "data", scale.images, scale.resolution)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reference", type=Path, metavar="PATH", help="diffusers' script")
    parser.add_argument(
        "--packages", type=Path, metavar="DIR", help="the reference alone sees them"
    )
    parser.add_argument("--peak-tflops", type=float, default=989.0,
                        help="dense half precision of the GPU; H100 SXM and H200: 989")  # fmt: skip
    parser.add_argument("--budget-s", type=float, default=3600.0, metavar="S",
                        help="seconds for all: no case is begun that has no time left")  # fmt: skip
    parser.add_argument("--timeout-s", type=float, default=240.0, metavar="S",
                        help="seconds for one case")  # fmt: skip
    parser.add_argument("--only", nargs="+", default=[], metavar="WORD",
                        help="cases whose name holds one of these")  # fmt: skip
    parser.add_argument("--skip", nargs="+", default=[], metavar="WORD", help="and none of these")
    parser.add_argument("--results", type=Path, metavar="FILE", help=f"{_RESULTS}")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="for 35 GB of files; /tmp")
    parser.add_argument("--dry-run", action="store_true", help="a tiny model on the CPU")
    parser.add_argument("--list", action="store_true", help="print the cases and leave")
    parser.add_argument("--steps-of", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--real", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.reference is not None:
        args.reference = args.reference.absolute()
        if not args.reference.is_file():
            parser.error(f"there is no file {args.reference}")
    if not (args.dry_run or args.list or args.steps_of):
        import torch  # noqa: PLC0415 - seconds, and not for --help

        if not torch.cuda.is_available():
            parser.error("torch sees no CUDA device; --dry-run tries the script on the CPU")
    return args


if __name__ == "__main__":
    sys.exit(main())

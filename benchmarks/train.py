"""Training on the CPU against diffusers' ``train_text_to_image.py`` and the bare U-Net step.

    python benchmarks/train.py [--reference PATH/train_text_to_image.py] [--packages DIR] [--quick]

A Stable Diffusion of 1.4 M weights (block channels 32 and 64), 64 px, batch 4, the flags of the
platform's page in fp32. Beside each other, in turns of seconds: the reference script unchanged,
our trainer with the same flags, our trainer as it chooses for itself, and a bare loop of U-Net
forward, backward and AdamW over tensors in memory. Figures are ratios of step times within a
turn; the machine's other work falls on all alike.

The reference comes twice: by ``accelerate launch``, as its documentation and the platform's page
start it, which gives its process one thread; and by Python alone, which takes all cores, as ours
does. With ``OMP_NUM_THREADS=1`` everyone has one core.

The script is not part of this repository: take it from the diffusers release that is installed
(``examples/text_to_image``; it refuses an older one in ``check_min_version``). It needs
torchvision, which we do not: installed with ``pip install --no-deps --target DIR torchvision`` and
named with ``--packages DIR``, it is seen by the reference alone. Without ``--reference`` its rows
are left out.

Goals: 2.0 times the reference, a step at most 1.05 times the bare one, the first step after at
most 0.6 of the reference's time, and the same final loss.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "tests")]

from trainers import (  # noqa: E402
    SPINS,
    Trainer,
    cpu_seconds,
    environment,
    ours,
    ratios,
    reference,
    seconds_by_turn,
    take_turns,
    told,
)

from support.tiny_model import PLATFORM, make_dataset, make_pipeline  # noqa: E402

IMAGES, SIDE = 48, 96  # side is not the resolution: pictures are resized, as they are in life
BATCH, RESOLUTION = 4, 64
COMMON = [
    "--use_ema", f"--resolution={RESOLUTION}", "--center_crop", "--random_flip",
    f"--train_batch_size={BATCH}", "--learning_rate=1e-04", "--lr_scheduler=constant",
    "--lr_warmup_steps=0", "--max_grad_norm=1", "--seed=1",
]  # fmt: skip
_SLICE = 4.0  # s
_WARM = 3  # steps left out
_LAUNCH = ["-m", "accelerate.commands.launch", "--mixed_precision=no"]  # no CPU computes in fp16


class Reference(NamedTuple):
    """Where the script is, and packages that it alone sees."""

    script: Path
    packages: Path | None


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reference", type=Path, metavar="PATH", help="diffusers' script")
    parser.add_argument(
        "--packages", type=Path, metavar="DIR", help="the reference alone sees them"
    )
    parser.add_argument("--quick", action="store_true", help="2 minutes instead of 10")
    parser.add_argument("--bare", nargs=3, metavar="X", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.bare:
        return bare(Path(args.bare[0]), Path(args.bare[1]), int(args.bare[2]))
    theirs = Reference(args.reference.absolute(), args.packages) if args.reference else None
    if theirs is not None and not theirs.script.is_file():
        parser.error(f"there is no file {theirs.script}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_pipeline(folder / "model", sizes=PLATFORM)
        make_dataset(folder / "data", IMAGES, SIDE)
        print(machine(), flush=True)
        speed(folder, theirs, 50 if args.quick else 150)
        launch(folder, theirs, 1 if args.quick else 5)
    return 0


def machine() -> str:
    """Name what the figures depend on."""
    import diffusers  # noqa: PLC0415 - seconds, and not for --help
    import torch  # noqa: PLC0415

    return (
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, Python "
        f"{sys.version.split()[0]}, torch {torch.__version__}, diffusers {diffusers.__version__}"
    )


def trainers(folder: Path, theirs: Reference | None, steps: int, kind: str) -> dict[str, Trainer]:
    """Return the trainers by a short name."""
    flags = [
        f"--pretrained_model_name_or_path={folder / 'model'}",
        f"--train_data_dir={folder / 'data'}", f"--max_train_steps={steps}", *COMMON,
    ]  # fmt: skip
    same = [*flags, "--gradient_checkpointing"]
    out = folder / kind
    bare_argv = [sys.executable, __file__, "--bare", str(folder / "model"), str(out / "bare")]
    found = {
        "same": ours("ours, the same flags", same, out / "same"),
        "own": ours("ours, as it chooses", [*flags, "--gradient_checkpointing=auto"], out / "own"),
        "bare": Trainer(
            "bare U-Net", [*bare_argv, str(steps)], out / "bare", steps_file=True, env=SPINS
        ),
    }
    if theirs is not None:
        script, packages = theirs
        found["reference"] = reference(
            script, same, out / "reference", packages, name="reference by Python"
        )
        found["launched"] = reference(
            script, same, out / "launched", packages, _LAUNCH, "reference as launched"
        )
    return found


def speed(folder: Path, theirs: Reference | None, steps: int) -> None:
    """Compare steps, and the loss at the end."""
    some = trainers(folder, theirs, steps, "speed")
    take_turns(list(some.values()), environment(folder), _SLICE)
    cpu = {name: cpu_seconds(trainer, _WARM) for name, trainer in some.items()}
    for name, trainer in some.items():
        middle = statistics.median(s for s in seconds_by_turn(trainer, _WARM) if s is not None)
        row(trainer.name, f"{1000 * middle:.0f} ms a step, {BATCH / middle:.2f} images/s, "
                          f"{1000 * cpu[name]:.0f} ms of CPU a step")  # fmt: skip
    pairs = [("images/s, the same flags / reference as launched", "launched", "same"),
             ("images/s, as it chooses / the same (goal 2.0)", "launched", "own"),
             ("images/s, the same flags / reference by Python", "reference", "same"),
             ("images/s, as it chooses / the same", "reference", "own"),
             ("step, as it chooses / bare (goal 1.05)", "own", "bare")]  # fmt: skip
    for words, upper, lower in pairs:
        if upper in some:
            row(words, f"{told(ratios(some[upper], some[lower], _WARM))}; "
                       f"in CPU seconds {cpu[upper] / cpu[lower]:.2f}")  # fmt: skip
    for name in ("reference", "same", "own"):
        if name in some:
            losses = [step.loss for step in some[name].steps()][-steps // 3 :]
            error = statistics.stdev(losses) / len(losses) ** 0.5
            row(f"loss of the last {len(losses)} steps, {some[name].name}",
                f"{statistics.mean(losses):.4f} +- {error:.4f}")  # fmt: skip


def launch(folder: Path, theirs: Reference | None, turns: int) -> None:
    """Compare the time from launch to the first step: with no cache, and at a second start.

    Ours is started by Python, as sdtui does it for one process.
    """
    spans: dict[str, list[float]] = {}
    for turn in range(turns):
        environ = environment(folder / f"cold-{turn}")
        for kind in ("no cache", "second start"):
            some = trainers(folder, theirs, 2, f"launch-{turn}-{kind.replace(' ', '-')}")
            for name in ("launched", "reference", "own"):
                if name in some:
                    some[name].start(environ)
                    some[name].check()
                    spent = some[name].steps()[0].at - some[name].began
                    spans.setdefault(f"{name}, {kind}", []).append(spent)
    for name, seconds in spans.items():
        row(f"launch to the first step, {name}", f"{statistics.median(seconds):.1f} s")
    for kind in ("no cache", "second start") if theirs is not None else ():
        for name, words in (("launched", "as launched (goal 0.6)"), ("reference", "by Python")):
            pairs = zip(spans[f"own, {kind}"], spans[f"{name}, {kind}"], strict=True)
            row(f"launch, {kind}, / reference {words}", told([a / b for a, b in pairs]))


def row(what: str, figures: str) -> None:
    """Print one line of the table."""
    print(f"{what:<52}{figures}", flush=True)


def bare(model: Path, out: Path, steps: int) -> int:
    """Train on tensors in memory, as little as can be done; write when each step was made."""
    import json  # noqa: PLC0415

    import torch  # noqa: PLC0415
    from diffusers import UNet2DConditionModel  # noqa: PLC0415

    unet = UNet2DConditionModel.from_pretrained(model, subfolder="unet").train()
    optimizer = torch.optim.AdamW(unet.parameters(), lr=1e-4, fused=True)
    side, width = RESOLUTION // 2, unet.config.cross_attention_dim
    noisy_BCHW, noise_BCHW = torch.randn(2, BATCH, unet.config.in_channels, side, side)
    text_BLD = torch.randn(BATCH, 77, width)
    out.mkdir(parents=True, exist_ok=True)
    with (out / "metrics.jsonl").open("w", buffering=1) as lines:
        for _ in range(steps):
            timesteps_B = torch.randint(1000, (BATCH,))
            predicted_BCHW = unet(noisy_BCHW, timesteps_B, text_BLD, return_dict=False)[0]
            loss = torch.nn.functional.mse_loss(predicted_BCHW, noise_BCHW)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            lines.write(json.dumps({"at": time.time(), "loss": loss.item()}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

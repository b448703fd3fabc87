"""However a run is cut into pieces, it is the run that was never cut, to the last bit (CPU)."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sdcore.train import checkpoint, loop
from sdcore.train.entry import main
from support import killing
from support.killing import Killed, let_saves_end
from support.trained import Trained

# Four images a step over ten: windows run across epochs, and no step ends with one.
FLAGS = [
    "--max_train_steps", "6", "--gradient_accumulation_steps", "2", "--checkpointing_steps", "2",
    "--use_ema", "--random_flip", "--lr_scheduler", "cosine", "--lr_warmup_steps", "2",
    "--learning_rate", "0.01", "--checkpoints_total_limit", "2",
]  # fmt: skip


SEGMENTS = int(os.environ.get("SEGMENTS", "0"))  # cuttings to try at random; 0: the usual ones


@dataclass(frozen=True)
class Cut:
    """One end of a piece.

    Attributes:
        how: ``stop`` as SIGTERM does it; ``pass``: killed as a forward pass begins; ``files``,
            ``rename`` and ``rotate``: killed in a save, before that is done.
        at: The forward pass, or the save, of this piece, from 1.
    """

    how: str
    at: int


cuts = st.one_of(
    st.builds(Cut, st.sampled_from(["stop", "pass"]), st.integers(1, 9)),
    st.builds(Cut, st.sampled_from(["files", "rename", "rotate"]), st.integers(1, 2)),
)


@contextmanager
def armed(cut: Cut) -> Iterator[None]:
    """Put the end of a piece in place."""
    passes, saves = [0], [0]
    forward = loop.Loop.forward

    def counted(self: Any, micro: int) -> Any:
        passes[0] += 1
        if passes[0] == cut.at:
            if cut.how == "pass":
                raise Killed
            if cut.how == "stop":
                self.job.stop.by = "SIGTERM"
        return forward(self, micro)

    def dying(inner: Callable[..., Any]) -> Callable[..., Any]:
        def outer(*arguments: Any) -> Any:
            saves[0] += 1
            if saves[0] == cut.at:
                raise Killed
            return inner(*arguments)

        return outer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop.Loop, "forward", counted)
        place = {"files": "write_parts", "rename": "_publish", "rotate": "rotate"}.get(cut.how)
        if place is not None:
            patch.setattr(checkpoint, place, dying(getattr(checkpoint, place)))
        yield


@pytest.fixture
def pieces(flags: list[str], tmp_path: Path) -> Callable[..., Trained]:
    """Run the cuts one after another, then to the end."""
    runs = iter(range(1000))

    def run(cutting: list[Cut]) -> Trained:
        out = tmp_path / f"out-{next(runs)}"
        argv = [*flags, *FLAGS, "--output_dir", str(out), "--resume_from_checkpoint", "latest"]
        for cut in cutting:
            with armed(cut):
                try:
                    code = main(argv)
                except Killed:
                    code = 4
            let_saves_end()
            assert code in {0, 4}
        assert main(argv) == 0
        return Trained(0, out, "")

    return run


@pytest.mark.timeout(3600 if SEGMENTS else 300)
def test_any_cut_leaves_the_bits_of_the_uncut_run(pieces: Callable[..., Trained]) -> None:
    """Weights, average, optimizer, losses and gradient norms; a hidden state would differ.

    The suite tries the same eight cuttings every time; ``make segments`` others, at random.
    """
    whole = pieces([])
    expected, losses = whole.bits(6), whole.losses()
    assert len(expected) == 4
    assert len(losses) == 6

    @settings(
        max_examples=SEGMENTS or 8, derandomize=not SEGMENTS, deadline=None, database=None,
        suppress_health_check=list(HealthCheck), print_blob=True,
    )  # fmt: skip
    @given(st.lists(cuts, min_size=1, max_size=3))
    def holds(cutting: list[Cut]) -> None:
        if SEGMENTS:
            print(*(f"{cut.how} {cut.at}" for cut in cutting), sep=", ", flush=True)
        cut = pieces(cutting)
        assert cut.bits(6) == expected
        assert cut.losses() == losses
        assert not list((cut.out / "checkpoints").glob("*.partial"))

        shutil.rmtree(cut.out)

    holds()


@pytest.mark.timeout(960)
def test_random_kills_lose_no_checkpoint(flags: list[str], tmp_path: Path) -> None:
    """Real SIGKILLs at any moment: ``make kills`` does 50, the suite 6."""
    kills = os.environ.get("KILLS", "6")
    script = [sys.executable, killing.__file__, kills, str(tmp_path), *flags]
    done = subprocess.run(
        script, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
        check=False, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    print(done.stdout)

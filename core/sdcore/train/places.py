"""Where this process writes: into its run directory, or below ``output_dir`` without one."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sdcore.runs.files import last_records
from sdcore.runs.paths import RunDir, make_private
from sdcore.task.train_spec import TrainSpec

DEFAULT_OUTPUT = "sd-model-finetuned"  # the reference's


@dataclass(frozen=True, slots=True)
class Places:
    """The folders and files of one start of the trainer.

    Attributes:
        run: Names streams, requests and rank files; its root is ``output_dir`` for a drop-in.
        pipeline: The final pipeline.
        checkpoints: Holds ``step-N/``.
        samples: Holds ``step-N/``.
        logs: Tracker logs.
        attempt: Written into every line; see ``Metrics``.
    """

    run: RunDir
    pipeline: Path
    checkpoints: Path
    samples: Path
    logs: Path
    attempt: int

    @classmethod
    def of(cls, spec: TrainSpec, environ: Mapping[str, str]) -> "Places":
        """Decide by ``SDTUI_RUN_DIR``; ``output_dir`` moves the pipeline in either case."""
        inside = environ.get("SDTUI_RUN_DIR")
        if inside:
            run = RunDir(Path(inside).absolute())
            pipeline = Path(spec.output_dir).expanduser() if spec.output_dir else run.pipeline
            attempt = int(environ.get("SDTUI_ATTEMPT") or 1)
            return cls(run, pipeline.absolute(), run.checkpoints, run.samples,
                       run.output / spec.logging_dir, attempt)  # fmt: skip
        root = Path(spec.output_dir or DEFAULT_OUTPUT).expanduser().absolute()
        run = RunDir(root)
        return cls(run, root, root / "checkpoints", root / "samples",
                   root / spec.logging_dir, _next_attempt(run))  # fmt: skip

    def shown(self, path: Path) -> str:
        """Return ``path`` relative to the run directory where it lies inside it."""
        root = self.run.root
        return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)

    def make(self) -> None:
        """Create the folders that streams and records need."""
        for folder in (self.run.root, self.run.root / "ranks", self.checkpoints):
            make_private(folder)


def _next_attempt(run: RunDir) -> int:
    """Nobody counts the starts of a drop-in; its own last line does."""
    last = last_records(run.events)
    return int(last[-1].get("attempt", 0)) + 1 if last else 1

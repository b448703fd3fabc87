"""The demo, as a newcomer runs it: it must teach what one can see."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sdcore.task.shipped import shipped_folder

RECIPE = shipped_folder() / "demo" / "recipe"
NEW = {"yellow", "purple", "orange"}


def right_figures(model: Path, prompts: Path) -> tuple[int, int]:
    """Return how many figures have the colour asked for, of how many."""
    run = subprocess.run(
        [sys.executable, str(RECIPE / "measure.py"), str(model), "--prompts", str(prompts)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=True,
    )
    found = re.search(r"new colours: figure (\d+)/(\d+)", run.stdout)
    assert found is not None, run.stdout
    return int(found.group(1)), int(found.group(2))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_demo_teaches_colours_the_base_never_saw(home: Path, tmp_path: Path) -> None:
    """A demo whose pictures look the same before and after shows nothing."""
    rows = json.loads((shipped_folder() / "demo" / "heldout.json").read_text("utf-8"))
    prompts = tmp_path / "prompts.json"
    new = [row for row in rows if row["colour"] in NEW]
    prompts.write_text(json.dumps(new[::3]), "utf-8")
    trained = {row["text"] for row in map(json.loads, _captions())}
    assert not trained & {row["text"] for row in new}, "a held-out prompt was trained on"

    run = subprocess.run(
        [sys.executable, "-m", "sdtui", "--run", "demo"],
        capture_output=True,
        text=True,
        # One thread beside the other tests: two would wait for each other most of the time.
        env={**os.environ, "SDTUI_HOME": str(home), "OMP_NUM_THREADS": "1"},
        check=False,
    )

    assert run.returncode == 0, run.stderr[-3000:]
    pipeline = Path(run.stdout.strip())
    assert f"StableDiffusionPipeline.from_pretrained('{pipeline}')" in run.stderr
    pictures = sorted(pipeline.parent.glob("samples/step-*/*.png"))
    assert {p.parent.name for p in pictures} == {"step-0", "step-150", "step-300"}
    before, total = right_figures(shipped_folder() / "demo" / "model", prompts)
    after, _ = right_figures(pipeline, prompts)
    assert before <= 0.2 * total, "the base already knows the new colours"
    assert after >= 0.7 * total


def _captions() -> list[str]:
    metadata = shipped_folder() / "demo" / "dataset" / "metadata.jsonl"
    return metadata.read_text("utf-8").splitlines()

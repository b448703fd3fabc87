"""What Slurm answers, told for what it is. The cluster itself is in tests/process/slurm."""

from pathlib import Path

import pytest

from sdcore.cluster.submission import rehearse
from sdcore.errors import NotReadyError
from sdcore.task.spec import TaskSpec

TASK = TaskSpec.model_validate(
    {"name": "job", "command": "true", "gpu": {"count": 0}, "cluster": {"engine": "slurm"}}
)


@pytest.mark.parametrize(
    ("words", "what", "remedy"),
    [
        (
            "sbatch: fatal: Could not establish a configuration source\n",
            "Slurm cannot be reached from this machine",
            "start sdtui on a machine of the cluster",
        ),
        (
            "sbatch: fatal: Unable to process configuration file\n",
            "Slurm cannot be reached from this machine",
            "remove the [cluster] table",
        ),
        (
            "allocation failure: Unable to contact slurm controller (connect failure)\n",
            "Slurm does not answer",
            "try again when `sinfo` answers",
        ),
        (
            "allocation failure: Socket timed out on send/recv operation\n",
            "Slurm does not answer",
            "try again when `sinfo` answers",
        ),
        (
            "allocation failure: Invalid account or account/partition combination specified\n",
            "Slurm would not take the job",
            "it asks for 1 node",
        ),
    ],
)
def test_a_refusal_names_the_step_that_helps(
    words: str, what: str, remedy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A login node without Slurm's configuration advises to change the number of nodes."""
    said = tmp_path / "words"
    said.write_text(words, "ascii")
    sbatch = tmp_path / "sbatch"
    sbatch.write_text(f"#!/bin/sh\ncat {said} >&2\nexit 1\n", "ascii")
    sbatch.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    with pytest.raises(NotReadyError) as caught:
        rehearse(TASK)

    assert caught.value.what == what
    assert remedy in (caught.value.remedy or "")
    assert words.rpartition(": ")[2].strip() in caught.value.cause

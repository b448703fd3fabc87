"""One cluster for the tests of a file, and a state folder for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.slurm import Slurm, do_without, missing


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    if reason := missing():
        do_without(reason)
    with Slurm.start(tmp_path_factory.mktemp("slurm") / "c") as slurm:
        yield slurm


@pytest.fixture
def slurm(cluster: Slurm, tmp_path: Path) -> Slurm:
    cluster.home = tmp_path / "home"
    return cluster

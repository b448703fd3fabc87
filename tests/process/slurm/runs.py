"""A run on the tests' cluster, with what a test asks about it."""

import json
from pathlib import Path
from typing import Any

from sdcore.runs.files import read_json
from sdcore.runs.paths import RunDir
from sdcore.supervise import procs
from support.commands import Answer, procs_of
from support.slurm import Slurm

TWO = {"nodes": 2}
FAKE = Path(__file__).parents[2] / "support" / "fake_launcher"


def write_task(folder: Path, *, command: str | None = None, cluster: dict[str, Any] | None = None,
               mounts: dict[str, Path] | None = None, here: bool = False,
               **fields: Any) -> Path:  # fmt: skip
    """Write a preset for the cluster, or for this machine; JSON's values are TOML's, too."""
    lines = ['name = "job"']
    if command is not None:
        lines.append(f"command = {json.dumps(command)}")
    gpu = {"count": 0} | fields.pop("gpu", {})
    place = {} if here else {"engine": "slurm"} | (cluster or {})
    tables = {"gpu": gpu, "train": fields, "cluster": place}
    for name, table in tables.items():
        if table:
            lines.append(f"[{name}]")
            lines += [f"{key} = {json.dumps(value)}" for key, value in table.items()]
    for target, source in (mounts or {}).items():
        lines += ["[[mounts]]", f'target = "{target}"', f"source = {json.dumps(str(source))}"]
    path = folder / "task.toml"
    path.write_text("\n".join(lines) + "\n")
    return path


def spread(folder: Path, model: Path, data: Path, gpu: dict[str, Any] | None = None) -> Path:
    """Write a task of two nodes with two processes each."""
    mounts = {"/mnt/model": model, "/mnt/dataset": data}
    shape = gpu or {"processes": 2}
    return write_task(folder, cluster=TWO, gpu=shape, mounts=mounts, resolution=32,
                      report_to="none")  # fmt: skip


class Run:
    """A run that was submitted."""

    def __init__(self, slurm: Slurm, answer: Answer) -> None:
        assert answer.code == 0, answer.err
        self.slurm, self.dir = slurm, RunDir(slurm.home / "runs" / answer.out.strip())

    @classmethod
    def submit(cls, slurm: Slurm, task: Path, *sets: str, fake: bool = False) -> "Run":
        env = {"PYTHONPATH": str(FAKE)} if fake else {}
        wishes = [word for each in sets for word in ("--set", each)]
        return cls(slurm, slurm.sdtui("--run", task, "--detach", *wishes, env=env))

    @property
    def job(self) -> str:
        return str((read_json(self.dir.cluster) or {})["job"])

    def status(self) -> dict[str, Any]:
        """Return what two readers say, which must be the same."""
        before, [listed], after = self._show(), self._listed(), self._show()
        kept = ("state", "attempt", "exit_code", "job", "nodes")
        if all(before[key] == after[key] for key in kept):  # else it changed between the looks
            for key in kept:
                assert after[key] == listed[key], key
        return after

    def _show(self) -> dict[str, Any]:
        return dict(json.loads(self.slurm.sdtui("show", self.dir.id, "--json").out))

    def _listed(self) -> list[dict[str, Any]]:
        runs = json.loads(self.slurm.sdtui("ls", "--json").out)
        return [status for status in runs if status["id"] == self.dir.id]

    def until_state(self, state: str, seconds: float = 60.0) -> dict[str, Any]:
        def look() -> dict[str, Any] | None:
            status = self.status()
            return status if status["state"] == state else None

        return dict(self.slurm.until(look, seconds))

    def until_ranks(self, count: int, attempt: int = 1) -> list[dict[str, Any]]:
        def look() -> list[dict[str, Any]] | None:
            ranks = [read_json(self.dir.rank(n)) or {} for n in range(count)]
            return ranks if all(r.get("attempt") == attempt for r in ranks) else None

        return list(self.slurm.until(look))

    def supervisor(self) -> int:
        """Return the batch step's pid, once it runs."""
        return int(self.slurm.until(lambda: read_json(self.dir.supervisor) or {})["pid"])

    def left(self) -> list[int]:
        """Return every living process of the run."""
        found = procs_of(f"SDTUI_RUN_DIR={self.dir.root}\0".encode())
        return [pid for pid in found if (p := procs.read(pid)) is not None and p.alive]

    def until_gone(self, seconds: float = 10.0) -> None:
        self.slurm.until(lambda: not self.left(), seconds)

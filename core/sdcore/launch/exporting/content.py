"""What every job file says: command line, environment, and which values are secrets."""

import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdcore.errors import UsageError
from sdcore.launch.planner import bare
from sdcore.masking import is_secret
from sdcore.runs.paths import RunDir
from sdcore.task.image import image_kind, is_file
from sdcore.task.spec import OUTPUT, TaskSpec

# What names a folder or a program of the machine that wrote the file, or counts its cores.
_OF_THIS_HOST = {
    "SDTUI_RUN_DIR", "SDTUI_ATTEMPT", "SDTUI_PYTHON", "OUTPUT_DIR", "PYTHONPATH", "OMP_NUM_THREADS",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Content:
    """The part of a job file that is the same for every engine.

    Attributes:
        argv: The command line, with tokens where it depends on the node.
        env: Plain variables.
        secrets: Names of variables whose values must come from elsewhere.
    """

    argv: list[str]
    env: dict[str, str]
    secrets: list[str]


def content(task: TaskSpec, *, runtime: str, output: str = OUTPUT) -> Content:
    """Return what ``task`` runs, with paths as ``runtime`` shows them.

    Args:
        task: Mount sources are absolute.
        runtime: ``host``: paths of this machine; else the mount targets.
        output: Where results go.
    """
    place = RunDir(Path("/run-of-the-job"))
    # A later attempt of a job that was restarted goes on; the first one finds nothing to go on.
    argv, env = bare(task, place, runtime=runtime, attempt=2)
    argv = [word.replace(str(place.output), output) for word in argv]
    if runtime != "host" and "--config_file" in argv:
        at = argv.index("--config_file")  # of this installation; a new machine has no other
        argv = argv[:at] + argv[at + 2 :]
    kept, secrets = variables(task, env)
    return Content(argv, {**kept, "OUTPUT_DIR": output}, secrets)


def variables(task: TaskSpec, env: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Part planned variables into those that a file may say, and the names of secrets."""
    own = _OF_THIS_HOST - task.env.keys()
    plain = {name: v for name, v in env.items() if name not in own and v}
    secrets = sorted({n for n in plain if is_secret(n)} | _wanted(task))
    return {name: value for name, value in plain.items() if name not in secrets}, secrets


def _wanted(task: TaskSpec) -> set[str]:
    """Return the secrets of this shell that the task needs: for pushing, or a private model."""
    names = {"HF_TOKEN", "WANDB_API_KEY"} & os.environ.keys()
    uses = {"HF_TOKEN": True, "WANDB_API_KEY": "wandb" in str(task.train.report_to)}
    return {name for name in names if uses[name]}


def needs_image(task: TaskSpec, engine: str) -> str:
    """Return the task's image as a name in a registry, which is what an engine pulls.

    Raises:
        UsageError: It names none, a word of another platform's, or one that only this machine has.
    """
    image = task.image or ""
    # docker:// is a registry's, too; enroot ends the registry with a #, which no engine knows.
    name = image.removeprefix("docker://").replace("#", "/", 1)
    if image_kind(image) == "reference" and not is_file(image) and "://" not in name:
        return name
    given = "the task names none"
    if image_kind(image) == "words":
        given = f"{image!r} is no name of an image"
    elif image_kind(image) is not None:
        given = f"{image!r} is none"
    raise UsageError(
        f"the task cannot be written for {engine}",
        cause=f"it runs the image of a registry, and {given}",
        remedy="add --set image=REGISTRY/NAME:TAG"
        + ("" if task.command is not None else ", one in which sdtui is installed"),
    )


def needs_every_node(task: TaskSpec, engine: str) -> None:
    """Refuse a start command that spreads itself: nothing but Slurm's srun would start it there.

    Raises:
        UsageError: It is started on the first node alone.
    """
    if task.command is not None and task.cluster and task.cluster.nodes > 1 and not task.spread:
        raise UsageError(
            f"the task cannot be written for {engine}",
            cause='cluster.command_on = "first node" is for commands that spread by srun, and '
            f"{engine} has none",
            remedy='add --set "cluster.command_on=every node", and have the command use NODE_RANK, '
            "NNODES, MASTER_ADDR and MASTER_PORT",
        )


def label(name: str, limit: int) -> str:
    """Return ``name`` as a DNS label (RFC 1035): small letters, digits and dashes."""
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    if not plain[:1].isalpha():
        plain = f"task-{plain}"
    return plain[:limit].strip("-")


def to_yaml(documents: Sequence[Mapping[str, Any]]) -> str:
    """Return documents that are read back as they are, whatever stands in a value."""
    import yaml  # noqa: PLC0415  # only here

    class Dumper(yaml.SafeDumper):  # type: ignore[misc]
        pass

    def write(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
        # YAML's own line breaks come back as spaces, unless they are escaped.
        style = '"' if set(text) & set("\x85\u2028\u2029") else None
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)

    Dumper.add_representer(str, write)
    text: str = yaml.dump_all(
        documents, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=1000
    )
    return text


def not_written(task: TaskSpec, written: Collection[str]) -> str:
    """Return a comment on what the task asks for and the file does not say; empty if nothing.

    Args:
        task: The task.
        written: Names of the settings of ``cluster`` and ``gpu`` that the file carries.
    """
    asked = {"hooks.end"} if task.hooks.wanted else set()
    asked |= {f"gpu.{name}" for name in ("type", "share") if getattr(task.gpu, name)}
    if task.cluster:
        asked |= {f"cluster.{name}" for name in task.cluster.model_fields_set}
    left = sorted(asked - {"cluster.engine", "cluster.nodes", *written})
    return f"# Not in this file, and nothing else does it: {', '.join(left)}.\n" if left else ""


def script(words: Sequence[str]) -> str:
    """Return lines as one script."""
    return "\n".join(words) + "\n"

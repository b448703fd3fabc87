"""A start command of one's own in a batch file: its mount points, and how it hears of a stop."""

from dataclasses import dataclass
from pathlib import Path

from sdcore.errors import UsageError
from sdcore.launch.exporting.content import Content, variables
from sdcore.launch.exporting.shell import PLACE, quoted
from sdcore.launch.plan import LaunchPlan
from sdcore.launch.planner import plan_launch, unmounted_targets
from sdcore.launch.runtimes.choice import LAYOUTS
from sdcore.launch.runtimes.facts import RuntimeFacts
from sdcore.launch.runtimes.oci import TELLING
from sdcore.launch.runtimes.probe import gather
from sdcore.launch.slurm import AGENTS, END
from sdcore.task.image import image_kind
from sdcore.task.spec import TaskSpec

# Told as the supervisor tells: every process once, and none of the helpers of a Python program.
# SIGURG is the wish to end from another node: Slurm may send it to every process of the step.
_TELLS = f"""\
export SDTUI_TELLS="$SLURM_JOB_ID.${{SLURM_RESTART_COUNT:-0}}.$$"
mine() {{
  mapfile -d '' -t e 2>/dev/null < "/proc/$1/environ" || return 1
  for each in "${{e[@]}}"; do
    [ "$each" = "SDTUI_TELLS=$SDTUI_TELLS" ] && return 0
  done
  return 1
}}
trap tell {END}
"""
# The first failure counts, and while all save at a stop srun must not kill one for another's code.
_ENDS = """\
ended() {
  code=$?
  [ "$code" = 0 ] && return
  ( set -C; echo "$code" > "$RUN/failed" ) 2>/dev/null
  [ -e "$RUN/requests/stop.json" ] && exit 0
}
trap ended EXIT
"""
# bubblewrap would die of a signal that only what it runs should hear, see its planner.
_DEAF = """trap '' HUP INT TERM; exec "$@\""""


@dataclass(frozen=True, slots=True)
class Planned:
    """A start command as a batch file starts it.

    Attributes:
        content: With what surrounds the command in its command line.
        folder: Where it starts.
        deaf: See ``LaunchPlan``.
        notes: What the file does not keep of the task, and what it relies on, as comments.
    """

    content: Content
    folder: str
    deaf: bool
    notes: tuple[str, ...]


def planned(task: TaskSpec, facts: RuntimeFacts | None) -> Planned:
    """Plan the start command of ``task`` for a file.

    Raises:
        UsageError: It uses mount points that nothing here can make.
        NotReadyError: The runtime that the task asks for does not work here.
    """
    plan = plan_launch(task, PLACE, attempt=2, facts=facts or gather(task, PLACE))
    _refuse_unmounted(task, plan)
    env, secrets = variables(task, plan.env)
    env["OUTPUT_DIR"] = plan.env["OUTPUT_DIR"]
    if "SDTUI_PYTHON" in plan.env:  # of this checkout, which all nodes have
        env["SDTUI_PYTHON"] = plan.env["SDTUI_PYTHON"]
    folder = plan.cwd if plan.runtime == "host" else str(PLACE.root)
    content = Content(plan.argv, env, secrets)
    return Planned(content, folder, plan.deaf, tuple(_notes(task, plan.runtime)))


def _refuse_unmounted(task: TaskSpec, plan: LaunchPlan) -> None:
    missing = [t for t in unmounted_targets(task, plan.runtime) if not Path(t).exists()]
    if not missing:
        return
    cause, remedy = "no mount has this target", f"add a mount with target = {missing[0]}"
    if plan.runtime == "host":
        cause = f"nothing is mounted ({plan.why})"
        remedy = "write {dataset}, {model}, {project} or {output} in the command, or write the "
        remedy += "file on a machine with bubblewrap and --set runtime=auto"
    what = f"its start command uses {', '.join(missing)}"
    raise UsageError(
        "the task cannot be written for Slurm", cause=f"{what}, and {cause}", remedy=remedy
    )


def _notes(task: TaskSpec, runtime: str) -> list[str]:
    notes = []
    if runtime in LAYOUTS:
        notes.append(
            f"# The mount points are made by {runtime}, in the root as it is on the machine that "
            "wrote this file."
        )
    elif any(mount.read_only for mount in task.mounts):
        notes.append("# read_only mounts are not protected: nothing is mounted.")
    if task.image is not None and image_kind(task.image) == "words":
        notes.append(f"# The image {task.image!r} is no name of an image, and is not used.")
    return notes


def node_script(planned: Planned, *, spread: bool) -> str:
    """Return what bash runs on a node: the command, told of a stop, with its own exit code.

    Args:
        planned: The command.
        spread: It runs on each of several nodes.
    """
    # A session of its own: Slurm signals the group of what it started.
    words = ["setsid", *planned.content.argv]
    if planned.deaf:
        words = ["setsid", "bash", "-c", _DEAF, "sdtui", *planned.content.argv]
    lines = [
        *(["export NODE_RANK=$SLURM_NODEID"] if spread else []),
        *([_ENDS.rstrip()] if spread else []),
        f"cd -- {quoted(planned.folder)} || exit 3",
        _TELLS.rstrip(),
        f"set -- {' '.join(quoted(word) for word in words)}",
    ]
    return "\n".join(lines) + TELLING.rstrip()


def told(*, spread: bool) -> list[str]:
    """Return the lines by which the batch step tells the commands to end."""
    if not spread:
        return ['kill -TERM "$pid"']
    return [
        "step=$(squeue --noheader --steps --jobs=\"$SLURM_JOB_ID\" --format='%i %j' |",
        f"  sed -n 's/ *\\([^ ]*\\) {AGENTS} *$/\\1/p')",
        f'[ -z "$step" ] || scancel --signal={END} "$step"',
    ]

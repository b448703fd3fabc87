"""A batch file that stands alone: what ``sdtui --run`` submits, without sdtui's supervision.

Submit it with ``sbatch FILE``. It needs the Python of this checkout on every node.
"""

from sdcore.errors import UsageError
from sdcore.launch import slurm
from sdcore.launch.exporting import command
from sdcore.launch.exporting.content import content, not_written, script
from sdcore.launch.exporting.shell import OUTPUT_FOLDER, heredoc, quoted
from sdcore.launch.runtimes.choice import CONTAINERS
from sdcore.launch.runtimes.facts import RuntimeFacts
from sdcore.task.image import image_kind
from sdcore.task.spec import ClusterSpec, TaskSpec

_TOKENS = {
    slurm.NODE_RANK: '"$SLURM_NODEID"',
    slurm.MASTER_ADDR: '"$MASTER_ADDR"',
    slurm.MASTER_PORT: '"$MASTER_PORT"',
}


def batch_file(task: TaskSpec, gres: str | None = None, facts: RuntimeFacts | None = None) -> str:
    """Return the batch file of ``task``.

    Args:
        task: With a cluster table.
        gres: Slurm's name for the type of GPU, where it is known.
        facts: About this host, for the mount points of a start command; looked up when left out.

    Raises:
        UsageError: The task has no cluster table, or asks for a container or for mount points
            that nothing here can make.
    """
    if task.cluster is None:
        raise UsageError(
            "the task cannot be written for Slurm",
            cause="it has no [cluster] table",
            remedy="add --set cluster.engine=slurm, and for example --set cluster.nodes=2",
        )
    in_image = image_kind(task.image) == "reference" and task.command is not None
    if (in_image and task.runtime == "auto") or task.runtime in CONTAINERS:
        wish = f"image = {task.image!r}" if in_image else f"runtime = {task.runtime!r}"
        raise UsageError(
            "the task cannot be written for Slurm",
            cause=f"it asks for {wish}, and the file starts no container",
            remedy="submit it with sdtui --run, or add --set runtime=host",
        )
    own = command.planned(task, facts) if task.command is not None else None
    inner = content(task, runtime="host", output=OUTPUT_FOLDER) if own is None else own.content
    spec, spread = task.cluster, task.spread
    node = _trainers(inner.argv) if own is None else command.node_script(own, spread=spread)
    options = slurm.options(
        spec, gpus=task.gpu.count, gres=gres, run_id=task.name, folder=".", root="."
    )
    kept = [o for o in options if not o.startswith(("--export=", "--chdir=", "--output="))]
    return script([
        "#!/bin/bash",
        *(f"#SBATCH {option}" for option in kept),
        f"#SBATCH --output={task.name}-%j.log",
        f"# Written by `sdtui export slurm`. Submit it: sbatch {task.name}.sbatch",
        "# Results and checkpoints go to $RUN, which all nodes must share.",
        *(own.notes if own is not None else ()),
        *not_written(task, _written(gres)).splitlines(),
        # A dollar sign in a value stands for itself; a trap calls what nothing else does.
        "# shellcheck disable=SC2016,SC2317,SC2329",
        "set -uo pipefail",
        f'export RUN="${{RUN:-$SLURM_SUBMIT_DIR/{task.name}}}"',
        'export SDTUI_RUN_DIR="$RUN" SDTUI_ATTEMPT=$(( ${SLURM_RESTART_COUNT:-0} + 1 ))',
        *(f"export {name}={quoted(value)}" for name, value in inner.env.items()
          if value not in _TOKENS),
        *(f': "${{{name}:?set it in the shell that submits}}"' for name in inner.secrets),
        "umask 077",
        'mkdir -p "$RUN/output" "$RUN/requests" "$RUN/ranks" || exit 3',
        'rm -f "$RUN/requests/stop.json" "$RUN/failed"',
        *_rendezvous(spread),
        *heredoc("NODE", node),
        # Asked to stop, the trainer finishes its step, saves and leaves; a command gets SIGTERM.
        *_stops(own=task.command is None, spread=spread),
        *_steps(spread),
        'while :; do wait "$pid"; code=$?; kill -0 "$pid" 2>/dev/null || break; done',
        # srun returns the highest code, that of a node that was only ended for another.
        '[ ! -s "$RUN/failed" ] || read -r code < "$RUN/failed"',
        (f'if [ "$again" = 1 ] && [ "${{SLURM_RESTART_COUNT:-0}}" -lt '
        f"{spec.restarts} ]; then"),
        '  scontrol requeue "$SLURM_JOB_ID"',
        "fi",
        'exit "$code"',
    ])  # fmt: skip


def _written(gres: str | None) -> list[str]:
    """Return the settings that the file says."""
    fields = [f"cluster.{name}" for name in ClusterSpec.model_fields]
    return [*fields, *(["gpu.type"] if gres is not None else [])]


def _trainers(argv: list[str]) -> str:
    """Return what starts the built-in trainer on one node."""
    words = " ".join(_TOKENS.get(word, quoted(word)) for word in argv)
    # A rank that saved and left says 4, and srun would kill the other nodes for it.
    return f'{words} || [ -e "$RUN/requests/stop.json" ]'


def _rendezvous(spread: bool) -> list[str]:
    if not spread:
        return []
    return [
        'first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n1)',
        'MASTER_ADDR=$(scontrol -o show node "$first" |',
        "  sed -n 's/.* NodeAddr=\\([^ ]*\\).*/\\1/p')",
        '[ -n "$MASTER_ADDR" ] || exit 3',
        f"MASTER_PORT=$(( {slurm.port_of('0')} + SLURM_JOB_ID % 20000 ))",
        "export MASTER_ADDR MASTER_PORT",
    ]


def _stops(*, own: bool, spread: bool) -> list[str]:
    end = ['echo "{\\"by\\": \\"Slurm\\"}" > "$RUN/requests/stop.json"']
    if not own:
        end += command.told(spread=spread)
    # Only the signal before the time limit sends it back: after scancel nobody wants it again.
    return [
        "again=0",
        "stop() {", *(f"  {line}" for line in end), "}",
        "trap 'again=1; stop' USR2", "trap stop TERM",
    ]  # fmt: skip


def _steps(spread: bool) -> list[str]:
    if not spread:
        return ['bash -c "$NODE" &', "pid=$!"]
    cores = '"${SLURM_JOB_CPUS_PER_NODE%%(*}"'
    return [
        f"srun --export=ALL --ntasks-per-node=1 --cpus-per-task={cores} \\",
        "  --cpu-bind=none --kill-on-bad-exit=1 --wait=0 --input=none \\",
        f'  --job-name={slurm.AGENTS} bash -c "$NODE" &',
        "pid=$!",
    ]

"""A batch file that stands alone: what ``sdtui --run`` submits, without sdtui's supervision.

Submit it with ``sbatch FILE``. It needs the Python of this checkout on every node.
"""

import shlex

from sdcore.errors import UsageError
from sdcore.launch import slurm
from sdcore.launch.exporting.content import content, script
from sdcore.launch.runtimes.choice import CONTAINERS
from sdcore.task.spec import TaskSpec

_TOKENS = {
    slurm.NODE_RANK: '"$SLURM_NODEID"',
    slurm.MASTER_ADDR: '"$MASTER_ADDR"',
    slurm.MASTER_PORT: '"$MASTER_PORT"',
}
_OUTPUT = "{the-output-folder}"


def batch_file(task: TaskSpec, gres: str | None = None) -> str:
    """Return the batch file of ``task``.

    Args:
        task: With a cluster table.
        gres: Slurm's name for the type of GPU, where it is known.

    Raises:
        UsageError: The task has no cluster table, or asks for a container.
    """
    if task.cluster is None:
        raise UsageError(
            "the task cannot be written for Slurm",
            cause="it has no [cluster] table",
            remedy="add --set cluster.engine=slurm, and for example --set cluster.nodes=2",
        )
    in_image = task.image is not None and task.command is not None and task.runtime == "auto"
    if in_image or task.runtime in CONTAINERS:
        wish = f"image = {task.image!r}" if in_image else f"runtime = {task.runtime!r}"
        raise UsageError(
            "the task cannot be written for Slurm",
            cause=f"it asks for {wish}, and the file starts no container",
            remedy="submit it with sdtui --run, or add --set runtime=host",
        )
    spec, inner = task.cluster, content(task, runtime="host", output=_OUTPUT)
    options = slurm.options(
        spec, gpus=task.gpu.count, gres=gres, run_id=task.name, folder=".", root="."
    )
    kept = [o for o in options if not o.startswith(("--export=", "--chdir=", "--output="))]
    spread = task.command is None and spec.nodes > 1
    end = "SDTUI_END"
    command = " ".join(_TOKENS.get(word, _quoted(word)) for word in inner.argv)
    while end in command:  # a value may hold any line
        end += "_"
    return script([
        "#!/bin/bash",
        *(f"#SBATCH {option}" for option in kept),
        f"#SBATCH --output={task.name}-%j.log",
        f"# Written by `sdtui export slurm`. Submit it: sbatch {task.name}.sbatch",
        "# Results and checkpoints go to $RUN, which all nodes must share.",
        *(["# Not in this file: hooks.end."] if task.hooks.wanted else []),
        "# shellcheck disable=SC2016  # a dollar sign in a value stands for itself",
        "set -uo pipefail",
        f'export RUN="${{RUN:-$SLURM_SUBMIT_DIR/{task.name}}}"',
        'export SDTUI_RUN_DIR="$RUN" SDTUI_ATTEMPT=$(( ${SLURM_RESTART_COUNT:-0} + 1 ))',
        *(f"export {name}={_quoted(value)}" for name, value in inner.env.items()),
        *(f': "${{{name}:?set it in the shell that submits}}"' for name in inner.secrets),
        "umask 077",
        'mkdir -p "$RUN/output" "$RUN/requests" "$RUN/ranks" || exit 3',
        'rm -f "$RUN/requests/stop.json"',
        *_rendezvous(spread),
        f"NODE=$(cat <<'{end}'",
        # A rank that saved and left says 4, and srun would kill the other nodes for it.
        f'{command} || [ -e "$RUN/requests/stop.json" ]',
        end,
        ")",
        # Asked to stop, the trainer finishes its step, saves and leaves; another command gets TERM.
        *_stops(own=task.command is None),
        *_steps(spread),
        'while :; do wait "$pid"; code=$?; kill -0 "$pid" 2>/dev/null || break; done',
        (f'if [ "$again" = 1 ] && [ "${{SLURM_RESTART_COUNT:-0}}" -lt '
        f"{spec.restarts} ]; then"),
        '  scontrol requeue "$SLURM_JOB_ID"',
        "fi",
        'exit "$code"',
    ])  # fmt: skip


def _quoted(word: str) -> str:
    """Quote a word; the output folder in it is the job's own."""
    if _OUTPUT not in word:
        return shlex.quote(word)
    parts = (shlex.quote(part) if part else "" for part in word.split(_OUTPUT))
    return '"$RUN/output"'.join(parts)


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


def _stops(*, own: bool) -> list[str]:
    wish = 'echo "{\\"by\\": \\"Slurm\\"}" > "$RUN/requests/stop.json"'
    end = wish if own else f"""{wish}; kill -TERM "$pid\""""
    # Only the signal before the time limit sends it back: after scancel nobody wants it again.
    return ["again=0", f"trap 'again=1; {end}' USR2", f"trap '{end}' TERM"]


def _steps(spread: bool) -> list[str]:
    if not spread:
        return ['bash -c "$NODE" &', "pid=$!"]
    return [
        'srun --export=ALL --ntasks-per-node=1 --cpus-per-task="${SLURM_JOB_CPUS_PER_NODE%%(*}" \\',
        '  --cpu-bind=none --kill-on-bad-exit=1 --wait=0 --input=none bash -c "$NODE" &',
        "pid=$!",
    ]

"""From a task to sbatch's and srun's arguments; pure, and the standard library alone.

Options travel as arguments and never as ``#SBATCH`` lines, where a newline in a value would add
a line. The job script is the same for every run. In the job, one srun starts one agent on each
node, and the agent one launcher: rank 0 is on the first node, because a static rendezvous goes by
the number of the node, while with torch's c10d it lands where it likes (measured).
"""

import re
import shlex
import signal
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # pydantic: too large for the supervisor in a job
    from sdcore.task.spec import ClusterSpec

# Whole arguments of a planned command line that an agent replaces by what its node is.
NODE_RANK, MASTER_ADDR, MASTER_PORT = "{node_rank}", "{master_addr}", "{master_port}"
# The variables of a start command that hold them.
PLACES = {"NODE_RANK": NODE_RANK, "MASTER_ADDR": MASTER_ADDR, "MASTER_PORT": MASTER_PORT}

# ``env.sh``: with --export=NIL a Python that is found through PYTHONPATH or LD_LIBRARY_PATH would
# not start. ``exec``: the supervisor is the batch step itself, so that --signal=B: reaches it and
# nothing stands between it and Slurm. USR2 is ignored until it can listen: unhandled it would end
# the job.
JOB_SCRIPT = """\
#!/bin/bash
# Arguments: the Python to use, the run directory.
trap '' USR2
if ! [ -r "$2/cluster/env.sh" ]; then
  echo "cannot read $2/cluster/env.sh: its run is over, or this node does not share the folder" >&2
  exit 78
fi
. "$2/cluster/env.sh"
exec "$1" -P -m sdcore.supervise.job "$2"
"""

# Variables of the submitting shell that mean nothing in a job, or something else.
_OF_THE_SHELL = re.compile(
    r"(SLURM|SBATCH|SRUN|SALLOC|SQUEUE|SCANCEL|SINFO|SSH|PMI|PMIX|TMUX|XDG_(RUNTIME|SESSION))_?.*"
    r"|STY|TERM|DISPLAY|WAYLAND_DISPLAY|DBUS_SESSION_BUS_ADDRESS|HOSTNAME|HOST|PWD|OLDPWD|SHLVL|_"
    # As defaults of pyxis these would put our agents, too, into a container.
    r"|PYXIS_.*|TMPDIR|LINES|COLUMNS|CUDA_VISIBLE_DEVICES|NVIDIA_VISIBLE_DEVICES|ROCR_VISIBLE_DEVICES"
)
# Of sbatch's own variables those that a site's users set as their defaults; the others, such as
# SBATCH_EXPORT or SBATCH_REQUEUE, would change what a run relies on.
_DEFAULTS = ("SBATCH_ACCOUNT", "SBATCH_PARTITION", "SBATCH_QOS", "SBATCH_RESERVATION",
             "SBATCH_CONSTRAINT", "SBATCH_TIMELIMIT")  # fmt: skip
AGENTS = "sdtui"  # the name of their step
# Tells them to end their node's processes. Where Slurm tracks processes by their parents it
# signals every one of a step, and a command would get a SIGTERM twice; this one nobody hears.
END = int(signal.SIGURG)
_TOOLS = re.compile(r"(SLURM|SBATCH|SRUN|SALLOC|SQUEUE|SCANCEL|SINFO|SCONTROL)_.*")
# What srun would take for options of a step, and what an image must not inherit.
_MISLEADS = re.compile(
    r"SLURM_(CPU_BIND|MEM_BIND|MEM_PER|NTASKS|NPROCS|CPUS_PER|TRES_PER|GPUS|GPU_BIND|GRES|STEP_GRES"
    r"|EXACT|EXCLUSIVE|OVERCOMMIT|HINT|DIST|THREADS|CORE_SPEC|EXPORT_ENV|LABELIO|UNBUFFEREDIO"
    r"|STD(IN|OUT|ERR)MODE|OPEN_MODE|KILL_BAD_EXIT|MPI_TYPE|RESV_PORTS|TIMELIMIT|WAIT|HOSTFILE"
    r"|REMOTE_CWD|WORKING_DIR|TASK_(PROLOG|EPILOG)|NETWORK).*"
    r"|SRUN_.*|PYXIS_.*|PYTHON(PATH|HOME)|LD_(LIBRARY_PATH|PRELOAD)|VIRTUAL_ENV|CONDA_.*"
)
# What a Python needs to start at all; it reads the rest from the order by itself.
_FOR_PYTHON = (
    "PATH", "HOME", "LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONHOME", "PYTHONPLATLIBDIR",
    "PYTHONUSERBASE", "PYTHONNOUSERSITE", "PYTHONUTF8", "VIRTUAL_ENV", "CONDA_PREFIX",
    "CONDA_DEFAULT_ENV", "LANG", "LC_ALL", "LC_CTYPE",
)  # fmt: skip
_LISTS = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH")
_FIRST_PORT, _PORTS = 20_000, 20_000  # below those that kernels hand out by themselves


def options(
    shape: "ClusterSpec", *, gpus: int, gres: str | None, run_id: str, folder: str, root: str
) -> list[str]:
    """Return sbatch's options for a run.

    Args:
        shape: What the task says.
        gpus: Per node.
        gres: Slurm's name for the GPUs' type, such as ``h800``; None takes any.
        run_id: Safe characters only, see ``names``.
        folder: Of the job's own output.
        root: Of the run, where the job starts.
    """
    chosen = {
        "job-name": f"sdtui-{run_id}",
        "nodes": shape.nodes,
        "ntasks-per-node": 1,
        "gres": f"gpu:{gres}:{gpus}" if gres else f"gpu:{gpus}",
        "cpus-per-task": shape.cpus_per_task,
        "mem": shape.mem,
        "partition": shape.partition,
        "account": shape.account,
        "qos": shape.qos,
        "constraint": shape.constraint,
        "time": shape.time_limit,
        "signal": f"B:USR2@{shape.grace_s}",
        "open-mode": "append",
        # A percent sign begins one of Slurm's own fields.
        "output": f"{folder.replace('%', '%%')}/job-%j.log",
        "chdir": root,
    }
    if not gpus:
        del chosen["gres"]
    written = [f"--{name}={value}" for name, value in chosen.items() if value is not None]
    # NIL: else Slurm keeps the whole environment, tokens too, in its state folder.
    return ["--export=NIL", *written, "--requeue" if shape.restarts else "--no-requeue",
            *shape.extra]  # fmt: skip


def gres_type(wanted: str | None, offered: Iterable[str]) -> str | None:
    """Return which of Slurm's GPU types a person means: ``NVIDIA-H800`` means ``h800``.

    Args:
        wanted: As typed.
        offered: The types that nodes have, such as ``h800`` or ``nvidia_a100_80gb``.
    """
    asked = _words(wanted or "")
    fits = [each for each in offered if asked and asked <= _words(each)]
    return min(fits, key=len, default=None)


def _words(name: str) -> set[str]:
    found = "".join(c if c.isalnum() else " " for c in name.lower()).split()
    return {word for word in found if word not in {"nvidia", "tesla", "geforce"}}


def gres_types(told: str) -> list[str]:
    """Return the GPU types in the words of ``sinfo --format=%G``: ``gpu:h800:8(S:0-1),nvme:1``."""
    return list(dict.fromkeys(re.findall(r"(?:^|,)gpu:([A-Za-z][\w.-]*):\d", told, re.MULTILINE)))


def carried(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what of the submitting shell's environment goes into the job."""
    return {name: v for name, v in environ.items() if not _OF_THE_SHELL.fullmatch(name)}


def rooted(env: Mapping[str, str], folder: str) -> dict[str, str]:
    """Return ``env`` with lists of folders that mean the same in another current folder."""

    def whole(value: str) -> str:
        return ":".join(str(Path(folder) / e) if e else e for e in value.split(":"))

    return {name: whole(v) if name in _LISTS else v for name, v in env.items()}


def for_python(env: Mapping[str, str]) -> str:
    """Return lines of shell that set what of ``env`` a Python needs to start; no secrets."""
    return "".join(f"export {n}={shlex.quote(env[n])}\n" for n in _FOR_PYTHON if n in env)


def for_tools(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for sbatch and its like: a person's defaults, and no surprises."""
    kept = {n: v for n, v in environ.items() if n in _DEFAULTS or not _TOOLS.fullmatch(n)}
    return {**kept, "SLURM_TIME_FORMAT": "%s"} | (
        {"SLURM_CONF": environ["SLURM_CONF"]} if "SLURM_CONF" in environ else {}
    )


def port_of(job: str) -> int:
    """Return the port of the rendezvous: two jobs on one node have different ones."""
    return _FIRST_PORT + int(job) % _PORTS


@dataclass(frozen=True, slots=True)
class Allocation:
    """What Slurm gave to a job, as its batch step sees it."""

    job: str
    restarts: int
    nodes: int
    node_list: str
    cpus: int | None

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> "Allocation":
        """Read Slurm's variables.

        Raises:
            KeyError: This is no job.
        """
        return cls(
            job=environ["SLURM_JOB_ID"],
            restarts=int(environ.get("SLURM_RESTART_COUNT") or 0),
            nodes=int(environ.get("SLURM_JOB_NUM_NODES") or 1),
            node_list=environ.get("SLURM_JOB_NODELIST", ""),
            cpus=_fewest(environ.get("SLURM_JOB_CPUS_PER_NODE", "")),
        )


def _fewest(told: str) -> int | None:
    """Return the least of ``16(x2),8``."""
    counts = [int(number) for number in re.findall(r"(?:^|,)(\d+)", told)]
    return min(counts, default=None)


def step(allocation: Allocation, agent: Sequence[str]) -> list[str]:
    """Return the srun that starts ``agent`` once on each node of the job."""
    # --export: srun would follow the NIL of the submission. --cpus-per-task: it does not follow
    # sbatch's since 22.05, and a node's whole training would share one core. --wait=0: a node
    # that is done early waits for the one that writes the result.
    cores = [] if allocation.cpus is None else [f"--cpus-per-task={allocation.cpus}"]
    return [
        "srun", "--export=ALL", f"--nodes={allocation.nodes}", "--ntasks-per-node=1", *cores,
        "--cpu-bind=none", "--kill-on-bad-exit=1", "--wait=0", "--input=none", "--unbuffered",
        f"--job-name={AGENTS}", *agent,
    ]  # fmt: skip


def own_step(environ: Mapping[str, str], words: Sequence[str]) -> list[str]:
    """Return srun's command line for a step on the caller's own node, beside its caller.

    Args:
        environ: Of a batch step or an agent.
        words: ``srun``, options of its plugins, and the command.
    """
    node = environ["SLURMD_NODENAME"]
    # --overlap: the caller's own step holds all there is. --mem=0: all that the job has there;
    # GPUs are the job's by themselves. --mpi=none: no rank of an MPI is started by this srun.
    return [
        words[0], "--overlap", "--nodes=1", "--ntasks=1", f"--nodelist={node}", "--export=ALL",
        f"--cpus-per-task={environ.get('SLURM_CPUS_ON_NODE') or 1}", "--cpu-bind=none", "--mem=0",
        "--mpi=none", "--input=none", "--quiet", f"--job-name={step_name(node)}", *words[1:],
    ]  # fmt: skip


def step_name(node: str) -> str:
    """Return the name of the step that ``own_step`` starts: one for each node of a job."""
    return f"sdtui-{node}"


def for_step(environ: Mapping[str, str], words: Sequence[str]) -> dict[str, str]:
    """Return the environment of a step in a container: the caller's without what misleads.

    srun reads the shape of the job and of the caller's own step as options of the new one, and
    what points at this host's libraries would hide those of the image. A variable that the task
    itself names in ``--container-env`` stays.
    """
    ours = takewhile(lambda word: word.startswith("--"), words[1:])
    told = next((word for word in ours if word.startswith("--container-env=")), "")
    named = set(told.partition("=")[2].split(","))
    return {n: v for n, v in environ.items() if n in named or not _MISLEADS.fullmatch(n)}


def placed(
    argv: Sequence[str], env: Mapping[str, str], *, node_rank: int, address: str, port: int
) -> tuple[list[str], dict[str, str]]:
    """Return a planned command line and its variables with what one node is filled in.

    A runtime may hand a variable on as an argument, ``MASTER_ADDR={master_addr}``.
    """
    values = {NODE_RANK: str(node_rank), MASTER_ADDR: address, MASTER_PORT: str(port)}
    values |= {f"{name}={v}": f"{name}={values[v]}" for name, v in PLACES.items()}
    return [values.get(each, each) for each in argv], {n: values.get(v, v) for n, v in env.items()}


def world_of_command(nodes: int, *, gpus: int, processes: int) -> dict[str, str]:
    """Return the variables by which a start command finds its peers; see ``placed``.

    The names are those that people give to torchrun's and accelerate's options. Not WORLD_SIZE
    and RANK: a program that is started alone would take itself for one of many.

    Args:
        nodes: On which the command is started.
        gpus: On each.
        processes: Of training, on each.
    """
    counts = {"NNODES": str(nodes), "GPUS_PER_NODE": str(gpus), "NPROC_PER_NODE": str(processes)}
    # On one machine there is no port that two runs could not both have.
    return counts | (PLACES if nodes > 1 else {"NODE_RANK": "0"})


def distributed(nodes: int) -> list[str]:
    """Return accelerate's options for one of several machines; see ``placed``."""
    return ["--num_machines", str(nodes), "--machine_rank", NODE_RANK,
            "--main_process_ip", MASTER_ADDR, "--main_process_port", MASTER_PORT,
            "--rdzv_backend", "static", "--same_network"]  # fmt: skip

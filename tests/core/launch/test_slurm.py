"""sbatch's and srun's arguments, and what is refused before they are ever called."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from sdcore.launch import slurm
from sdcore.task.sbatch import seconds_of
from sdcore.task.spec import ClusterSpec, GpuSpec, TaskSpec


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--wrap=rm", "the job is sdtui's own script"),
        ("--export=ALL", "only you can read"),
        ("--out=/etc/x", "it can be read as --output"),
        ("--sig=TERM@5", "write cluster.grace_s"),
        ("--array=1-9", "a run is one job"),
        ("--no-requeue", "write cluster.restarts"),
        ("--gres=gpu:1", "gpu.count"),
        ("--part=x", "write cluster.partition"),
        ("--container-image=a:1", "runtime = 'pyxis'"),
    ],
)
def test_an_option_that_would_break_a_run_is_refused_in_words(option: str, words: str) -> None:
    """A list of whole names alone would let through what sbatch takes as the beginning of one."""
    with pytest.raises(ValidationError, match=words):
        ClusterSpec(engine="slurm", extra=(option,))


@pytest.mark.parametrize("extra", ["--exclusive", "--exclude=n1", "--mem-per-gpu=8G", "--nice=5"])
def test_other_options_pass(extra: str) -> None:
    """``--exclude`` begins like ``--export``, and means nothing of the kind."""
    assert ClusterSpec(engine="slurm", extra=(extra,)).extra == (extra,)


def test_a_limit_within_the_time_to_save_is_refused() -> None:
    """Such a job would save, requeue and save until its restarts are used up."""
    with pytest.raises(ValidationError, match="leaves no time to train"):
        ClusterSpec(engine="slurm", time_limit="3:00")
    assert ClusterSpec(engine="slurm", time_limit="3:01").grace_s == 180
    forms = {"90": 5400, "10:30": 630, "1:00:00": 3600, "2-12": 216_000, "1-1:2:3": 90_123}
    assert {form: seconds_of(form) for form in forms} == forms
    assert seconds_of("UNLIMITED") is None


def test_a_whole_number_is_one_of_slurms_own_forms() -> None:
    """`--set cluster.time_limit=60` was refused, and minutes in quotes need quotes in a shell."""
    shape = ClusterSpec.model_validate({"engine": "slurm", "time_limit": 60, "mem": 8000})
    assert (shape.time_limit, shape.mem) == ("60", "8000")
    for wrong in (True, -5, 1.5):
        with pytest.raises(ValidationError):
            ClusterSpec.model_validate({"engine": "slurm", "time_limit": wrong})


def test_processes_and_gpus_cannot_contradict() -> None:
    """A field that is silently passed over trains on another number of processes than written."""
    with pytest.raises(ValidationError, match="one process for each GPU"):
        GpuSpec(count=8, processes=2)
    assert (GpuSpec(count=8).ranks, GpuSpec(count=0, processes=3).ranks) == (8, 3)
    task = TaskSpec(gpu=GpuSpec(count=8), cluster=ClusterSpec(engine="slurm", nodes=2))
    assert task.world_size == 16


def test_options_are_whole_arguments() -> None:
    """A percent sign in a path begins one of Slurm's fields."""
    shape = ClusterSpec(engine="slurm", nodes=2, partition="gpu", mem="8G", restarts=0)
    options = slurm.options(
        shape, gpus=8, gres="h800", run_id="20260101-000000-x", folder="/a b/50%j", root="/a b"
    )
    assert "--export=NIL" in options
    assert "--gres=gpu:h800:8" in options
    assert "--output=/a b/50%%j/job-%j.log" in options
    assert "--no-requeue" in options
    none = slurm.options(shape, gpus=0, gres=None, run_id="x", folder="/", root="/")
    assert not [option for option in none if option.startswith("--gres")]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("NVIDIA-H800", "h800"),
        ("A100", "nvidia_a100_80gb"),
        ("H8", None),
        (None, None),
        ("rtx 4090", None),
    ],
)
def test_the_type_of_gpu_is_found_by_its_words(wanted: str | None, found: str | None) -> None:
    """``A10`` must not get an A100, nor a typo any GPU of another kind."""
    told = "gpu:h800:8(S:0-1),nvme:1\ngpu:nvidia_a100_80gb:4\ngpu:8\n(null)\n"
    types = slurm.gres_types(told)
    assert types == ["h800", "nvidia_a100_80gb"]
    assert slurm.gres_type(wanted, types) == found


@given(st.dictionaries(st.text(max_size=8), st.text(max_size=8)))
def test_a_job_never_gets_the_session_of_the_shell(extra: dict[str, str]) -> None:
    """A display, an agent's socket or another job's numbers mean nothing on a node, or worse."""
    of_session = {"SLURM_JOB_ID": "1", "SBATCH_EXPORT": "ALL", "SSH_AUTH_SOCK": "/x", "TMUX": "y",
                  "CUDA_VISIBLE_DEVICES": "3", "TMPDIR": "/local", "DISPLAY": ":0"}  # fmt: skip
    kept = slurm.carried({**extra, **of_session, "HF_HOME": "/hf", "PATH": "/bin"})
    assert not kept.keys() & of_session.keys()
    assert kept["HF_HOME"] == "/hf"
    tools = slurm.for_tools({**of_session, "SBATCH_ACCOUNT": "a", "SQUEUE_FORMAT": "%j"})
    assert "SBATCH_EXPORT" not in tools
    assert "SQUEUE_FORMAT" not in tools
    assert tools["SBATCH_ACCOUNT"] == "a"


def test_a_step_takes_the_nodes_environment_and_cores_along() -> None:
    """Left alone, srun takes nothing along, and gives a whole training one core of its node."""
    given_ = slurm.Allocation.of({
        "SLURM_JOB_ID": "40001", "SLURM_JOB_NUM_NODES": "2", "SLURM_JOB_NODELIST": "n[1-2]",
        "SLURM_JOB_CPUS_PER_NODE": "16(x1),8", "SLURM_RESTART_COUNT": "3",
    })  # fmt: skip
    words = slurm.step(given_, ["agent"])
    assert words[0] == "srun"
    assert {"--export=ALL", "--cpus-per-task=8", "--kill-on-bad-exit=1"} <= set(words)
    assert given_.restarts == 3
    assert slurm.port_of(given_.job) == 20_001
    filled, _ = slurm.placed(slurm.distributed(2), {}, node_rank=1, address="10.0.0.1", port=5)
    assert filled[:8] == ["--num_machines", "2", "--machine_rank", "1", "--main_process_ip",
                          "10.0.0.1", "--main_process_port", "5"]  # fmt: skip


def test_a_step_beside_its_caller_has_the_node_and_nothing_of_the_callers_shape() -> None:
    """It reads its caller's shape as options of the new step, and refuses it or shrinks it."""
    environ = {
        "SLURM_JOB_ID": "7", "SLURM_JOB_NUM_NODES": "2", "SLURMD_NODENAME": "n2", "PATH": "/bin",
        "SLURM_CPUS_ON_NODE": "12", "SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "1",
        "SLURM_MEM_PER_NODE": "9", "SLURM_CPU_BIND_TYPE": "none", "SLURM_EXPORT_ENV": "NIL",
        "SLURM_GPUS_PER_TASK": "2", "PYXIS_CONTAINER_NAME": "x", "PYTHONPATH": "/of/the/task",
        "LD_LIBRARY_PATH": "/of/this/host",
    }  # fmt: skip
    words = ["srun", "--container-env=A,PYTHONPATH", "bash", "--container-env=LD_LIBRARY_PATH"]

    argv = slurm.own_step(environ, words)

    assert argv[0] == "srun"
    assert {"--overlap", "--nodes=1", "--nodelist=n2", "--cpus-per-task=12"} <= set(argv)
    assert argv[-3:] == words[1:]
    kept = {"SLURM_JOB_ID", "SLURM_JOB_NUM_NODES", "SLURMD_NODENAME", "SLURM_CPUS_ON_NODE", "PATH",
            "PYTHONPATH"}  # fmt: skip
    assert slurm.for_step(environ, words).keys() == kept


def test_defaults_of_pyxis_do_not_travel() -> None:
    """They would put our own agents into a container that holds no sdtui."""
    assert slurm.carried({"PYXIS_CONTAINER_IMAGE": "x", "A": "1"}) == {"A": "1"}

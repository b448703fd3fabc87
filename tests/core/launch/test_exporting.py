"""Job files for other engines: whole, quoted, and without a secret."""

import os
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from sdcore.errors import UsageError
from sdcore.launch.exporting.kubernetes import job_file
from sdcore.launch.exporting.skypilot import task_file
from sdcore.launch.exporting.slurm import batch_file
from sdcore.launch.runtimes.facts import Program, RuntimeFacts, Tree
from sdcore.task.spec import TaskSpec

FACTS = RuntimeFacts(programs={"bubblewrap": Program("/usr/bin/bwrap")}, tree=Tree())
EVIL = 'it\'s a $(touch pwned) `x` "cat"\nSDTUI_END\n$HOME'
SECRET = "hf_topsecretvalue"


def task(**fields: Any) -> TaskSpec:
    record: dict[str, Any] = {
        "name": "Pokemon.sd_1", "image": "registry/sd:1",
        "gpu": {"count": 8, "type": "NVIDIA-H800"},
        "mounts": [{"source": "/data/it's here", "target": "/mnt/dataset", "read_only": True},
                   {"source": "/models/sd", "target": "/mnt/model"}],
        "env": {"HF_TOKEN": SECRET, "NOTE": EVIL},
        "train": {"validation_prompts": [EVIL], "max_train_steps": 10},
        "cluster": {"engine": "slurm", "nodes": 2, "partition": "gpu", "mem": "64G",
                    "cpus_per_task": 32},
    }  # fmt: skip
    return TaskSpec.model_validate(record | fields)


def shell(text: str, command: list[str], tmp_path: Path) -> subprocess.CompletedProcess[str]:
    path = tmp_path / "job.sbatch"
    path.write_text(text)
    return subprocess.run([*command, str(path)], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("command", [None, "bash /mnt/project/train.sh 'a b'"])
def test_a_batch_file_is_clean_shell_whatever_stands_in_the_task(
    command: str | None, tmp_path: Path
) -> None:
    """A prompt with a quote would run as a command on the cluster."""
    fields: dict[str, Any] = {"image": None}
    if command is not None:
        mounts = [{"source": "/data/it's here", "target": "/mnt/project"}]
        fields |= {"command": command, "train": {}, "mounts": mounts}
    text = batch_file(task(**fields), "h800", FACTS)

    parsed = shell(text, ["bash", "-n"], tmp_path)
    assert parsed.returncode == 0, parsed.stderr
    if shutil.which("shellcheck"):
        checked = shell(text, ["shellcheck"], tmp_path)
        assert checked.returncode == 0, checked.stdout
    assert SECRET not in text
    assert "#SBATCH --gres=gpu:h800:8\n" in text
    assert "#SBATCH --partition=gpu\n" in text
    if command is None:  # the node's own script says the very words
        said = text.partition("<<'SDTUI_END_'\n")[2].partition("\nSDTUI_END_\n")[0]
        assert f"--validation_prompts={EVIL}" in shlex.split(said)


def test_a_kubernetes_job_names_secrets_and_never_their_values() -> None:
    """A manifest is committed, mailed and pasted."""
    text = job_file(task())
    service, job = list(yaml.safe_load_all(text))

    assert SECRET not in text
    spec = job["spec"]
    assert (job["apiVersion"], job["kind"]) == ("batch/v1", "Job")
    assert job["metadata"]["name"] == service["metadata"]["name"] == "pokemon-sd-1"
    assert (spec["completions"], spec["parallelism"], spec["completionMode"]) == (2, 2, "Indexed")
    pod = spec["template"]["spec"]
    [container] = pod["containers"]
    env = {each["name"]: each for each in container["env"]}
    assert env["HF_TOKEN"]["valueFrom"]["secretKeyRef"]["key"] == "HF_TOKEN"
    assert env["NOTE"]["value"] == EVIL.replace("$(", "$$(")
    words = container["command"]
    assert words[words.index("--machine_rank") + 1] == "$(JOB_COMPLETION_INDEX)"
    assert words[words.index("--num_processes") + 1] == "16"
    assert "--train_data_dir=/mnt/dataset" in words
    assert not [word for word in words if "{" in word and "prompt" not in word]
    mounted = {each["mountPath"]: each.get("readOnly") for each in container["volumeMounts"]}
    assert (mounted["/mnt/dataset"], mounted["/mnt/model"]) == (True, False)
    claimed = {each["name"] for each in pod["volumes"]}
    assert {each["name"] for each in container["volumeMounts"]} == claimed
    assert container["resources"]["limits"] == {
        "nvidia.com/gpu": "8", "cpu": "32", "memory": "64Gi",
    }  # fmt: skip

    [alone] = list(yaml.safe_load_all(job_file(task(cluster=None))))
    assert "completions" not in alone["spec"]


def test_a_skypilot_task_runs_the_same_words() -> None:
    """What is rendered from the same task must not drift from what sdtui starts."""
    text = task_file(task())
    record = yaml.safe_load(text)

    assert SECRET not in text
    assert record["resources"]["accelerators"] == "H800:8"
    assert record["num_nodes"] == 2
    assert record["secrets"] == {"HF_TOKEN": None}
    assert record["envs"]["NOTE"] == EVIL
    assert record["file_mounts"]["/mnt/dataset"] == "/data/it's here"
    words = shlex.split(record["run"])
    assert f"--validation_prompts={EVIL}" in words
    assert words[words.index("--machine_rank") + 1] == "$SKYPILOT_NODE_RANK"


def test_a_file_says_that_the_hook_is_not_in_it() -> None:
    """Who exports a task may wait for a message that nothing sends."""
    wanted = {"hooks": {"end": "curl example.org"}}
    plain = task(image=None, **wanted)
    for text in (batch_file(plain), job_file(task(**wanted)), task_file(task(**wanted))):
        [line] = [line for line in text.splitlines() if "hooks.end" in line]
        assert line.startswith("# Not in this file")
    assert "hooks.end" not in batch_file(task(image=None)) + job_file(task()) + task_file(task())


def head_of(text: str) -> str:
    return "".join(line for line in text.splitlines(keepends=True) if line.startswith("#"))


def test_a_batch_file_makes_the_mount_points_of_a_start_command() -> None:
    """Left out in silence, they were "No such file or directory" on the day of the training."""
    mounts = [{"source": "/code", "target": "/mnt/project"},
              {"source": "/d", "target": "/mnt/dataset", "read_only": True}]  # fmt: skip
    given = task(command="bash /mnt/project/train.sh", train={}, mounts=mounts, image="a word")

    text = batch_file(given, "h800", FACTS)

    assert "--bind /code /mnt/project" in text
    assert "--ro-bind /d /mnt/dataset" in text
    assert '--bind "$RUN"/output /output' in text
    assert "made by bubblewrap" in head_of(text)
    assert "The image 'a word' is no name of an image, and is not used." in head_of(text)
    assert "gpu.type" not in head_of(text)
    assert "gpu.type" in head_of(batch_file(given, None, FACTS))


@pytest.mark.parametrize(
    ("fields", "known", "words"),
    [
        ({}, RuntimeFacts(), ("uses /mnt/project", "bubblewrap: it is not installed", "{project}")),
        ({"runtime": "host"}, FACTS, ("uses /mnt/project", "the task asks for it", "{project}")),
        ({"mounts": []}, FACTS, ("no mount has this target", "target = /mnt/project")),
    ],
)
def test_a_batch_file_that_would_lack_a_mount_point_is_not_written(
    fields: dict[str, Any], known: RuntimeFacts, words: tuple[str, ...]
) -> None:
    mounts = [{"source": "/code", "target": "/mnt/project"}]
    base = {"command": "bash /mnt/project/train.sh", "train": {}, "mounts": mounts, "image": None}
    with pytest.raises(UsageError) as caught:
        batch_file(task(**base | fields), facts=known)

    assert [word for word in words if word not in str(caught.value)] == []


def test_what_is_not_protected_on_the_host_stands_in_the_batch_file() -> None:
    mounts = [{"source": "/d", "target": "/mnt/dataset", "read_only": True}]
    given = task(command="ls {dataset}", train={}, mounts=mounts, image=None)

    text = batch_file(given, facts=RuntimeFacts())

    assert "read_only mounts are not protected" in head_of(text)
    assert "bash -c 'ls /d'" in text


def test_a_batch_file_never_drops_the_container_that_a_task_asks_for() -> None:
    """On the nodes' own Python it would train with other versions, and nobody would be told."""
    for wish in ({"runtime": "pyxis"}, {"image": "repo/image:1", "command": "python x.py"}):
        with pytest.raises(UsageError, match="starts no container"):
            batch_file(task(**wish))


@pytest.mark.parametrize("render", [job_file, task_file])
@pytest.mark.parametrize(
    ("image", "words"),
    [
        ("colossalai 0.3.4", "'colossalai 0.3.4' is no name of an image"),
        ("rootfs:/srv/root", "'rootfs:/srv/root' is none"),
        ("/images/a.sif", "'/images/a.sif' is none"),
        ("a.sqsh", "'a.sqsh' is none"),
        ("oras://a/b", "'oras://a/b' is none"),
    ],
)
def test_what_no_engine_can_pull_is_no_image_of_a_job(
    render: Callable[[TaskSpec], str], image: str, words: str
) -> None:
    """The pods of such a manifest never start, and say so where nobody looks."""
    with pytest.raises(UsageError) as caught:
        render(task(image=image, command="true"))

    assert words in caught.value.cause
    assert "--set image=" in caught.value.remedy
    with pytest.raises(UsageError, match="names none"):
        job_file(task(image=None))


@pytest.mark.parametrize("given", ["docker://nvcr.io/a/b:1", "nvcr.io#a/b:1", "nvcr.io/a/b:1"])
def test_a_registrys_name_has_the_form_that_an_engine_takes(given: str) -> None:
    assert "image: nvcr.io/a/b:1\n" in job_file(task(image=given))
    assert "image_id: docker:nvcr.io/a/b:1\n" in task_file(task(image=given))


@pytest.mark.parametrize("render", [job_file, task_file])
def test_no_number_of_cores_of_this_machine_is_in_a_job_for_another(
    render: Callable[[TaskSpec], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two threads on a laptop would be two threads on 128 cores."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)

    assert "OMP_NUM_THREADS" not in render(task(cluster=None))
    assert "OMP_NUM_THREADS" in render(task(cluster=None, env={"OMP_NUM_THREADS": "7"}))


OWN: dict[str, Any] = {"command": "torchrun --node-rank=$NODE_RANK x.py", "train": {}, "env": {}}


def test_a_start_command_finds_its_peers_under_every_engine() -> None:
    """Each machine would train by itself, the same steps as the other."""
    _, job = yaml.safe_load_all(job_file(task(**OWN)))
    [container] = job["spec"]["template"]["spec"]["containers"]
    env = {each["name"]: each.get("value") for each in container["env"]}
    names = list(env)
    assert (env["NNODES"], env["GPUS_PER_NODE"], env["NPROC_PER_NODE"]) == ("2", "8", "8")
    assert env["NODE_RANK"] == "$(JOB_COMPLETION_INDEX)"
    assert names.index("JOB_COMPLETION_INDEX") < names.index("NODE_RANK"), "it is filled in then"
    assert (env["MASTER_ADDR"], env["MASTER_PORT"]) == ("pokemon-sd-1-0.pokemon-sd-1", "29500")

    record = yaml.safe_load(task_file(task(**OWN)))
    assert record["envs"]["NNODES"] == "2"
    assert "NODE_RANK" not in record["envs"]
    shown = 'echo "$NODE_RANK $MASTER_ADDR $MASTER_PORT"'
    lines = [line for line in record["run"].splitlines() if line.startswith("export ")]
    told = subprocess.run(
        ["bash", "-c", "\n".join([*lines, shown])], capture_output=True, text=True, check=True,
        env={"SKYPILOT_NODE_RANK": "1", "SKYPILOT_NODE_IPS": "10.0.0.1\n10.0.0.2\n",
             "PATH": os.defpath},
    )  # fmt: skip
    assert told.stdout == "1 10.0.0.1 29500\n"


@pytest.mark.parametrize("render", [job_file, task_file])
def test_a_command_that_spreads_by_srun_is_for_slurm_alone(
    render: Callable[[TaskSpec], str],
) -> None:
    cluster = {"engine": "slurm", "nodes": 2, "command_on": "first node"}
    with pytest.raises(UsageError, match="spread by srun"):
        render(task(**OWN | {"cluster": cluster}))

    assert "NODE_RANK" in render(task(**OWN | {"cluster": cluster | {"nodes": 1}}))

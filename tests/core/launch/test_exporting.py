"""Job files for other engines: whole, quoted, and without a secret."""

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
from sdcore.task.spec import TaskSpec

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
        fields |= {"command": command, "train": {}}
    text = batch_file(task(**fields), "h800")

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

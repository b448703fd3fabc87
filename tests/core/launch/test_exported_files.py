"""Job files as their engines read them: Kubernetes' own schemas, and SkyPilot's own parser.

SkyPilot needs other versions of our dependencies, so it has an environment of its own:
``make test-skypilot`` makes it and sets SKYPILOT_PYTHON.
"""

import json
import os
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import kubernetes_validate
import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from kubernetes_validate.utils import all_versions

from sdcore.errors import UsageError
from sdcore.launch.exporting.kubernetes import job_file
from sdcore.launch.exporting.skypilot import accelerator, task_file
from sdcore.launch.exporting.slurm import batch_file
from sdcore.launch.runtimes.facts import Program, RuntimeFacts, Tree
from sdcore.names import NAME
from sdcore.task.spec import TaskSpec

# Of a machine with bubblewrap and an empty root.
FACTS = RuntimeFacts(programs={"bubblewrap": Program("/usr/bin/bwrap")}, tree=Tree())
VERSIONS = sorted(set(all_versions()))
# A DNS label, and one that names a service, too: RFC 1123 and RFC 1035.
LABEL, SERVICE = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"), re.compile(r"[a-z][a-z0-9-]*")

# What YAML takes for another thing when it is not quoted.
_TRAPS = st.sampled_from(
    ["yes", "null", "~", "1e3", "0x10", "012", "2026-11-24", "1:30", "- a", "a: b", "#c", " a ", "",
     "$(HOME)", "$$(HOME)", "{a}", "[", "&a", "*a", "!!int 1", "'", '"', "a\nb\n", "\n", "\t", "é",
     "训练", "😀", "\x7f", "\u2028", "\x85", "\u2029x", "\ufeffa", "| x", "> x",
     "%a", "@a", "`a`", "\r\n", "---\n"]
)  # fmt: skip
_VALUES = _TRAPS | st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40)
_FOLDERS = st.from_regex(r"\A/[a-zA-Z0-9 ._é-]{1,30}\Z").filter(lambda p: p.strip("/. ") != "")
_TARGETS = st.lists(
    st.from_regex(r"\A/(mnt|srv)/[a-zA-Z0-9_.-]{0,40}[a-z]\Z") | st.just("/srv/output"),
    max_size=4, unique=True,
)  # fmt: skip
_CLUSTERS = st.none() | st.fixed_dictionaries(
    {"engine": st.just("slurm"), "nodes": st.integers(1, 300)},
    optional={
        "mem": st.sampled_from(["0", "64G", "1T", "500M", "100", "1K"]),
        "cpus_per_task": st.integers(1, 256), "restarts": st.integers(0, 100),
        "partition": st.just("gpu"), "time_limit": st.just("1-00:00:00"),
    },
)  # fmt: skip


@st.composite
def tasks(draw: st.DrawFn) -> TaskSpec:
    """Draw a task that a person could have, and some that only an attacker would."""
    record: dict[str, Any] = {
        "name": draw(st.from_regex(rf"\A{NAME.pattern}\Z")),
        "image": "registry.example/sd:1.0",
        "gpu": {"count": draw(st.integers(0, 8)),
                "type": draw(st.sampled_from([None, "NVIDIA-H800", "NVIDIA H100 80GB HBM3"]))},
        "mounts": [{"source": draw(_FOLDERS), "target": target, "read_only": draw(st.booleans())}
                   for target in draw(_TARGETS)],
        "env": draw(st.dictionaries(
            st.from_regex(r"\A[A-Za-z_][A-Za-z0-9_]{0,20}\Z"), _VALUES, max_size=5)),
        "cluster": draw(_CLUSTERS),
    }  # fmt: skip
    if draw(st.booleans()):
        record["command"] = draw(_VALUES.filter(lambda text: text.strip()))
    else:
        record["train"] = {"validation_prompts": [draw(_VALUES)], "max_train_steps": 10}
    try:
        return TaskSpec.model_validate(record)
    except ValueError:  # two parts that do not agree, such as a target inside another
        record |= {"mounts": [], "env": {}, "command": "true", "train": {}}
        return TaskSpec.model_validate(record)


def two_folders_of_one_name() -> TaskSpec:
    """Return a task of which two mounts end alike, and one like the results; a name of digits."""
    targets = ["/mnt/data", "/srv/data", "/opt/output"]
    return TaskSpec.model_validate({
        "name": "2024-" + "x" * 55 + "-", "image": "a/b:1", "command": "true",
        "mounts": [{"source": "/d", "target": target} for target in targets],
        "cluster": {"engine": "slurm", "nodes": 3, "mem": "0"},
    })  # fmt: skip


def accepted(document: dict[str, Any], version: str) -> None:
    """Raise what Kubernetes' schema of this version has against a document, unknown keys too."""
    kubernetes_validate.validate(document, version, strict=True)


def follows_the_rules(documents: list[dict[str, Any]]) -> None:
    """Assert what the server asks beyond its schema: names, and each place and volume once."""
    job = documents[-1]
    name, pod = job["metadata"]["name"], job["spec"]["template"]["spec"]
    [container] = pod["containers"]
    for document in documents:
        assert LABEL.fullmatch(document["metadata"]["name"])
    # With completions every pod is called name-index, and its host name must be a label, too.
    assert LABEL.fullmatch(f"{name}-{job['spec'].get('completions', 1) - 1}")
    if len(documents) == 2:
        service = documents[0]
        assert SERVICE.fullmatch(service["metadata"]["name"])
        assert service["metadata"]["name"] == pod["subdomain"]
        assert service["spec"]["selector"] == {"job-name": name}
    volumes = [volume["name"] for volume in pod["volumes"]]
    places = [mount["mountPath"] for mount in container["volumeMounts"]]
    assert len(set(volumes)) == len(volumes)
    assert len(set(places)) == len(places)
    assert not [place for place in places if ":" in place]
    assert all(LABEL.fullmatch(volume) for volume in volumes)
    assert {mount["name"] for mount in container["volumeMounts"]} == set(volumes)
    claims = [v["persistentVolumeClaim"]["claimName"] for v in pod["volumes"] if len(v) == 2
              and "persistentVolumeClaim" in v]  # fmt: skip
    assert len(set(claims)) == len(claims)
    names = [each["name"] for each in container["env"]]
    assert len(set(names)) == len(names)
    for size in container.get("resources", {}).get("limits", {}).values():
        assert re.fullmatch(r"[1-9]\d*(Ki|Mi|Gi|Ti)?", size)


@given(tasks(), st.sampled_from(VERSIONS))
@example(two_folders_of_one_name(), VERSIONS[-1])
@settings(max_examples=60, deadline=None)
def test_kubernetes_takes_every_job_that_is_written(task: TaskSpec, version: str) -> None:
    """A manifest that the server refuses is found out on the day of the training."""
    documents = list(yaml.safe_load_all(job_file(task)))

    for document in documents:
        accepted(document, version)
    follows_the_rules(documents)
    [container] = documents[-1]["spec"]["template"]["spec"]["containers"]
    env = {each["name"]: each.get("value") for each in container["env"]}
    for name, value in task.env.items():
        if value and env.get(name) is not None:
            assert env[name] == value.replace("$(", "$$(")


@pytest.mark.parametrize("version", VERSIONS)
def test_every_version_of_kubernetes_takes_the_job_of_many_machines(version: str) -> None:
    for document in yaml.safe_load_all(job_file(two_folders_of_one_name())):
        accepted(document, version)


def _unknown(job: dict[str, Any]) -> None:
    job["spec"]["template"]["spec"]["containers"][0]["volumeMount"] = []


def _number(job: dict[str, Any]) -> None:
    job["spec"]["template"]["spec"]["containers"][0]["env"].append({"name": "A", "value": 1})


def _words(job: dict[str, Any]) -> None:
    job["spec"]["completions"] = "three"


def _nameless(job: dict[str, Any]) -> None:
    del job["spec"]["template"]["spec"]["volumes"][0]["name"]


@pytest.mark.parametrize("damage", [_unknown, _number, _words, _nameless])
def test_the_schema_refuses_what_is_wrong(damage: Callable[[dict[str, Any]], None]) -> None:
    """Else the test above would say nothing."""
    job = list(yaml.safe_load_all(job_file(two_folders_of_one_name())))[-1]
    accepted(job, VERSIONS[-1])
    damage(job)
    with pytest.raises(kubernetes_validate.ValidationError):
        accepted(job, VERSIONS[-1])


@given(tasks())
@settings(max_examples=40, deadline=None)
def test_every_batch_file_is_shell_that_can_be_read(task: TaskSpec) -> None:
    """A value with a quote would run as a command on the cluster."""
    cluster = task.model_dump()["cluster"] or {"engine": "slurm"}
    fields = task.model_dump(exclude_unset=True) | {"cluster": cluster, "image": None}
    text = batch_file(TaskSpec.model_validate(fields), facts=FACTS)

    read = subprocess.run(["bash", "-n"], input=text.encode(), capture_output=True, check=False)
    assert read.returncode == 0, read.stderr
    assert not read.stderr


@pytest.mark.parametrize("render", [job_file, task_file])
def test_what_the_file_cannot_say_stands_in_it(render: Callable[[TaskSpec], str]) -> None:
    """A time limit that is quietly gone costs a night of eight GPUs."""
    asked = {"engine": "slurm", "nodes": 2, "time_limit": "60", "qos": "low", "mem": "1G"}
    task = two_folders_of_one_name()
    text = render(TaskSpec.model_validate(task.model_dump() | {"cluster": asked}))

    head = "".join(line for line in text.splitlines(keepends=True) if line.startswith("#"))
    assert "cluster.qos, cluster.time_limit.\n" in head
    assert "cluster.mem" not in head


def test_a_folder_of_this_machine_is_no_image_elsewhere() -> None:
    task = TaskSpec.model_validate({"image": "rootfs:/srv/root", "command": "true"})
    with pytest.raises(UsageError, match="SkyPilot"):
        task_file(task)


@pytest.mark.parametrize(
    ("device", "name"),
    [
        ("NVIDIA-H800", "H800"),
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA A100-SXM4-80GB", "A100-80GB"),
        ("NVIDIA A100-SXM4-40GB", "A100"),
        ("NVIDIA GeForce RTX 4090", "RTX4090"),
        ("Tesla V100-SXM2-16GB", "V100"),
        ("NVIDIA L40S", "L40S"),
        ("H200", "H200"),
    ],
)
def test_a_device_has_the_name_that_skypilot_gives_it(device: str, name: str) -> None:
    assert accelerator(device) == name


_PARSER = """
import json, sys
import sky
print("ready", flush=True)
for line in sys.stdin:
    try:
        task = sky.Task.from_yaml_str(json.loads(line))
        [resources] = task.resources
        found = {"nodes": task.num_nodes, "envs": dict(task.envs), "run": task.run,
                 "secrets": sorted(task.secrets), "accelerators": resources.accelerators,
                 "cpus": resources.cpus, "memory": resources.memory,
                 "mounts": dict(task.file_mounts or {})}
        answer = {"task": found}
    except Exception as error:
        answer = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(answer), flush=True)
"""

Parser = Callable[[str], dict[str, Any]]


@pytest.fixture(scope="module")
def skypilot() -> Iterator[Parser]:
    python = os.environ.get("SKYPILOT_PYTHON")
    if not python:
        pytest.skip("SKYPILOT_PYTHON names no Python that has SkyPilot: see make test-skypilot")
    with subprocess.Popen(
        [python, "-c", _PARSER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        to, of = process.stdin, process.stdout
        while of.readline() not in {"ready\n", ""}:
            pass

        def parse(text: str) -> dict[str, Any]:
            to.write(json.dumps(text) + "\n")
            to.flush()
            answer: dict[str, Any] = json.loads(of.readline())
            return answer

        yield parse
        to.close()


@given(task=tasks())
@example(task=two_folders_of_one_name())
@settings(max_examples=150, deadline=None)
def test_skypilot_takes_every_task_that_is_written(skypilot: Parser, task: TaskSpec) -> None:
    """And reads the same values from it that stand in the preset."""
    answer = skypilot(task_file(task))

    assert "error" not in answer, answer["error"]
    found = answer["task"]
    assert found["nodes"] == (task.cluster.nodes if task.cluster else 1)
    assert found["accelerators"] == (
        {accelerator(task.gpu.type or "H100"): task.gpu.count} if task.gpu.count else None
    )
    assert found["mounts"] == {mount.target: mount.source for mount in task.mounts}
    for name, value in task.env.items():
        if value and name not in found["secrets"]:
            assert found["envs"][name] == value
    if task.command is not None:
        assert task.command in shlex.split(found["run"])[-1]


@pytest.mark.parametrize(
    "text",
    ["num_nodes: 2\nrunn: x\n", "num_nodes: two\n", "file_mounts: [/a]\n",
     "resources: {accelerators: 'H100:many'}\n", "resources: {cpus: many}\n"],
)  # fmt: skip
def test_skypilot_refuses_what_is_wrong(skypilot: Parser, text: str) -> None:
    assert "error" in skypilot(text)

"""The preflight of a start command of one's own."""

import shutil
from pathlib import Path

import pytest

from sdcore.checks import judge
from sdcore.checks.check import check_task
from sdcore.checks.judge import command_findings
from sdcore.task.presets import load_preset
from sdcore.task.spec import TaskSpec


def whats(task: TaskSpec) -> str:
    return "\n".join(str(finding) for finding in check_task(task).findings)


def test_the_pages_own_task_is_not_sent_to_a_setting_that_it_never_reads() -> None:
    """Its train.sh takes the data from the mount: without it there are none."""
    [found] = [f for f in check_task(load_preset("platform-page").task).errors
               if "pokemon" in f.what]  # fmt: skip

    assert "train.dataset_name" not in found.remedy
    assert "mount a copy of lambdalabs/naruto-blip-captions" in found.remedy


def test_settings_that_a_start_command_does_not_read_are_named() -> None:
    """Somebody waits for a resolution of 256 that nobody was told of."""
    task = TaskSpec.model_validate(
        {"command": "true", "gpu": {"count": 0}, "train": {"resolution": 256, "seed": 1}}
    )

    [found] = check_task(task).findings

    assert (found.level, found.what) == (
        "warning", "the start command does not read train.resolution, train.seed"
    )  # fmt: skip
    plain = TaskSpec.model_validate({"command": "true", "gpu": {"count": 0}})
    assert check_task(plain).findings == ()


@pytest.mark.parametrize("runtime", ["auto", "apptainer"])
def test_an_image_file_that_is_not_there_is_told_without_a_program_to_run_it(
    tmp_path: Path, runtime: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever installs apptainer first, and then finds the file missing, was sent twice."""
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    fields = {"command": "true", "gpu": {"count": 0}, "runtime": runtime}
    gone = TaskSpec.model_validate(fields | {"image": f"{tmp_path}/a.sif"})

    assert ("there is no such file", "correct `image`") in [
        (f.cause, f.remedy) for f in check_task(gone).errors
    ]
    (tmp_path / "a.sif").touch()
    assert "no such file" not in whats(gone)


@pytest.mark.parametrize(
    ("command", "fine"),
    [("shopt -s nullglob; true", True), ("[ -d x ] || true", True), ("unset A; true", True),
     ("pushd /tmp", True), ("  ", False), ("no-such-program", False)],
)  # fmt: skip
def test_what_bash_knows_is_for_bash_to_say(command: str, fine: bool) -> None:
    """A list of its words refused scripts that run; one of blanks alone ends as done."""
    assert (command_findings(TaskSpec(command=command), command) == []) == fine


def test_a_start_command_that_does_not_exist_is_told() -> None:
    """Bash would say so after the GPU was waited for."""
    report = check_task(TaskSpec(command="no-such-program --x"))
    mounted = check_task(TaskSpec(command="bash /mnt/project/train.sh"))

    assert "no-such-program" in report.errors[-1].what
    assert "/mnt/project" in mounted.errors[-1].what
    assert (
        check_task(TaskSpec.model_validate({"command": "true", "gpu": {"count": 0}})).errors == ()
    )


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("bash {project}/train.sh", "target = /mnt/project"),
        ("bash {projct}/train.sh", "{project}"),
        ("bash /no/such/train.sh", "/no/such/train.sh does not exist"),
        ("bash -eu /no/such/train.sh", "/no/such/train.sh does not exist"),
        ("bash -c /no/such/train.sh", None),
        ("python3 -u /no/such/t.py", "/no/such/t.py does not exist"),
        ("python3 -m x /no/such/t.py", None),
        ("torchrun --nproc-per-node 2 /no/such/t.py /a.py", "/no/such/t.py does not exist"),
        ("torchrun -m x /no/such/t.py", None),
        ("bash train.sh && awk '{print}' x ${project} {}", None),
        ("bash -c 'echo {a,b}'", None),
    ],
)
def test_a_start_command_that_cannot_start_is_told_before(
    command: str, words: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`ready to run` for a script that is not there is the kind of lie people leave a tool for."""
    monkeypatch.setattr(judge, "_bash_knows", lambda word: True)  # torchrun, accelerate
    task = TaskSpec.model_validate({"command": command, "gpu": {"count": 0}})

    told = " ".join(f"{f.what} {f.remedy}" for f in check_task(task).errors)

    assert (words in told) if words else (told == "")


@pytest.mark.parametrize(
    ("command", "runtime", "words"),
    [
        ("bash /mnt/project/train.sh", "bubblewrap", None),
        ("bash /mnt/project/none.sh", "bubblewrap", "/mnt/project/none.sh does not exist"),
        ("bash /mnt/project/none.sh", "docker", "/mnt/project/none.sh does not exist"),
        ("bash /opt/in-the-image.sh", "docker", None),
        (
            "accelerate launch --config_file /mnt/project/a.yaml /mnt/project/none.py --x",
            "docker",
            "/mnt/project/none.py does not exist",
        ),
        ("accelerate launch -m none /mnt/project/none.py", "docker", None),
        ("bash /mnt/project/windows.sh", "bubblewrap", "has the line ends of Windows"),
        ("sh /mnt/project/windows.sh", "docker", "run: sed -i"),
        ("python /mnt/project/windows.sh", "docker", None),
        ("a-program-of-the-image", "docker", None),
        ("ls /mnt/dataset", "bubblewrap", "add a mount with target = /mnt/dataset"),
        ("ls $HOME/mnt/dataset ./output", "host", None),
        ("ls /mnt/project", "host", "write {dataset}"),
    ],
)
def test_a_command_is_judged_by_what_it_will_see(
    tmp_path: Path, command: str, runtime: str, words: str | None
) -> None:
    """Refused for a path that it would have had, a right task never starts."""
    (tmp_path / "train.sh").touch()
    (tmp_path / "windows.sh").write_bytes(b"set -e\r\necho x\r\n")
    image = {"image": "a/b:1"} if runtime == "docker" else {}
    mounts = [{"source": str(tmp_path), "target": "/mnt/project"}]
    task = TaskSpec.model_validate({"command": command, "mounts": mounts, **image})

    told = " ".join(f"{f.what} {f.remedy}" for f in command_findings(task, command, runtime))

    assert (words in told) if words else (told == "")


def test_a_folder_of_this_host_at_a_mount_point_is_not_taken_for_the_mount(tmp_path: Path) -> None:
    """Without mounts a command would train on what happens to lie there, and end well."""
    for name in ("mine", "theirs"):
        (tmp_path / name).mkdir()
    (tmp_path / "same").symlink_to(tmp_path / "mine")

    def told(target: str) -> str:
        mounts = [{"source": f"{tmp_path}/mine", "target": f"{tmp_path}/{target}"}]
        command = f"ls {tmp_path}/{target}"
        task = TaskSpec.model_validate({"command": command, "runtime": "host", "mounts": mounts})
        return " ".join(f"{f.what}; {f.cause}" for f in command_findings(task, command))

    assert f"uses {tmp_path}/theirs" in told("theirs")
    assert f"another folder than {tmp_path}/mine" in told("theirs")
    assert told("same") == ""


@pytest.mark.parametrize("path", [None, "/usr/bin/bwrap"])
def test_nobody_is_sent_to_install_what_is_there(
    monkeypatch: pytest.MonkeyPatch, path: str | None
) -> None:
    """Where the host forbids namespaces, an administrator would be asked for nothing."""
    monkeypatch.setattr(shutil, "which", lambda _name: path)
    task = TaskSpec(command="cp x /mnt/dataset")

    [found] = command_findings(task, "cp x /mnt/dataset")

    assert ("install bubblewrap" in found.remedy) == (path is None)
    assert "write {dataset}" in found.remedy

"""Docker and podman themselves, where this host has one that can start a container."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sdcore.runs.files import read_json
from sdcore.runs.paths import RunDir
from support import tiny_image
from support.commands import Console
from support.fake_runs import until

SECRET = "s3cret-of-the-test"
TRAIN = """
cat /mnt/dataset/rows > /output/rows
(echo no > /mnt/dataset/new) 2> /output/refused || echo "read only" >> /output/refused
printf %s "$NOTE" > /output/note
printf %s "$MY_TOKEN" > /output/secret
pwd > /output/folder
echo "step=1 loss=0.5"
[ -z "$WAITS" ] && exit 9
trap 'sleep 0.5 && touch /output/saved; exit 4' TERM
touch /output/up
while :; do sleep 0.05; done
"""


@pytest.fixture(scope="module", params=["docker", "podman"])
def engine(request: pytest.FixtureRequest) -> Iterator[str]:
    name: str = request.param
    if reason := tiny_image.build(name):
        pytest.skip(reason)
    yield name
    tiny_image.remove(name)


@pytest.fixture
def task(tmp_path: Path, engine: str) -> Path:
    for folder in ("data", "project"):
        (tmp_path / folder).mkdir()
    (tmp_path / "data" / "rows").write_text("one\n")
    (tmp_path / "project" / "train.sh").write_text(TRAIN)
    path = tmp_path / "task.toml"
    path.write_text(
        f'name = "box"\nimage = "{tiny_image.NAME}"\nruntime = "{engine}"\n'
        'command = "bash /mnt/project/train.sh"\n[gpu]\ncount = 0\n'
        f'[[mounts]]\nsource = "{tmp_path}/data"\ntarget = "/mnt/dataset"\nread_only = true\n'
        f'[[mounts]]\nsource = "{tmp_path}/project"\ntarget = "/mnt/project"\n'
        f'[env]\nNOTE = "a\\nb=c \'$(id)\'"\nMY_TOKEN = "{SECRET}"\n'
    )
    return path


def containers(engine: str) -> list[str]:
    listed = subprocess.run(
        [engine, "ps", "--all", "--quiet", "--filter", f"ancestor={tiny_image.NAME}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return listed.stdout.split()


def waiting(sdtui: Console, task: Path) -> RunDir:
    answer = sdtui("--run", task, "--env", "WAITS=1", "--detach")
    assert answer.code == 0, answer.err
    [run] = sdtui.runs()
    until(run.output / "up")
    return run


def test_a_container_sees_its_mounts_and_leaves_files_of_its_user(
    sdtui: Console, task: Path
) -> None:
    """Results that belong to root can be read by nobody else, and not be removed."""
    sdtui("--run", task)

    [run] = sdtui.runs()
    record = sdtui.record()
    assert (record["state"], record["code"], record["last_loss"]) == ("failed", 9, 0.5), record
    said = {path.name: path.read_text() for path in run.output.iterdir()}
    assert said["rows"] == "one\n"
    assert "read only" in said["refused"]
    assert said["note"] == "a\nb=c '$(id)'"
    assert said["secret"] == SECRET
    assert said["folder"] == "/mnt/project\n"
    assert {path.stat().st_uid for path in run.output.iterdir()} == {os.getuid()}


def test_a_stop_lets_a_container_save(sdtui: Console, task: Path, engine: str) -> None:
    run = waiting(sdtui, task)
    assert sdtui("stop", run.id).code == 0

    assert (run.output / "saved").exists()
    assert (sdtui.record()["state"], sdtui.record()["code"]) == ("stopped", 4)
    assert containers(engine) == []


def test_no_container_outlives_its_supervisor(sdtui: Console, task: Path, engine: str) -> None:
    """It would keep its GPU, and no list would show it."""
    run = waiting(sdtui, task)
    os.kill(int((read_json(run.supervisor) or {})["pid"]), signal.SIGKILL)

    end = time.monotonic() + 60
    while containers(engine):
        assert time.monotonic() < end, "the container runs on"
        time.sleep(0.2)
    assert (run.output / "saved").exists()
    sdtui.nothing_left()

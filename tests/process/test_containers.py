"""Each container program on PATH, stood in for: see ``docker_stand_in``."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sdcore.runs.files import read_json
from sdcore.runs.paths import RunDir
from support.commands import Console
from support.docker_stand_in import Docker
from support.fake_runs import until

SECRET = "s3cret-of-the-test"
_PIDS = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc", "true"]
pytestmark = pytest.mark.skipif(
    subprocess.run(_PIDS, capture_output=True, check=False).returncode != 0,
    reason="this host lets nobody make a pid namespace",
)

# A script that starts a program, as most do: told alone, bash would wait for it for ever.
SAVES = (
    "trap 'echo handler >> $SDTUI_RUN_DIR/output/told; exit 5' TERM; "
    'bash -c \'trap \\"echo program >> $SDTUI_RUN_DIR/output/told; exit 4\\" TERM; '
    "touch $SDTUI_RUN_DIR/output/up; while :; do sleep 0.05; done'"
)
# Most do not even listen, and end at once.
SHELL = (
    'bash -c \'trap \\"sleep 0.5; echo program >> $SDTUI_RUN_DIR/output/told; exit 4\\" TERM; '
    "touch $SDTUI_RUN_DIR/output/up; while :; do sleep 0.05; done'; true"
)
DEAF = "trap '' TERM; touch $SDTUI_RUN_DIR/output/up; while :; do sleep 0.05; done"


@pytest.fixture(params=["docker", "podman", "apptainer", "enroot"])
def engine(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Docker]:
    daemon = Docker(tmp_path / "engine", request.param)
    monkeypatch.setenv("PATH", f"{daemon.folder}:{os.environ['PATH']}")
    monkeypatch.setenv("HF_TOKEN", SECRET)
    yield daemon
    daemon.close()


def note_for(engine: str) -> str:
    """Return a value as TOML writes it; enroot keeps variables a line each."""
    return "a b=c" if engine == "enroot" else "a\\nb=c"


def preset(tmp_path: Path, command: str, engine: str, image: str = "sd") -> Path:
    (tmp_path / "data").mkdir(exist_ok=True)
    path = tmp_path / "task.toml"
    path.write_text(
        f'name = "box"\nimage = "{image}"\nruntime = "{engine}"\ncommand = "{command}"\n'
        f'[gpu]\ncount = 0\n[[mounts]]\nsource = "{tmp_path}/data"\ntarget = "/mnt/dataset"\n'
        f'read_only = true\n[env]\nNOTE = "{note_for(engine)}"\nMY_TOKEN = "{SECRET}"\n'
    )
    return path


def started(sdtui: Console, task: Path) -> RunDir:
    answer = sdtui("--run", task, "--detach")
    assert answer.code == 0, answer.err
    [run] = sdtui.runs()
    until(run.output / "up")
    return run


def gone(engine: Docker, seconds: float = 8.0) -> bool:
    end = time.monotonic() + seconds
    while engine.alive() and time.monotonic() < end:
        time.sleep(0.05)
    return not engine.alive()


def test_a_container_has_the_tasks_variables_and_its_exact_code(
    sdtui: Console, engine: Docker, tmp_path: Path
) -> None:
    """Secrets reach it through the client's environment, where no `ps` shows them."""
    command = "cd $SDTUI_RUN_DIR/output; printf '%s|' $MY_TOKEN $HF_TOKEN > secrets; "
    command += 'printf %s \\"$NOTE\\" > note; exit 3'

    assert sdtui("--run", preset(tmp_path, command, engine.name)).code == 1

    [run] = sdtui.runs()
    assert sdtui.record()["code"] == 3
    assert (run.output / "secrets").read_text() == f"{SECRET}|{SECRET}|"
    assert (run.output / "note").read_text() == note_for(engine.name).replace("\\n", "\n")
    verb = {"apptainer": "exec", "enroot": "start"}.get(engine.name, "run")
    [words] = engine.calls(verb)
    assert {
        "docker": f"type=bind,src={tmp_path}/data,dst=/mnt/dataset,readonly",
        "podman": f"type=bind,src={tmp_path}/data,dst=/mnt/dataset,readonly",
        "apptainer": f"{tmp_path}/data:/mnt/dataset:ro",
        "enroot": f"{tmp_path}/data:/mnt/dataset:none:x-create=dir,bind,ro",
    }[engine.name] in words
    assert (f"{os.getuid()}:{os.getgid()}" in words) == (engine.name == "docker")
    assert SECRET not in json.dumps(words) + run.launch.read_text()


@pytest.mark.parametrize(
    ("command", "heard", "code"), [(SAVES, ["handler", "program"], 5), (SHELL, ["program"], 143)]
)
def test_a_stop_reaches_every_program_of_the_container_once_and_lets_it_save(
    sdtui: Console, engine: Docker, tmp_path: Path, command: str, heard: list[str], code: int
) -> None:
    """A container ends with its first process, whatever is being saved in it."""
    run = started(sdtui, preset(tmp_path, command, engine.name))

    assert sdtui("stop", run.id).code == 0

    told = (run.output / "told").read_text().split()
    assert sorted(told) == heard
    record = sdtui.record()
    assert record["state"] == "stopped"
    assert (record["code"] or 128 + record["signal"]) == code
    assert gone(engine)
    sdtui.nothing_left()


@pytest.mark.parametrize("victim", ["supervisor", "client", "deaf"])
def test_the_container_ends_with_its_run(
    sdtui: Console, engine: Docker, tmp_path: Path, victim: str
) -> None:
    """It belongs to the daemon: ending the client alone leaves it on the GPU for ever."""
    run = started(sdtui, preset(tmp_path, DEAF if victim == "deaf" else SAVES, engine.name))
    holder = read_json(run.supervisor) or {}

    if victim == "deaf":
        assert sdtui("stop", run.id, "--grace", "0.3").code == 0
    else:
        os.kill(int(holder["pid" if victim == "supervisor" else "child_pid"]), signal.SIGKILL)

    assert gone(engine)
    sdtui.nothing_left()
    if victim == "supervisor":
        assert "handler" in (run.output / "told").read_text(), "it had no time to save"
    elif victim == "client":
        assert (sdtui.record()["cause"], sdtui.record()["signal"]) == ("signal", 9)


def test_an_image_that_is_not_there_is_named(
    sdtui: Console, engine: Docker, tmp_path: Path
) -> None:
    """The client's own failure is none of the training's, of which no line was ever run."""
    answer = sdtui("--run", preset(tmp_path, "true", engine.name, "missing"))

    remedy = "correct what it names" if engine.name == "enroot" else "correct `image`"
    answer.says(f"{engine.name} could not start the command", remedy)
    if engine.name in {"docker", "podman"}:
        answer.says("the image 'missing' is not here", "pull access denied", f"{engine.name} pull")
    assert answer.code == 3
    assert engine.alive() == []


@pytest.mark.skipif(shutil.which("docker") is None, reason="there is no docker client")
def test_the_real_client_is_asked_for_its_daemon(sdtui: Console, tmp_path: Path) -> None:
    works = subprocess.run(["docker", "info"], capture_output=True, check=False).returncode == 0
    if works:
        pytest.skip("a daemon answers here; what a missing one costs cannot be shown")
    answer = sdtui("check", preset(tmp_path, "true", "docker"))

    answer.says("runtime = 'docker' cannot be used here", "the daemon does not answer")
    assert answer.code == 3

"""A start command in the manner of the platform's page, with real mount points around it."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sdcore.errors import NotReadyError
from sdcore.launch.planner import plan_launch
from sdcore.launch.runtimes.probe import gather
from sdcore.runs.files import read_json
from sdcore.runs.paths import RunDir
from sdcore.supervise.begin import start_run
from sdcore.task.spec import TaskSpec
from support.commands import Answer, Console
from support.fake_runs import until

# An ordinary user: another uid, no rights over mounts. Whoever runs the tests owns the files.
_USER = ["unshare", "--user", "--map-user=12345", "--map-group=12345"]
_NO_NAMESPACES = [
    "unshare", "--user", "--map-root-user", "sh", "-c",
    f'echo 1 > /proc/sys/user/max_user_namespaces && exec {" ".join(_USER)} "$@"', "sh",
]  # fmt: skip

TRAIN = """\
set -u
trap 'echo "handler" >> /output/told; exit 5' TERM
id -u > /output/uid
pwd > /output/cwd
printf %s "$NOTE" > /output/note
printf %s "$lr $DATASET_DIR $OUTPUT_DIR" > /output/env
cat /mnt/dataset/file /mnt/model/file
for ro in /mnt/dataset /mnt/model / /mnt; do touch $ro/x 2>> /output/refused || :; done
mkdir /output/deep && echo weights > /output/deep/w
case $MODE in
  exit) exit 3 ;;
  kill) kill -9 $$ ;;
  wait) touch /output/up; while :; do sleep 0.05; done ;;
esac
"""


def allowed(before: list[str], *words: str) -> bool:
    done = subprocess.run([*before, *words, "true"], capture_output=True, check=False)
    return done.returncode == 0


def runtimes() -> list[Any]:
    """Return the runtimes that make a root, each told why it is skipped where it is."""
    has_bwrap = shutil.which("bwrap") is not None
    mounts = allowed(["unshare", "--user", "--map-root-user", "--mount"])
    return [
        pytest.param("bubblewrap", marks=pytest.mark.skipif(
            not (has_bwrap and allowed(["bwrap", "--bind", "/", "/"])),
            reason="bubblewrap cannot be used here: apt-get install bubblewrap")),
        pytest.param("unshare", marks=pytest.mark.skipif(
            not mounts, reason="this host lets nobody make a mount namespace")),
    ]  # fmt: skip


USERS = pytest.mark.parametrize(
    "before",
    [pytest.param([], id="self"),
     pytest.param(_USER, id="ordinary", marks=pytest.mark.skipif(
         not allowed(_USER), reason="this host lets nobody make a user namespace"))],
)  # fmt: skip
RUNTIMES = pytest.mark.parametrize("runtime", runtimes())


@pytest.fixture
def preset(tmp_path: Path) -> Callable[..., Path]:
    """Write the page's task: data set, model and project mounted, its own train.sh."""
    for role in ("dataset", "model", "project"):
        (tmp_path / role).mkdir()
        (tmp_path / role / "file").write_text(f"{role} is read\n")
    (tmp_path / "project/train.sh").write_text(TRAIN)

    def write(runtime: str, mode: str, command: str = "bash /mnt/project/train.sh") -> Path:
        lines = [f'name = "page"\nruntime = "{runtime}"\ncommand = "{command}"\n[gpu]\ncount = 0']
        for role in ("dataset", "model", "project"):
            lines += ["[[mounts]]", f'source = "{tmp_path / role}"', f'target = "/mnt/{role}"']
            lines.append(f"read_only = {str(role != 'project').lower()}")
        lines += ["[env]", f'MODE = "{mode}"', 'lr = "1e-5"', 'NOTE = "two\\nlines, and = \'"']
        path = tmp_path / "task.toml"
        path.write_text("\n".join(lines) + "\n")
        return path

    return write


def started(sdtui: Console, before: list[str], preset: Path) -> RunDir:
    answer = sdtui("--run", preset, "--detach", before=before)
    assert answer.code == 0, answer.err
    [run] = sdtui.runs()
    until(run.output / "up")
    return run


def child_of(run: RunDir) -> int:
    return int((read_json(run.supervisor) or {})["child_pid"])


@USERS
@RUNTIMES
def test_the_pages_procedure_runs_to_the_letter(
    sdtui: Console, preset: Callable[..., Path], runtime: str, before: list[str], tmp_path: Path
) -> None:
    """Paths exist, data cannot be spoilt, results are the user's, the exit code is exact."""
    answer = sdtui("--run", preset(runtime, "exit"), before=before)

    [run] = sdtui.runs()
    record = sdtui.record()
    assert (answer.code, record["code"], record["signal"]) == (1, 3, None), answer.err
    answer.says("dataset is read", "model is read", "ended with code 3")
    made = {path.name: path.read_text() for path in run.output.iterdir() if path.is_file()}
    assert made["uid"] == f"{12345 if before else os.getuid()}\n"
    assert made["cwd"] == "/mnt/project\n"
    assert made["note"] == "two\nlines, and = '"
    assert made["env"] == "1e-5 /mnt/dataset /output"
    assert made["refused"].count("Read-only file system") == 4
    assert (run.output / "deep/w").stat().st_uid == os.getuid()
    assert {path.name for path in (tmp_path / "dataset").iterdir()} == {"file"}
    launch = read_json(run.launch) or {}
    assert (launch["runtime"], bool(launch["why"])) == (runtime, True)
    sdtui.nothing_left()


@USERS
@RUNTIMES
def test_a_stop_runs_the_handler_of_the_command(
    sdtui: Console, preset: Callable[..., Path], runtime: str, before: list[str]
) -> None:
    """A SIGTERM ends bwrap itself, and with it the command in the middle of its save."""
    run = started(sdtui, before, preset(runtime, "wait"))

    assert sdtui("stop", run.id).code == 0

    record = sdtui.record()
    assert (run.output / "told").read_text() == "handler\n"
    assert (record["state"], record["code"], record["signal"]) == ("stopped", 5, None)
    sdtui.nothing_left()


def test_a_host_that_shuts_down_lets_a_command_save(
    sdtui: Console, preset: Callable[..., Path]
) -> None:
    """It sends SIGTERM to every process of a session, and bwrap is one of them."""
    if shutil.which("bwrap") is None:
        pytest.skip("bubblewrap is not installed: apt-get install bubblewrap")
    run = started(sdtui, [], preset("bubblewrap", "wait"))

    for pid in (child_of(run), int((read_json(run.supervisor) or {})["pid"])):
        os.kill(pid, signal.SIGTERM)

    sdtui.nothing_left()
    assert (run.output / "told").read_text() == "handler\n"
    assert (sdtui.record()["state"], sdtui.record()["code"]) == ("stopped", 5)


@RUNTIMES
def test_a_command_that_is_killed_is_told_as_such(
    sdtui: Console, preset: Callable[..., Path], runtime: str
) -> None:
    sdtui("--run", preset(runtime, "kill"))

    record = sdtui.record()
    assert (record["code"] or 128 + record["signal"]) == 137


@RUNTIMES
def test_a_command_that_is_not_found_inside_is_told_in_a_line(
    sdtui: Console, preset: Callable[..., Path], runtime: str
) -> None:
    """The task's own PATH decides there; a traceback of ours would be taken for a bug of theirs."""
    answer = sdtui("--run", preset(runtime, "exit"), "--env", "PATH=/opt/none")

    assert answer.code == 3
    answer.says("bash", "No such file or directory", "remedy:")
    assert "Traceback" not in answer.err


@RUNTIMES
@pytest.mark.parametrize("victim", ["supervisor", "launcher"])
def test_nothing_outlives_what_surrounds_it(
    sdtui: Console, preset: Callable[..., Path], runtime: str, victim: str
) -> None:
    """The command would go on to hold its GPU, and nobody would know of it."""
    run = started(sdtui, [], preset(runtime, "wait"))
    supervisor = int((read_json(run.supervisor) or {})["pid"])

    os.kill(supervisor if victim == "supervisor" else child_of(run), signal.SIGKILL)

    sdtui.nothing_left()
    if victim == "launcher":
        assert sdtui.record()["cause"] == "signal"
    else:
        assert (run.output / "told").read_text() == "handler\n", "it had no time to save"


@RUNTIMES
def test_a_mount_point_is_made_without_a_trace_on_the_host(
    sdtui: Console, runtime: str, tmp_path: Path
) -> None:
    """Made in a bound folder it would stay there, and hide nothing else that is in it."""
    (tmp_path / "host/kept").mkdir(parents=True)
    (tmp_path / "host/kept/file").write_text("kept\n")
    (tmp_path / "link").symlink_to(tmp_path / "host")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/file").write_text("data\n")
    given = TaskSpec.model_validate({
        "name": "place", "runtime": runtime, "gpu": {"count": 0},
        "command": f"cat {tmp_path}/link/new/deep/file {tmp_path}/host/kept/file; exit 7",
        "mounts": [{"source": str(tmp_path / "data"), "target": f"{tmp_path}/link/new/deep"}],
    })  # fmt: skip

    run = start_run(given)
    until(run.exit)

    assert run.log.read_text() == "data\nkept\n"
    assert sdtui.record()["code"] == 7
    assert [path.name for path in (tmp_path / "host").iterdir()] == ["kept"]


@RUNTIMES
def test_a_source_that_vanishes_before_the_start_is_named(
    preset: Callable[..., Path], runtime: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the check and the start lies the wait for a GPU; the run must say why it failed."""
    from sdcore.supervise import begin  # noqa: PLC0415
    from sdcore.task.presets import load_preset  # noqa: PLC0415

    given = load_preset(preset(runtime, "exit")).task

    def vanishing(*args: Any, **fields: Any) -> Any:
        plan = plan_launch(*args, **fields)
        shutil.rmtree(tmp_path / "dataset")
        return plan

    monkeypatch.setattr(begin, "plan_launch", vanishing)
    with pytest.raises(NotReadyError) as caught:
        start_run(given)

    assert f"{runtime} could not start the command" in str(caught.value)
    assert str(tmp_path / "dataset") in str(caught.value)
    assert "No such file" in str(caught.value)


@pytest.mark.skipif(
    os.getuid() != 0 or shutil.which("python3", path="/usr/bin") is None,
    reason="only root can become another account, which needs a Python for all",
)
@pytest.mark.parametrize("runtime", runtimes()[:1])
def test_another_account_makes_the_same_root(runtime: str) -> None:
    """Root may mount anything; those for whom this is made may not."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        run = RunDir(folder / "run")
        for each in (folder / "data", run.output):
            each.mkdir(parents=True)
        os.chown(run.output, 12345, 12345)
        given = TaskSpec.model_validate({
            "runtime": runtime, "gpu": {"count": 0},
            "command": "touch /output/made /mnt/dataset/x; id -u; ls -d /mnt/dataset; exit 3",
            "mounts": [{"source": str(folder / "data"), "target": "/mnt/dataset"}],
        })  # fmt: skip
        # Ours may lie in root's home, where nobody else can read it.
        facts = replace(gather(given, run), python=shutil.which("python3", path="/usr/bin") or "")
        account = ["setpriv", "--reuid=12345", "--regid=12345", "--clear-groups"]

        done = subprocess.run(
            [*account, *plan_launch(given, run, facts=facts).argv],
            capture_output=True,
            text=True,
            check=False,
        )

        assert (done.returncode, done.stdout) == (3, "12345\n/mnt/dataset\n"), done.stderr
        assert (run.output / "made").stat().st_uid == 12345
        assert "Permission denied" in done.stderr  # the data are root's


def _small_root(folder: Path) -> Path:
    """Make the least root in which bash runs: the host's own, with what it is linked to."""
    for name in ("bash", "cat"):
        program = Path(shutil.which(name) or "")
        linked = subprocess.run(["ldd", program], capture_output=True, text=True, check=True)
        found = [word for word in linked.stdout.split() if word.startswith("/")]
        for path in [str(program), *found]:
            copy = folder / path.lstrip("/")
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, copy)
    for name in ("etc", "tmp", "dev", "proc", "sys"):
        (folder / name).mkdir()
    (folder / "etc/release").write_text("an image\n")
    return folder


@RUNTIMES
def test_an_unpacked_root_file_system_is_an_image(
    sdtui: Console, preset: Callable[..., Path], runtime: str, tmp_path: Path
) -> None:
    """Mount points are made in it without a trace, and nothing can be written to it."""
    root = _small_root(tmp_path / "root")
    page = preset(runtime, "", "cat /etc/release /mnt/dataset/file > /output/seen; "
                  "[[ -d $SDTUI_RUN_DIR ]] && echo x 2> /dev/null > /etc/x || exit 4")  # fmt: skip
    page.write_text(f'image = "rootfs:{root}"\n{page.read_text()}')

    answer = sdtui("--run", page)

    assert sdtui.record()["code"] == 4, answer.err
    assert (sdtui.runs()[0].output / "seen").read_text() == "an image\ndataset is read\n"
    assert not (root / "mnt").exists()
    assert [path.name for path in (root / "etc").iterdir()] == ["release"]


def refused(answer: Answer, *words: str) -> None:
    answer.says("cause:", "remedy:", *words)
    assert answer.code == 3


@pytest.mark.skipif(not allowed(_NO_NAMESPACES), reason="this host lets nobody limit namespaces")
def test_a_host_without_user_namespaces_says_so_before_the_start(
    sdtui: Console, preset: Callable[..., Path], tmp_path: Path
) -> None:
    """An administrator may have forbidden them; the task can still run with placeholders."""
    page = preset("auto", "exit")
    refused(sdtui("--run", page, before=_NO_NAMESPACES), "uses /mnt/project", "no mount points",
            "write {dataset}")  # fmt: skip
    asked = sdtui("--run", preset("unshare", "exit"), before=_NO_NAMESPACES)
    refused(asked, "'unshare' cannot be used here", "No space left", "--set runtime=host")
    assert sdtui.runs() == []

    with_places = preset("auto", "exit", "cat {dataset}/file; exit 6")
    answer = sdtui("--run", with_places, before=_NO_NAMESPACES)
    answer.says("dataset is read", "read_only mounts are not protected")
    assert sdtui.record()["code"] == 6
    assert str(tmp_path / "dataset") in str((read_json(sdtui.runs()[0].launch) or {})["argv"])


def test_what_docker_cannot_do_here_is_told_before_the_start(
    sdtui: Console, preset: Callable[..., Path], tmp_path: Path
) -> None:
    """The client is on many hosts, its daemon on few."""
    silent = tmp_path / "bin/docker"
    silent.parent.mkdir()
    silent.write_text("#!/bin/sh\necho 'Cannot connect to the Docker daemon' >&2; exit 1\n")
    silent.chmod(0o755)
    page = preset("docker", "exit")
    page.write_text(f'image = "team/sd:1"\n{page.read_text()}')
    with_client = {"PATH": f"{silent.parent}:{os.environ['PATH']}"}
    words = ("runtime = 'docker' cannot be used here", "the daemon does not answer: Cannot")
    refused(sdtui("--run", page, env=with_client), *words, "systemctl start docker")
    nothing = {"PATH": f"{Path(shutil.which('bash') or '').parent}"}
    if shutil.which("docker", path=nothing["PATH"]) is None:
        refused(sdtui("--run", page, env=nothing), "docker: it is not installed")
    assert sdtui.runs() == []

"""What surrounds a start command: the choice and the argv of each runtime, from facts alone."""

import json
import shlex
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest
from pydantic import ValidationError

from sdcore.checks.surroundings import runtime_findings
from sdcore.errors import NotReadyError
from sdcore.launch.planner import plan_launch
from sdcore.launch.runtimes.choice import choose
from sdcore.launch.runtimes.facts import Entry, RuntimeFacts, Tree
from sdcore.launch.runtimes.looking import look
from support.launching import MOUNTS, RUN, SLURM, facts, plan, task


@pytest.mark.parametrize(
    ("fields", "known", "runtime", "why"),
    [
        ({}, facts("bubblewrap"), "bubblewrap", "mount points"),
        ({}, facts("unshare", bubblewrap="no permission"), "unshare", "no permission"),
        ({}, facts(), "host", "not installed"),
        ({"mounts": [], "command": "python t.py"}, facts("bubblewrap"), "host", "nothing is"),
        ({"mounts": [], "command": "cp x /mnt/y"}, facts("bubblewrap"), "bubblewrap", "mount"),
        ({"mounts": [{"source": "/d", "target": "/d"}], "command": "ls"}, facts("bubblewrap"),
         "host", "nothing is"),
        ({"command": None}, facts("bubblewrap"), "host", "built-in"),
        ({"command": None, "runtime": "bubblewrap"}, facts("bubblewrap"), "bubblewrap", "asks"),
        ({"image": "a/b:1"}, facts("apptainer", "podman"), "apptainer", "image"),
        ({"image": "a/b:1"}, facts("podman", "docker"), "podman", "apptainer: it is not"),
        ({"image": "a:1", "cluster": SLURM}, facts("pyxis", "apptainer"), "pyxis", "in a step"),
        ({"image": "/a.sif", "cluster": SLURM}, facts("pyxis", "apptainer"), "apptainer", "image"),
        ({"image": "a:1", "cluster": SLURM}, facts("apptainer", pyxis="srun has no"), "apptainer",
         "srun has no"),
        ({"image": "colossalai 0.3.4"}, facts("bubblewrap", "podman"), "bubblewrap", "mount"),
        ({"image": "rootfs:/root"}, facts("bubblewrap"), "bubblewrap", "mount points"),
        ({"image": "a:1", "runtime": "docker"}, facts("docker", "podman"), "docker", "asks"),
    ],
)  # fmt: skip
def test_the_runtime_is_chosen_and_the_reason_told(
    fields: dict[str, object], known: RuntimeFacts, runtime: str, why: str
) -> None:
    """A task that runs elsewhere than its owner thinks reads other data and writes elsewhere."""
    choice = choose(task(**fields), known)

    assert choice.runtime == runtime
    assert why in choice.why


@pytest.mark.parametrize(
    ("fields", "known", "words"),
    [
        ({"runtime": "bubblewrap"}, facts(bubblewrap="no namespaces"),
         ("'bubblewrap' cannot be used here", "no namespaces", "mend bubblewrap")),
        ({"runtime": "bubblewrap"}, facts(), ("not installed", "apt-get install bubblewrap")),
        ({"runtime": "docker", "image": "a:1"}, facts(docker="the daemon does not answer"),
         ("the daemon does not answer", "mend docker")),
        ({"runtime": "pyxis", "image": "a:1", "cluster": SLURM}, facts(pyxis="it is too old"),
         ("'pyxis' cannot be used here", "it is too old", "mend pyxis")),
        ({"image": "a:1"}, facts("docker"), ("image 'a:1'", "runtime=docker", "apptainer")),
    ],
)  # fmt: skip
def test_a_runtime_that_does_not_work_is_told_with_one_next_step(
    fields: dict[str, object], known: RuntimeFacts, words: tuple[str, ...]
) -> None:
    with pytest.raises(NotReadyError) as caught:
        choose(task(**fields), known)

    assert [word for word in words if word not in str(caught.value)] == []
    assert caught.value.exit_code == 3


def test_what_the_host_cannot_keep_is_a_warning() -> None:
    """A read-only data set that is not, and an image nobody starts, spoil results in silence."""
    given = task(image="colossalai 0.3.4")
    known = facts()

    told = runtime_findings(given, choose(given, known), known)

    assert [finding.level for finding in told] == ["warning", "warning"]
    assert "'colossalai 0.3.4' is not used" in told[0].what
    assert "read_only mounts are not protected" in told[1].what
    assert "install bubblewrap" in told[1].remedy


@pytest.mark.parametrize("runtime", ["bubblewrap", "unshare"])
def test_the_root_is_the_hosts_with_the_mount_points_in_it(runtime: str) -> None:
    """Bound as a whole it would let nobody make /output; built below it, on the host itself."""
    made = plan(runtime)
    line = shlex.join(made.argv)

    assert "--symlink usr/bin /bin" in line
    assert "--dev-bind /dev /dev" in line
    assert "--tmpfs /mnt --bind-try /mnt/nas /mnt/nas --symlink nas/old /mnt/old" in line
    assert "--ro-bind '/data/my set' /mnt/dataset" in line
    assert "--bind /code /mnt/project" in line
    assert f"--bind {RUN.output} /output --remount-ro /mnt --remount-ro / --chdir" in line
    assert "/swap" not in line
    assert made.argv[-3:] == ["bash", "-c", "bash /mnt/project/train.sh"]
    assert made.deaf == (runtime == "bubblewrap"), "a host that shuts down tells it, too"
    assert made.term_to == {"bubblewrap": "below", "unshare": "all"}[runtime]
    assert made.env["DATASET_DIR"] == "/mnt/dataset"
    assert made.env["OUTPUT_DIR"] == "/output"
    assert ("--die-with-parent" in made.argv) == (runtime == "bubblewrap")


def _hearing(known: RuntimeFacts, **fields: object) -> list[str]:
    """Return the command of a task under bubblewrap without what makes its root."""
    argv = plan_launch(task(**fields), RUN, facts=known).argv
    return argv[argv.index("--") + 1 :]


@pytest.mark.parametrize("way", ["env", "python"])
def test_under_bubblewrap_a_command_hears_again_and_fails_in_one_line(way: str) -> None:
    """Bash cannot trap what it was started with ignored, and 20 ms of Python are half a start."""
    known = replace(facts("bubblewrap"), python=sys.executable,
                    env="/usr/bin/env" if way == "env" else None)  # fmt: skip
    words = _hearing(known, command="trap 'exit 7' TERM; kill -TERM $$; sleep 9")
    deaf = lambda: signal.signal(signal.SIGTERM, signal.SIG_IGN)  # noqa: E731

    assert subprocess.run(words, preexec_fn=deaf, check=False).returncode == 7
    lost = subprocess.run(words, env={"PATH": "/opt/none"}, capture_output=True, text=True,
                          check=False)  # fmt: skip
    assert lost.returncode == 127
    [line] = lost.stderr.splitlines()
    assert "bash" in line
    assert "No such file or directory" in line
    assert line.startswith("sdtui: ") == (way == "python")


def test_env_is_not_used_where_it_would_take_the_program_for_a_variable() -> None:
    """A folder may have any name."""
    known = replace(facts("bubblewrap"), env="/usr/bin/env", python="/a=b/python")
    fields = {"command": None, "runtime": "bubblewrap", "gpu": {"count": 0}}

    assert _hearing(known, command="x")[0] == "/usr/bin/env"
    with mock.patch.object(sys, "executable", "/a=b/python"):
        assert _hearing(known, **fields)[0] == "/a=b/python"


def test_placeholders_stand_for_the_mount_points() -> None:
    made = plan("bubblewrap", command="python {project}/t.py {dataset} {output}")

    assert made.argv[-1] == "python /mnt/project/t.py /mnt/dataset /output"


def test_an_unpacked_root_is_read_only_and_has_the_hosts_devices() -> None:
    """Runs that install into one shared root would spoil each other's."""
    tree = Tree(
        root="/roots/u22",
        folders={"/": (Entry("usr", "folder"), Entry("etc", "folder"), Entry("tmp", "folder"))},
        kinds={"/etc/passwd": "file", "/home/me": "folder"},
    )
    known = replace(facts("bubblewrap"), tree=tree, driver=("/usr/lib64/libcuda.so.1",))
    given = task(image="rootfs:/roots/u22", env={"LD_LIBRARY_PATH": "/own"})

    made = plan_launch(given, RUN, facts=known)

    line = shlex.join(made.argv)
    assert "--ro-bind /usr/lib64/libcuda.so.1 /.driver/libcuda.so.1" in line
    assert made.env["LD_LIBRARY_PATH"] == "/.driver:/own"

    assert "--ro-bind-try /roots/u22/usr /usr" in line
    assert "--tmpfs /tmp" in line
    assert "--ro-bind /etc/passwd /etc/passwd" in line
    assert f"--bind {RUN.root} {RUN.root}" in line
    assert "--bind /home/me /home/me" in line


def test_the_built_in_trainer_sees_mount_points_where_there_are_some() -> None:
    """Given the host's paths, an image would find neither data nor model."""
    mounts = [*MOUNTS, {"source": "/sd", "target": "/mnt/model"}]
    fields = {"command": None, "mounts": mounts, "train": {"cache_dir": "/mnt/project/c"}}

    host, inside = plan("host", **fields), plan("docker", image="a:1", **fields)

    assert "--train_data_dir=/data/my set" in host.argv
    assert "--cache_dir=/code/c" in host.argv
    assert "--train_data_dir=/mnt/dataset" in inside.argv
    assert "--pretrained_model_name_or_path=/mnt/model" in inside.argv
    assert "--cache_dir=/mnt/project/c" in inside.argv
    assert "dst=/opt/sdtui/sdcore,readonly" in "\n".join(inside.argv)
    assert inside.argv[inside.argv.index("sdtui") + 1] == "python3"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"runtime": "docker"}, "needs the name of an image"),
        ({"runtime": "docker", "image": "colossalai 0.3.4"}, "not 'colossalai 0.3.4'"),
        ({"runtime": "podman", "image": "rootfs:/x"}, "needs the name of an image"),
        ({"runtime": "bubblewrap", "image": "a:1"}, "rootfs:/path"),
        ({"image": "rootfs:x"}, "absolute path"),
        ({"runtime": "pyxis", "image": "a:1"}, r"option of Slurm's srun: add \[cluster\]"),
        ({"runtime": "docker", "cluster": SLURM, "image": "a:1"}, "would take another job's"),
        ({"runtime": "pyxis", "cluster": SLURM}, "needs the name of an image"),
        ({"runtime": "pyxis", "cluster": SLURM, "image": "/a.sif"}, "is apptainer's"),
        ({"runtime": "pyxis", "cluster": SLURM, "image": "a.sqsh"}, "absolute path of 'a.sqsh'"),
        ({"runtime": "pyxis", "cluster": SLURM, "image": "oras://a/b"}, "not oras://"),
        ({"mounts": [{"source": "/a", "target": "/"}]}, "cover a folder of the system"),
        ({"mounts": [{"source": "/a", "target": "/proc"}]}, "cover a folder of the system"),
        ({"mounts": [{"source": "/a", "target": "/proc/x"}]}, "cover a folder of the system"),
        ({"mounts": [{"source": "/a", "target": "mnt"}]}, "absolute path"),
        ({"mounts": [{"source": "/a", "target": "//proc"}]}, "absolute path"),
        ({"mounts": [{"source": "/a", "target": "/m/../n"}]}, "absolute path"),
        ({"mounts": [{"source": "/a", "target": "/m"}] * 2}, "two mounts have the target"),
        ({"mounts": [{"source": "/a", "target": "/m:n"}]}, "with : or ,"),
        ({"mounts": [{"source": "/a,b", "target": "/m"}]}, "with : or ,"),
        ({"mounts": [{"source": "/a\nb", "target": "/m"}]}, "a line break or a tab"),
        ({"mounts": [{"source": "/a", "target": "/m\tn"}]}, "a line break or a tab"),
        ({"mounts": [{"source": "/a", "target": "/m"}, {"source": "/b", "target": "/m/n"}]},
         "/m/n lies inside the target /m"),
        ({"mounts": [{"source": "/a", "target": "/output/x"}]}, "inside the target /output"),
        ({"mounts": [{"source": "/a", "target": "/output"}]}, "the run's own output"),
        ({"env": {"A=B": "1"}}, "not the name of a variable"),
        ({"env": {"": "1"}}, "not the name of a variable"),
        ({"env": {"A": "x" * 200_000}}, "at most 100,000 bytes"),
        ({"env": {"A": "字" * 50_000}}, "at most 100,000 bytes"),
    ],
)  # fmt: skip
def test_what_no_runtime_could_do_is_refused_when_the_task_is_read(
    fields: dict[str, object], words: str
) -> None:
    """After the wait for a GPU it costs the night; a folder of the system, more than that."""
    with pytest.raises(ValidationError, match=".*" + words):
        task(**fields)


@pytest.mark.parametrize("value", ["a\nb", "a,b", "a=b;$(id)", "x" * 100_000, ""])
def test_a_strange_value_arrives_as_it_is(value: str) -> None:
    assert task(env={"A": value}).env["A"] == value
    assert plan("docker", image="a:1", env={"A": value}).env["A"] == value


@pytest.mark.parametrize(
    ("tree", "target", "words"),
    [
        (Tree(crowded={"/data": "has 4,000 entries, too many to bind each"}), "/data/x",
         ("no folder /data/x", "4,000 entries", "make an empty folder /data/x")),
        (Tree(kinds={"/data/x": "file"}), "/data/x", ("/data/x is a file", "another target")),
        (Tree(), "/state", ("would hide the run's own folder", "another target")),
        (Tree(), "/venv", ("would hide the Python", "another target")),
        (Tree(), "/pyenv", ("would hide the Python", "/pyenv/3.11", "another target")),
        (Tree(root="/gone", crowded={"/": "cannot be listed: No such file"}), "/mnt/x",
         ("the root /gone cannot be used", "No such file", "rootfs:")),
    ],
)  # fmt: skip
def test_a_mount_point_that_cannot_be_made_is_told_before_the_start(
    tree: Tree, target: str, words: tuple[str, ...]
) -> None:
    given = task(mounts=[{"source": "/a", "target": target}])
    with pytest.raises(NotReadyError) as caught:
        plan_launch(given, RUN, facts=replace(facts("bubblewrap"), tree=tree))

    assert [word for word in words if word not in str(caught.value)] == []


def test_a_folder_that_lacks_a_mount_point_is_listed_and_links_are_followed(
    tmp_path: Path,
) -> None:
    """A path that goes through a symlink would be mounted on nothing, or outside the root."""
    (tmp_path / "data/full").mkdir(parents=True)
    (tmp_path / "data/file").touch()
    (tmp_path / "link").symlink_to("/data")
    (tmp_path / "loop").symlink_to("/loop")
    (tmp_path / "many").mkdir()
    for number in range(201):
        (tmp_path / "many" / str(number)).touch()

    tree = look(["/link/full", "/link/new/deep", "/many/x", "/fresh", "/loop/x"], str(tmp_path))

    assert tree.places["/link/full"] == "/data/full"
    assert tree.places["/link/new/deep"] == "/data/new/deep"
    assert tree.kinds == {"/data/full": "folder"}
    assert [entry.name for entry in tree.folders["/data"]] == ["file", "full"]
    assert set(tree.folders) == {"/", "/data"}
    assert "201 entries" in tree.crowded["/many"]


def test_facts_survive_json() -> None:
    """The form's helper process sends them to the console."""
    known = facts("bubblewrap", unshare="no")

    assert RuntimeFacts.from_record(json.loads(json.dumps(known.to_record()))) == known

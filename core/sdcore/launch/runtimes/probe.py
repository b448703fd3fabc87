"""Gathers what the planners of runtimes want to know of this host; asks for no more than needed.

A program on PATH proves little: bubblewrap is refused inside some containers and under some
security modules, a docker client may have no daemon. So each is tried, bubblewrap in 5 ms.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from sdcore.launch.inside import Inside
from sdcore.launch.runtimes import apptainer, pyxis
from sdcore.launch.runtimes.bubblewrap import GIVES_BACK
from sdcore.launch.runtimes.choice import CONTAINERS, LAYOUTS, candidates
from sdcore.launch.runtimes.facts import Program, RuntimeFacts, Tree
from sdcore.launch.runtimes.layout import wanted_paths
from sdcore.launch.runtimes.looking import look
from sdcore.launch.runtimes.unshare import ENTER
from sdcore.runs.paths import RunDir
from sdcore.task.image import image_kind, is_file
from sdcore.task.spec import TaskSpec
from sdcore.text import clean_line, from_home

_ANSWER_S = 10.0
_PASSED = (
    "HF_TOKEN", "HF_ENDPOINT", "HF_HUB_OFFLINE", "WANDB_API_KEY", "http_proxy", "https_proxy",
    "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY",
)  # fmt: skip
_CDI_FOLDERS = ("/etc/cdi", "/var/run/cdi")
_LIBRARIES = (
    "/usr/lib64", "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu",
    "/usr/local/nvidia/lib64",
)  # fmt: skip
_DRIVER = ("libcuda.so*", "libcudadebugger.so*", "libnvidia-*.so*")
_LIMITS = {  # what keeps an ordinary user out of user namespaces, and the value that lets in
    "/proc/sys/kernel/apparmor_restrict_unprivileged_userns": ("0", "1"),
    "/proc/sys/kernel/unprivileged_userns_clone": ("1", "0"),
    "/proc/sys/user/max_user_namespaces": ("15000", "0"),
}
_HAVE_MOUNTS = "use --set runtime=host, and {dataset}, {model}, {project}, {output} in the command"


def gather(task: TaskSpec, run: RunDir) -> RuntimeFacts:
    """Look at what ``task`` could be started with.

    Args:
        task: With absolute mount sources.
        run: Its directory, which need not exist yet.
    """
    programs: dict[str, Program] = {}
    for name in candidates(task):
        if name == "host":
            break
        programs[name] = _PROBES[name]()
        if programs[name].works:
            break
    chosen = next((name for name, program in programs.items() if program.works), None)
    is_container, rootfs = chosen in CONTAINERS, image_kind(task.image) == "rootfs"
    return RuntimeFacts(
        uid=os.getuid(),
        gid=os.getgid(),
        home=str(Path.home()),
        python=sys.executable,
        prefix=sys.prefix,
        base=sys.base_prefix,
        # Of this host; what a job finds on its nodes is not known here.
        env=_env() if chosen == "bubblewrap" and task.cluster is None else None,
        programs=programs,
        tree=_tree(Inside.of(task, run, chosen)) if chosen in LAYOUTS else None,
        passed=tuple(name for name in _PASSED if name in os.environ) if is_container else (),
        gpu_names=_gpu_names() if chosen == "podman" else (),
        driver=_driver() if chosen in LAYOUTS and rootfs and task.gpu.count else (),
        missing_image=_missing_image(chosen, programs, task) if is_container else None,
    )


def _tree(inside: Inside) -> Tree:
    root = inside.image or "/"
    paths = wanted_paths(inside.binds, str(Path.home()), image=inside.image is not None)
    try:
        return look(paths, root)
    except OSError as error:
        return Tree(root, crowded={"/": f"cannot be listed: {error.strerror}"})


def _ask(argv: Sequence[str]) -> tuple[int, str, str]:
    """Run a program that answers soon; return its status and what it said."""
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL,
            timeout=_ANSWER_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return -1, "", f"it did not answer within {_ANSWER_S:.0f} s"
    except OSError as error:
        return -1, "", error.strerror or str(error)
    return done.returncode, done.stdout.strip(), done.stderr.strip()


def _last_line(text: str) -> str:
    return clean_line(text.splitlines()[-1], 200) if text else "it failed without a word"


def _bubblewrap() -> Program:
    path = shutil.which("bwrap")
    if path is None:
        return Program()
    code, _, words = _ask([path, "--die-with-parent", "--bind", "/", "/", "--", "true"])
    if code != 0:
        return Program(path, _last_line(words), _namespaces_remedy())
    return Program(path, version=_ask([path, "--version"])[1].removeprefix("bubblewrap "))


def _unshare() -> Program:
    argv = [sys.executable, "-I", "-S", ENTER, "--bind", "/", "/", "--chdir", "/", "--", "true"]
    code, _, words = _ask(argv)
    if code == 0:
        return Program(sys.executable)
    return Program(sys.executable, _last_line(words).removeprefix("sdtui: "), _namespaces_remedy())


def _env() -> str | None:
    path = shutil.which("env", path=os.defpath)
    return path if path is not None and _ask([path, GIVES_BACK, "true"])[0] == 0 else None


def _namespaces_remedy() -> str:
    """Return the one step that most likely lets an ordinary user make a mount point."""
    for path, (wanted, forbids) in _LIMITS.items():
        try:
            now = Path(path).read_text("ascii").strip()
        except OSError:
            continue
        if now == forbids:
            name = path.removeprefix("/proc/sys/").replace("/", ".")
            return f"ask an administrator for `sysctl {name}={wanted}`, or {_HAVE_MOUNTS}"
    return _HAVE_MOUNTS


def _docker() -> Program:
    path = shutil.which("docker")
    if path is None:
        return Program()
    code, version, words = _ask([path, "version", "--format", "{{.Server.Version}}"])
    if code == 0:
        return Program(path, version=version)
    remedy = "start the daemon (systemctl start docker), or use --set runtime=auto"
    if "permission denied" in words.lower():
        remedy = "ask to be added to the docker group, or use --set runtime=auto"
    return Program(path, f"the daemon does not answer: {_last_line(words)}", remedy)


def _simple(name: str, *question: str) -> Callable[[], Program]:
    def probe() -> Program:
        path = shutil.which(name)
        if path is None:
            return Program()
        code, version, words = _ask([path, *question])
        if code == 0:
            return Program(path, version=clean_line(version.splitlines()[0] if version else "", 60))
        return Program(path, _last_line(words), f"run `{name} {' '.join(question)}` and mend that")

    return probe


def _pyxis() -> Program:
    """Ask srun, which lists the options of the cluster's plugins."""
    path = shutil.which("srun")
    if path is None:
        return Program(trouble="srun is not on PATH")
    code, told, words = _ask([path, "--help"])
    if code != 0:
        return Program(path, _last_line(words))
    offered = set(re.findall(r"--[a-z][a-z-]+", told))
    lacking = [option for option in pyxis.OPTIONS if option not in offered]
    if not lacking:
        return Program(path)
    if lacking == list(pyxis.OPTIONS):
        return Program(path, "this cluster's srun has no --container-image")
    return Program(path, f"the cluster's pyxis is too old: it has no {lacking[0]}")


_PROBES: dict[str, Callable[[], Program]] = {
    "bubblewrap": _bubblewrap,
    "unshare": _unshare,
    "docker": _docker,
    "podman": _simple("podman", "version", "--format", "{{.Client.Version}}"),
    "apptainer": _simple("apptainer", "version"),
    "enroot": _simple("enroot", "version"),
    "pyxis": _pyxis,
}


def _gpu_names() -> tuple[str, ...]:
    """Return the names of NVIDIA devices that podman knows."""
    found = []
    for path in (path for folder in _CDI_FOLDERS for path in sorted(Path(folder).glob("*"))):
        try:
            text = path.read_text("utf-8", errors="replace")
        except OSError:
            continue
        words = text.replace('"', " ").replace(",", " ").split()
        found += [word for word in words if word.startswith("GPU-")]
    return tuple(dict.fromkeys(found))


def _driver() -> tuple[str, ...]:
    """Return the libraries that have to be of the same version as the kernel's module."""
    folders = (Path(folder) for folder in _LIBRARIES if Path(folder).is_dir())
    found = (path for each in folders for name in _DRIVER for path in sorted(each.glob(name)))
    return tuple({path.name: str(path) for path in found}.values())


def _missing_image(runtime: str | None, programs: dict[str, Program], task: TaskSpec) -> str | None:
    """Say why an image is not on this host; a registry's is looked for when the task starts."""
    if image_kind(task.image) != "reference" or runtime is None or task.image is None:
        return None
    path = programs[runtime].path or runtime
    if runtime in {"docker", "podman"}:
        code, _, _ = _ask([path, "image", "inspect", task.image])
        return None if code == 0 else "it is not on this machine and will be pulled at the start"
    source = apptainer.source(task.image) if runtime == "apptainer" else task.image
    named = "://" not in source and ("/" in source or source.endswith((".sqsh", ".sif")))
    # To apptainer and enroot a name is a file's; to pyxis it may be a registry's.
    if (is_file(source) if runtime == "pyxis" else named) and not Path(from_home(source)).exists():
        return "there is no such file"
    return None

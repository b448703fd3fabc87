"""Stand-ins for docker, podman, apptainer and enroot, of which one is put on PATH.

docker and podman: a daemon that owns containers, and the client. (podman has none, but its
containers are no children of its client either.) A container is a process with a pid namespace of
its own below the daemon, so it outlives its client as a real one does; its first process is what
``run`` names. apptainer waits for the command, its child, and enroot becomes it. Mounts are only
recorded. Every call of the client is kept with its arguments, for tests to read.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

_VALUED = {"--name", "--user", "--env", "--mount", "--workdir", "--entrypoint", "--gpus", "--bind",
           "--pwd"}  # fmt: skip
_CONTAINER = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child",
              "--mount-proc"]  # fmt: skip


class Docker:
    """The daemon; ``folder`` goes first on PATH.

    Args:
        folder: Gets the client, the socket and the record of calls.
        name: Of the client.
    """

    def __init__(self, folder: Path, name: str = "docker") -> None:
        folder.mkdir()
        self.folder, self.containers = folder, dict[str, subprocess.Popen[bytes]]()
        self.name = name
        client = folder / name
        client.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S "{__file__}" "$0" "$@"\n')
        client.chmod(0o755)
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(folder / "sock"))
        self._socket.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def calls(self, verb: str) -> list[list[str]]:
        """Return the arguments of each call of the client with this verb."""
        lines = (self.folder / "calls").read_text().splitlines()
        return [argv for argv in map(json.loads, lines) if argv[0] == verb]

    def alive(self) -> list[str]:
        """Return the names of the containers that run."""
        return [name for name, each in self.containers.items() if each.poll() is None]

    def close(self) -> None:
        """End all containers; the client then finds no daemon."""
        self._socket.close()
        (self.folder / "sock").unlink()
        for each in self.containers.values():
            each.kill()
            each.wait()

    def _serve(self) -> None:
        with suppress(OSError):  # closed
            while True:
                line, _ = self._socket.accept()
                threading.Thread(target=self._answer, args=(line,), daemon=True).start()

    def _answer(self, line: socket.socket) -> None:
        # A client that was killed hears no more of its container.
        with suppress(BrokenPipeError, ConnectionResetError), line, line.makefile("rw") as stream:
            data, descriptors, _, _ = socket.recv_fds(line, 1 << 20, 2)
            order = json.loads(data)
            if order["verb"] == "run":
                self._run(order, stream, descriptors)
            elif order["verb"] != "rm":
                stream.write("0\n")
            else:
                found = self.containers.get(order["name"])
                if found is not None and found.poll() is None:
                    found.kill()
                    found.wait()
                    stream.write("0\n")
                else:
                    stream.write("1 Error: no container with that name: No such container\n")

    def _run(self, order: dict[str, Any], stream: Any, descriptors: list[int]) -> None:
        if "missing" in order["image"]:
            begin = "docker: Error response from daemon" if self.name == "docker" else "Error"
            stream.write(f"125 {begin}: pull access denied\n")
            return
        path = {"PATH": os.environ["PATH"]}
        made = subprocess.Popen(
            [*_CONTAINER, *order["argv"]], env=path | order["env"], cwd="/",
            stdin=subprocess.DEVNULL, stdout=descriptors[0], stderr=descriptors[1],
            start_new_session=True,
        )  # fmt: skip
        for each in descriptors:
            os.close(each)
        self.containers[order["name"]] = made
        threading.Thread(target=self._pass_on, args=(made, stream), daemon=True).start()
        status = made.wait()
        stream.write(f"{status if status >= 0 else 128 - status}\n")
        stream.flush()

    @staticmethod
    def _pass_on(container: subprocess.Popen[bytes], stream: Any) -> None:
        """Send the signals a client passes on to the container's first process."""
        with suppress(OSError, ValueError):  # the line was cut, or closed when all was said
            for number in stream:
                children = Path(f"/proc/{container.pid}/task/{container.pid}/children")
                os.kill(int(children.read_text().split()[0]), int(number))


def _options(words: list[str]) -> tuple[dict[str, list[str]], list[str]]:
    """Split the arguments of ``docker run`` into options and what follows them."""
    found: dict[str, list[str]] = {}
    while words[0].startswith("--"):
        name, _, value = words.pop(0).partition("=")
        found.setdefault(name, []).append(value or (words.pop(0) if name in _VALUED else ""))
    return found, words


def _client(program: Path, words: list[str]) -> int:
    folder = program.parent
    with (folder / "calls").open("a") as file:
        file.write(json.dumps(words) + "\n")
    if program.name in {"apptainer", "enroot"}:
        return _without_daemon(program.name, words)
    line = socket.socket(socket.AF_UNIX)
    try:
        line.connect(str(folder / "sock"))
    except OSError:
        sys.stderr.write("Cannot connect to the Docker daemon. Is the docker daemon running?\n")
        return 1
    if words[0] != "run":
        told = _told(line, {"verb": words[0], "name": words[-1]})
        return 1 if "missing" in words[-1] else told
    options, rest = _options(words[1:])
    pairs = (word.partition("=") for word in options["--env"])
    env = {n: v if is_set else os.environ.get(n, "") for n, is_set, v in pairs}
    argv = [options["--entrypoint"][0], *rest[1:]]
    order = {"verb": "run", "name": options["--name"][0], "image": rest[0], "argv": argv}
    return _told(line, order | {"env": env}, [1, 2])


def _without_daemon(name: str, words: list[str]) -> int:
    """Be ``apptainer exec`` or ``enroot start``."""
    if words[0] == "version":
        return 0
    options, (image, *argv) = _options(words[1:])
    if "missing" in image:
        fatal = f"FATAL:   Unable to handle {image} uri: reading manifest: access is denied"
        error = f"[ERROR] No such file or directory: /home/me/enroot/{image}"
        sys.stderr.write(f"{fatal if name == 'apptainer' else error}\n")
        return 255 if name == "apptainer" else 1
    env = {"PATH": os.environ["PATH"]}
    if name == "enroot":
        env |= {n: os.environ[n] for n in options["--env"] if n in os.environ}
        argv[argv.index("sdtui") + 1] = "/"  # the folder to start in, which nobody mounted
        os.execvpe(argv[0], argv, env)
    prefix = "APPTAINERENV_"
    env |= {n.removeprefix(prefix): v for n, v in os.environ.items() if n.startswith(prefix)}
    status = subprocess.Popen(argv, env=env, cwd="/").wait()
    return status if status >= 0 else 128 - status


def _told(line: socket.socket, order: dict[str, Any], descriptors: list[int] | None = None) -> int:
    def pass_on(number: int, _: object) -> None:
        line.send(f"{number}\n".encode())

    signal.signal(signal.SIGTERM, pass_on)
    socket.send_fds(line, [json.dumps(order).encode()], descriptors or [])
    answer = line.makefile().readline()
    status, _, words = answer.strip().partition(" ")
    if words:
        sys.stderr.write(f"{words}\n")
    return int(status)


if __name__ == "__main__":
    sys.exit(_client(Path(sys.argv[1]), sys.argv[2:]))

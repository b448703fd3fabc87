"""A real SSH server on loopback, and clients of it whose connection can be cut.

The server has its own configuration, keys and port and knows nobody but us. It runs as whoever
runs the tests: an ordinary user can only reach their own account, and that is all we need.
"""

import fcntl
import os
import pty
import pwd
import select
import shlex
import shutil
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
from contextlib import suppress
from pathlib import Path

from sdcore.supervise import procs

_CONFIG = """\
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host_key
PidFile {folder}/sshd.pid
AuthorizedKeysFile {folder}/authorized_keys
AuthenticationMethods publickey
PermitRootLogin prohibit-password
StrictModes no
UsePAM {pam}
PrintMotd no
MaxStartups 100
"""


def find_sshd() -> str | None:
    """Return the server's absolute path; it insists on one, and PATH often lacks its folder."""
    return shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _is_locked() -> bool:
    """Say whether our account has a locked password: without PAM the server then refuses keys too.

    Only root can know, and only root's server looks.
    """
    name = pwd.getpwuid(os.getuid()).pw_name
    try:
        lines = Path("/etc/shadow").read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    return any(line.startswith(f"{name}:!") for line in lines)


class Sshd:
    """The server, from the first connection it takes until ``close``.

    Args:
        binary: Absolute path of ``sshd``.
        folder: Where its files go.
    """

    def __init__(self, binary: str, folder: Path) -> None:
        self._binary, self._folder = binary, folder
        folder.mkdir(parents=True)
        for name in ("host_key", "user_key"):
            keygen = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
            subprocess.run(keygen, check=True, stdin=subprocess.DEVNULL)
        shutil.copy(folder / "user_key.pub", folder / "authorized_keys")
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where it locks up its children
        self._start()

    def _start(self) -> None:
        """Start it; another program may take the free port first, so a few times."""
        for _ in range(5):
            self.port = _free_port()
            config = self._folder / "sshd_config"
            pam = "yes" if _is_locked() else "no"
            config.write_text(_CONFIG.format(port=self.port, folder=self._folder, pam=pam))
            log = self._folder / "sshd.log"
            command = [self._binary, "-D", "-f", str(config), "-E", str(log)]
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
            if self._answers():
                key = (self._folder / "host_key.pub").read_text()
                known = self._folder / "known_hosts"
                known.write_text(f"[127.0.0.1]:{self.port} {key}")
                return
            self._process.kill()
            self._process.wait()
        raise AssertionError(f"sshd does not start: {self.log()}")

    def _answers(self) -> bool:
        end = time.monotonic() + 10
        while time.monotonic() < end and self._process.poll() is None:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 5) as line:
                return line.recv(4) == b"SSH-" and self._process.poll() is None
            time.sleep(0.05)
        return False

    def log(self) -> str:
        """Return what the server said, for the message of a test that fails."""
        return (self._folder / "sshd.log").read_text(errors="replace")

    def argv(self, command: str, *flags: str) -> list[str]:
        """Return the client's command line; nothing of the user's own settings counts."""
        options = {
            "IdentityFile": f"{self._folder}/user_key",
            "IdentitiesOnly": "yes",
            "IdentityAgent": "none",
            "UserKnownHostsFile": f"{self._folder}/known_hosts",
            "GlobalKnownHostsFile": "/dev/null",
            "StrictHostKeyChecking": "yes",
            "BatchMode": "yes",
            "LogLevel": "ERROR",
        }
        told = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
        user = pwd.getpwuid(os.getuid()).pw_name
        at = ["-p", str(self.port), "-l", user, "127.0.0.1"]
        return ["ssh", "-F", "/dev/null", *told, *flags, *at, command]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run ``sdtui`` over a connection of its own, without a terminal."""
        return subprocess.run(
            self.argv(remote(arguments)),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    def sessions(self) -> list[int]:
        """Return the server's own processes behind open connections, whatever they are called."""
        below = procs.below(self._process.pid)
        return [process.pid for process in below if process.name.startswith("sshd")]

    def close(self) -> None:
        """End the server and all its connections."""
        for pid in [*self.sessions(), self._process.pid]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()


def remote(arguments: tuple[str, ...]) -> str:
    """Return what the remote shell runs: ``sdtui`` of this environment, with this state folder."""
    kept = {k: v for k, v in os.environ.items() if k.startswith(("SDTUI_", "XDG_", "OMP_", "MKL_"))}
    words = ["exec", "env", *(f"{k}={v}" for k, v in kept.items())]
    return shlex.join([*words, sys.executable, "-m", "sdtui", *arguments])


class Login:
    """``ssh -tt`` on a terminal of 80 columns, as a person at a laptop has it.

    Args:
        server: Where to.
        arguments: Of ``sdtui`` over there.
    """

    def __init__(self, server: Sshd, *arguments: str) -> None:
        self._server = server
        self._main, child = pty.openpty()
        fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.began = time.monotonic()
        self._process = subprocess.Popen(
            server.argv(remote(arguments), "-tt"),
            stdin=child,
            stdout=child,
            stderr=child,
            env={**os.environ, "TERM": "xterm-256color"},
            start_new_session=True,
        )
        os.close(child)
        self.screen = b""

    def __enter__(self) -> "Login":
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()
        os.close(self._main)

    def _read(self, seconds: float) -> bool:
        """Take in what comes within ``seconds``; return False once nothing can come any more."""
        if select.select([self._main], [], [], seconds)[0]:
            try:
                self.screen += os.read(self._main, 65536)
            except OSError:  # EIO: the client is gone
                return False
        return True

    def until(self, words: str, seconds: float = 90.0) -> float:
        """Read until ``words`` have come; return the seconds since the connection was begun."""
        end = time.monotonic() + seconds
        while words.encode() not in self.screen:
            alive = self._read(0.2) and time.monotonic() < end
            told = f"{words!r} did not come; this did: {self.screen.decode()}\n{self._server.log()}"
            assert alive or words.encode() in self.screen, told
        return time.monotonic() - self.began

    def press(self, keys: bytes) -> None:
        """Type ``keys``."""
        os.write(self._main, keys)

    def wait(self, seconds: float = 90.0) -> int:
        """Read to the end and return the exit code, which is that of the command over there."""
        end = time.monotonic() + seconds
        while self._process.poll() is None:
            assert time.monotonic() < end, f"it does not end: {self.screen.decode()}"
            self._read(0.2)
        while self._read(0.0) and select.select([self._main], [], [], 0)[0]:
            pass
        return self._process.returncode

    def cut(self) -> None:
        """Take the connection away as a dead link does: no side gets to say goodbye."""
        for pid in [self._process.pid, *self._server.sessions()]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()

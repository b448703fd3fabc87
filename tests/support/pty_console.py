"""The real console on a pseudo-terminal: what it sends is counted and drawn by an emulator."""

import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import pyte

from support.fake_runs import plain_environment

_ANSWERS = {b"\x1b[?2026$p": b"\x1b[?2026;0$y"}  # as tmux up to 3.6 would: not known


class PtyConsole:
    """A program in a terminal of ``columns`` x ``rows``; ended with SIGKILL when left.

    Args:
        columns: Of the terminal.
        rows: Of the terminal.
        arguments: Of ``sdtui``.
        argv: Another program to run in its place.
        environment: Changes to ours.

    Attributes:
        sent: Bytes that came so far.
        stream: The same bytes, to look for what must not be among them.
        screen: Of the emulator, as far as it is drawn: ``text`` draws all.
    """

    def __init__(
        self,
        columns: int,
        rows: int,
        *arguments: str,
        argv: list[str] | None = None,
        **environment: str,
    ) -> None:
        main, child = pty.openpty()
        self._main = main
        self._size(rows, columns)
        own = plain_environment(TERM="xterm-256color", COLORTERM="truecolor", LANG="C.UTF-8")
        self.process = subprocess.Popen(
            argv or [sys.executable, "-m", "sdtui", *arguments],
            stdin=child,
            stdout=child,
            stderr=child,
            env=own | environment,
            start_new_session=True,
            # Its own terminal, so that SIGWINCH and SIGHUP reach it.
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509  # one call
        )
        os.close(child)
        self.sent, self.stream = 0, bytearray()
        self.screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self.screen)
        self._pieces: deque[tuple[float, bytes]] = deque()  # when it came; not drawn yet
        self._lock = threading.Lock()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _size(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self._main, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def _read(self) -> None:
        while True:
            try:
                piece = os.read(self._main, 65536)
            except OSError:  # EIO: the console has ended
                return
            if not piece:
                return
            with self._lock:
                self.sent += len(piece)
                self.stream += piece
                # Drawn by who looks: the emulator is slow, and what is sent must not wait for it.
                self._pieces.append((time.monotonic(), piece))
            for question, answer in _ANSWERS.items():
                if question in piece:
                    os.write(self._main, answer)

    def text(self) -> str:
        """Return what the terminal shows."""
        while self.draw() is not None:
            pass
        return self.drawn()

    def draw(self) -> float | None:
        """Draw the next piece of what came; return when it came, None if all is drawn."""
        with self._lock:
            if not self._pieces:
                return None
            came, piece = self._pieces.popleft()
            self._stream.feed(piece)
            return came

    def drawn(self) -> str:
        """Return what the terminal shows as far as it is drawn."""
        with self._lock:
            return "\n".join(line.rstrip() for line in self.screen.display)

    def press(self, keys: str) -> None:
        """Send what the terminal sends for keys."""
        os.write(self._main, keys.encode())

    def resize(self, columns: int, rows: int) -> None:
        """Change the size of the terminal."""
        self.text()
        with self._lock:
            self.screen.resize(rows, columns)
        self._size(rows, columns)

    def until(self, what: str | Callable[[], bool], seconds: float = 30.0) -> None:
        """Wait until a text is on the screen, or something is true."""
        end = time.monotonic() + seconds
        while not (what in self.text() if isinstance(what, str) else what()):
            assert self.process.poll() is None, f"it has ended:\n{self.text()}"
            assert time.monotonic() < end, f"{what!r} did not come:\n{self.text()}\n{self._told()}"
            time.sleep(0.05)

    def _told(self) -> str:
        """Return what can be known of a console that does not answer: where its threads wait."""
        tasks = Path(f"/proc/{self.process.pid}/task").iterdir()
        waits = [f"{(t / 'comm').read_text().strip()}: {(t / 'wchan').read_text()}" for t in tasks]
        return f"reader alive: {self._reader.is_alive()}, sent {self.sent}, {waits}"

    def quiet(self, seconds: float = 0.7, most: float = 20.0) -> None:
        """Wait until nothing is sent any more."""
        end, before, since = time.monotonic() + most, self.sent, time.monotonic()
        while time.monotonic() - since < seconds:
            assert time.monotonic() < end, f"it never rests:\n{self.text()}"
            time.sleep(0.05)
            if self.sent != before:
                before, since = self.sent, time.monotonic()

    def rate(self, seconds: float) -> float:
        """Return the bytes per second that come in the next ``seconds``."""
        before, begun = self.sent, time.monotonic()
        time.sleep(seconds)
        assert self.process.poll() is None, "what has ended sends nothing"
        return (self.sent - before) / (time.monotonic() - begun)

    def hang_up(self) -> None:
        """Pull the plug: the terminal is gone, as when an SSH link is cut."""
        os.killpg(self.process.pid, signal.SIGHUP)

    def __enter__(self) -> "PtyConsole":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join(timeout=5)
        os.close(self._main)

"""Keeps the helper process of the form, and hands on what it finds.

Knows no widgets. One request is under way at a time; a newer one of its kind takes the place of
one that waits. A helper that dies is started again once; one that is silent for a minute is ended
and told of, because a dead network mount can hold a process for ever. One that still lists
``/data`` when the path has become ``/data/pokemon`` is ended: nobody waits for it.
"""

import json
import os
import selectors
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Literal

from sdtui.language import _
from sdtui.told import told

Ask = Literal["look", "check"]
TIMEOUT_S = 60.0
_PATIENCE_S = 2.0  # with a look that is no longer wanted: a new helper takes a second to start
_TICK_S = 0.1
# What names the folders that a look reads.
_NAMES = ("pretrained_model_name_or_path", "train_data_dir", "dataset_name")


class _UnwantedError(Exception):
    """The paths that are looked at are no longer those of the task."""


class Checker:
    """Asks the helper.

    Args:
        post: Called from a thread with each answer: ``id``, ``ask`` and what was found, or
            ``trouble``, the words of why nothing was found.
        broken: Called from the thread, last, with an error that is a bug of ours.
        timeout_s: How long the helper may be silent.
        patience_s: How long, once a waiting question is about other paths.
        argv: The helper, where a test has another one.
    """

    def __init__(
        self,
        post: Callable[[dict[str, Any]], object],
        broken: Callable[[Exception], object],
        *,
        timeout_s: float = TIMEOUT_S,
        patience_s: float = _PATIENCE_S,
        argv: tuple[str, ...] = (sys.executable, "-m", "sdtui.form.worker"),
    ) -> None:
        self._post, self._broken, self._argv = post, broken, argv
        self._timeout_s, self._patience_s = timeout_s, patience_s
        self._waiting: dict[Ask, tuple[int, dict[str, Any]]] = {}
        self._changed = threading.Condition()
        self._child: subprocess.Popen[bytes] | None = None
        self._thread: threading.Thread | None = None
        self._open = True
        self._number = 0

    def start(self) -> None:
        """Start the helper before its first request: it takes a second to load."""
        with self._changed:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="sdtui-check", daemon=True)
                self._thread.start()

    def ask(self, ask: Ask, table: dict[str, Any]) -> int:
        """Ask about a task; return the number that its answer will carry."""
        self.start()
        with self._changed:
            self._number += 1
            self._waiting[ask] = (self._number, table)
            self._changed.notify()
            return self._number

    def close(self) -> None:
        """End the helper; no answer comes any more."""
        with self._changed:
            self._open = False
            self._changed.notify()
            if self._child is not None:
                self._child.kill()  # the thread sees its end, and waits for it

    def _work(self) -> None:
        try:
            with suppress(OSError):  # told when it is asked something
                self._begin_child()
            self._serve()
        except Exception as error:  # noqa: BLE001  # told by ending the console with it
            self._broken(error)
        finally:  # whatever happens, no process is left behind
            self._end_child()

    def _serve(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or not self._open)
                if not self._open:
                    return
                ask: Ask = "check" if "check" in self._waiting else "look"
                number, table = self._waiting.pop(ask)
            request = {"id": number, "ask": ask, "task": table}
            try:
                reply = self._converse(request)
            except _UnwantedError:
                self._end_child()
                continue
            if self._open:
                self._post(reply)

    def _converse(self, request: dict[str, Any]) -> dict[str, Any]:
        """Return the answer to ``request``; a helper that died gets a second chance."""
        head = {"id": request["id"], "ask": request["ask"]}
        why = ""
        for _chance in range(2):
            if not self._open:
                break
            try:
                if answer := self._answer(request):
                    return answer
            except TimeoutError:
                self._end_child()
                words = _("the check took over {n} s and was ended; is a network folder dead?")
                return head | {"trouble": words.format(n=round(self._timeout_s))}
            except BrokenPipeError:
                pass  # it died while it was asked
            except (OSError, ValueError) as error:  # it cannot be started, or wrote half an answer
                why = told(error.strerror or "") if isinstance(error, OSError) else ""
            self._end_child()
        if why:
            words = _("the helper that checks the task cannot be started: {why}; free some memory")
            return head | {"trouble": words.format(why=why)}
        return head | {"trouble": _("the helper that checks the task ended twice")}

    def _answer(self, request: dict[str, Any]) -> dict[str, Any] | None:
        child = self._child or self._begin_child()
        if child is None:
            return None
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(json.dumps(request).encode() + b"\n")
        child.stdin.flush()
        answer = json.loads(self._read_line(child.stdout.fileno(), request) or "null")
        return answer if isinstance(answer, dict) else None

    def _read_line(self, descriptor: int, request: dict[str, Any]) -> bytes:
        """Read up to the end of a line, in time, and while the answer is wanted."""
        read, began = b"", time.monotonic()
        with selectors.DefaultSelector() as selector:
            selector.register(descriptor, selectors.EVENT_READ)
            while not read.endswith(b"\n"):
                if selector.select(_TICK_S):
                    part = os.read(descriptor, 1 << 16)
                    if not part:
                        return b""
                    read += part
                    continue
                waited = time.monotonic() - began
                if waited > self._timeout_s:
                    raise TimeoutError
                if waited > self._patience_s and self._is_unwanted(request):
                    raise _UnwantedError
        return read

    def _is_unwanted(self, request: dict[str, Any]) -> bool:
        """Say whether a look at other paths waits; a check was asked for, and is answered."""
        with self._changed:
            waiting = self._waiting.get("look") if request["ask"] == "look" else None
        return waiting is not None and _paths(waiting[1]) != _paths(request["task"])

    def _begin_child(self) -> "subprocess.Popen[bytes] | None":
        if not self._open:
            return None
        # Not under the lock: a slow disk may hold it, and with the lock it would hold the keys.
        child = subprocess.Popen(
            self._argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # a Ctrl-C is the console's
        )
        with self._changed:
            self._child = child
            if not self._open:
                child.kill()  # closed meanwhile; the thread sees its end, and waits for it
        return child

    def _end_child(self) -> None:
        with self._changed:
            child, self._child = self._child, None
        if child is None:
            return
        child.kill()
        for pipe in (child.stdin, child.stdout):
            with suppress(OSError):  # what was still to be written
                pipe.close()  # type: ignore[union-attr]
        with suppress(subprocess.TimeoutExpired):  # a dead mount; it goes when the mount comes back
            child.wait(2.0)


def _paths(table: dict[str, Any]) -> Any:
    """Return what of a task names the folders that are looked at."""
    train = table.get("train", {})
    return table.get("mounts"), [train.get(name) for name in _NAMES]

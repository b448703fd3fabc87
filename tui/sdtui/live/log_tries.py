"""Tries patterns on lines in a process of its own, which ends itself when that takes too long.

Python's regular expressions hold the interpreter while they work, and nothing in it can interrupt
them: in the console itself ``(a|a)*$`` would keep every key waiting for years on a single line.
"""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence

LIMIT_S = 2.0  # for one page of a log; usual patterns take milliseconds
_MOST_SPANS = 100  # of one line

Spans = list[tuple[int, int]]


class TooSlowError(Exception):
    """A pattern takes too long on some line; there is no telling how long."""


class Tries:
    """The process, started when it is first needed. Not for two threads at once."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def find(self, regex: "re.Pattern[str]", texts: Sequence[str]) -> dict[int, Spans]:
        """Return where a pattern matches, in characters, by the place of each line that does.

        Raises:
            TooSlowError: It was still at work after ``LIMIT_S``.
        """
        process = self._process or self._begin()
        assert process.stdin is not None
        assert process.stdout is not None
        question = json.dumps([regex.pattern, int(regex.flags), texts])
        try:
            process.stdin.write(question.encode() + b"\n")
            process.stdin.flush()
            answer = process.stdout.readline()
        except BrokenPipeError:
            answer = b""
        if not answer:
            self.close()
            raise TooSlowError
        return {place: [(a, b) for a, b in spans] for place, spans in json.loads(answer)}

    def _begin(self) -> "subprocess.Popen[bytes]":
        argv = [sys.executable, "-P", "-m", __name__, str(LIMIT_S)]
        self._process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        return self._process

    def close(self) -> None:
        """End the process; it begins anew with the next question."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


def main(limit_s: float) -> None:
    """Answer questions from stdin, a line each; the clock's signal ends the whole process."""
    os.nice(5)  # whoever types, and the training, come first
    for line in sys.stdin.buffer:
        signal.setitimer(signal.ITIMER_REAL, limit_s)
        pattern, flags, texts = json.loads(line)
        search = re.compile(pattern, flags).finditer
        found = []
        for place, text in enumerate(texts):
            spans = [match.span() for match in search(text)][:_MOST_SPANS]
            if spans:
                found.append((place, spans))
        signal.setitimer(signal.ITIMER_REAL, 0)
        sys.stdout.write(json.dumps(found) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    try:
        main(float(sys.argv[1]))
    except (BrokenPipeError, KeyboardInterrupt):  # nobody reads any more
        os._exit(0)

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sdcore.runs.logs import LogReader, Mask, start_of_tail


def read_all(path: Path, **options: object) -> list[str]:
    return LogReader(path, **options).read(1 << 30, final=True)  # type: ignore[arg-type]


def test_a_progress_bar_is_one_line(tmp_path: Path) -> None:
    """Tqdm rewrites its line ten times a second; the file holds every version."""
    log = tmp_path / "train.log"
    log.write_bytes(b"start\r\n" + b"".join(b"%d%%\r" % i for i in range(100)) + b"100%\nend")
    assert read_all(log) == ["start", "100%", "end"]


def test_a_secret_is_masked_even_when_an_escape_sequence_parts_it(tmp_path: Path) -> None:
    """Once cleaned, the parts would join into the secret again."""
    log = tmp_path / "train.log"
    log.write_bytes(b"token hf_\x1b[1msecret\x1b[0m and hf_secret_longer, parallelism=false\n")
    mask = Mask(["hf_secret", "hf_secret_longer", "false"])
    assert read_all(log, mask=mask) == ["token *** and ***, parallelism=false"]


def test_the_tail_of_a_large_log_reads_only_its_end(tmp_path: Path) -> None:
    """A log of 40 GB must not pass through memory for its last ten lines."""
    log = tmp_path / "train.log"
    with log.open("wb") as file:
        file.seek(40 << 30)  # a hole: costs nothing
        file.write(b"\n" + b"".join(b"line %d\n" % i for i in range(10_000)))
    assert LogReader(log, offset=start_of_tail(log, 2)).read() == ["line 9998", "line 9999"]
    assert start_of_tail(log, 0) == log.stat().st_size
    assert start_of_tail(tmp_path / "none", 5) == 0


LAUNCHER = [
    "Traceback (most recent call last):",
    '  File "/x/site-packages/accelerate/commands/launch.py", line 999, in simple_launcher',
    "    raise subprocess.CalledProcessError(returncode=process.returncode, cmd=cmd)",
]
COMMAND = "subprocess.CalledProcessError: Command '['python', '-m', 'sdcore.train']' "
BY_SIGNAL = f"{COMMAND}died with <Signals.SIGKILL: 9>."
TRAINER = ["Traceback (most recent call last):", '  File "x.py", line 1', "RuntimeError: no"]
REPORT = ["torch.…errors.ChildFailedError: ", "=" * 60, "sdcore.train FAILED", "-" * 60]
KILLED = "  traceback : Signal 9 (SIGKILL) received by PID 7"


@pytest.mark.parametrize(
    ("lines", "shown"),
    [
        ([*LAUNCHER, f"{COMMAND}returned non-zero exit status 4."], []),
        # Which signal ended the trainer stands nowhere else.
        ([*LAUNCHER, BY_SIGNAL], [BY_SIGNAL]),
        ([*LAUNCHER, *REPORT, KILLED, "=" * 60], [KILLED]),
        ([*LAUNCHER, *REPORT, KILLED], [*LAUNCHER, *REPORT, KILLED]),
        ([*LAUNCHER, "ValueError: no config"], [*LAUNCHER, "ValueError: no config"]),
        (LAUNCHER, LAUNCHER),
        (TRAINER, TRAINER),
        ([*TRAINER[:2], *TRAINER], [*TRAINER[:2], *TRAINER]),
    ],
)
@pytest.mark.parametrize("limit", [7, 1 << 20])
def test_only_the_launchers_own_traceback_is_left_out(
    lines: list[str], shown: list[str], limit: int, tmp_path: Path
) -> None:
    """After a clean stop it read as a crash; the trainer's own must never be lost."""
    log = tmp_path / "train.log"
    log.write_text("\n".join(["saved", *TRAINER, *lines, "after"]))
    reader, got = LogReader(log), list[str]()
    while reader.offset < log.stat().st_size:
        got += reader.read(limit, final=True)
    assert got == ["saved", *TRAINER, *shown, "after"]


def test_a_line_without_end_comes_in_pieces(tmp_path: Path) -> None:
    """A binary blob in the log must not grow in our memory."""
    log = tmp_path / "train.log"
    log.write_bytes(b"x" * 200_000)
    assert [len(piece) for piece in read_all(log)] == [65_536, 65_536, 65_536, 3392]


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    parts=st.lists(st.sampled_from([b"a", b"\r", b"\n", b"\xc3", b"\xa4", b"\x1b[1m"])),
    limit=st.integers(1, 5),
    lines=st.integers(0, 5),
)
def test_how_the_log_arrives_and_where_it_is_entered_changes_nothing(
    tmp_path: Path, parts: list[bytes], limit: int, lines: int
) -> None:
    log = tmp_path / "train.log"
    log.write_bytes(b"".join(parts))
    whole = read_all(log)
    reader, got = LogReader(log), list[str]()
    for _ in range(len(b"".join(parts)) + 1):
        got += reader.read(limit, final=True)
    assert got == whole
    assert read_all(log, offset=start_of_tail(log, lines)) == whole[max(0, len(whole) - lines) :]

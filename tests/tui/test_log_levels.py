"""Levels and ranks, by the forms in which programs really write them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdtui.live.log_levels import GRAVE, RANKED, Level, Levels, level_of, rank_of

unhurried = settings(deadline=None)
D, I, W, E = Level.DEBUG, Level.INFO, Level.WARNING, Level.ERROR  # noqa: E741


@pytest.mark.parametrize(
    ("line", "level"),
    [
        ("08/06/2026 14:02:01 - INFO - sdcore.train - ***** Running training *****", I),
        ("2026-08-06 14:02:01,123 WARNING root: slow", W),
        ("WARNING:py.warnings:x.py:3", W),
        ("[2026-08-06 14:02:01,123] [ERROR] [launch.py:321:sigkill_handler] exits", E),
        ("DEBUG:urllib3.connectionpool:Starting new HTTPS connection", D),
        ("14:02:01 | CRITICAL | out of disk", E),
        ('{"level": "warn", "msg": "x"}', W),
        ("time=2026 level=error msg=bad", E),
        ("gpu07:4711:4800 [0] NCCL WARN Call to connect failed", W),
        ("gpu07:4711:4800 [0] NCCL INFO Bootstrap : Using eth0", I),
        ("W0806 14:02:01.123000 4711 torch/distributed/run.py:792] *****", W),
        ("E0806 14:02:01.123000 4711 torch/distributed/elastic/api.py:12] failed", E),
        ("[W806 14:02:01.123 ProcessGroupNCCL.cpp:12] Warning: barrier", W),
        ("/x/y.py:12: FutureWarning: `foo` is deprecated", W),
        ("UserWarning: small", W),
        ("torch.OutOfMemoryError: CUDA out of memory.", E),
        ("[rank3]: RuntimeError: no", E),
        ("KeyboardInterrupt", E),
        ("Segmentation fault (core dumped)", E),
        ("error: no such file", E),
        ("Traceback (most recent call last):", E),
        ("an error in the prompt, they warn", I),
        ("loss=0.1 errors=0", I),
        ("INFO - 3 ERRORS were mended", I),
        ("100%|██████████| 10/10 [00:01<00:00,  9.9it/s]", I),
        ("ınfo: without a dot", I),
        ("İNFO: with one", I),
        ("ERROR ınfo: x", E),
        ("", I),
    ],
)
def test_the_level_is_what_the_program_said(line: str, level: Level) -> None:
    """A filter for errors that hides one, or shows prose, is not trusted again."""
    assert level_of(line) is level


@pytest.mark.parametrize(
    ("line", "rank"),
    [
        ("[rank0]: Traceback (most recent call last):", 0),
        ("[rank 3] step 4", 3),
        ("[default12]:hello", 12),
        ("[RANK 2] x", 2),
        ("2026-08-06 INFO rank=5 step=2", 5),
        ("INFO [rank7] x", 7),
        ("ranked 4th", None),
        ("rank", None),
    ],
)
def test_the_rank_is_the_writers(line: str, rank: int | None) -> None:
    """With eight ranks in one file, the one that failed must be told apart."""
    assert rank_of(line) == rank


def test_the_frames_of_a_traceback_belong_to_its_error_rank_by_rank() -> None:
    """A list of errors without the place where they arose explains nothing."""
    levels = Levels()
    lines = [
        "[rank1]: Traceback (most recent call last):", "[rank0]: step 4",
        '[rank1]:   File "x.py", line 3', "[rank1]: ValueError: bad", "[rank1]: step 5",
    ]  # fmt: skip
    assert [levels.of(line)[0] for line in lines] == [E, I, E, E, I]


@unhurried
@given(st.one_of(st.text(max_size=80), st.from_regex(
    r"\A(\[rank\d\]: )?[a-z ]{0,5}([A-Z][a-z]{0,4})?(WARN|Warning|ERROR|error|level=fatal|"
    r"E0806 14:02:01 x\.py:3\]|Error|Exit|Killed|KeyboardInterrupt)[: \]a-z]{0,5}\Z")))  # fmt: skip
def test_what_is_passed_over_unread_holds_nothing_grave_and_no_rank(line: str) -> None:
    """The quick look at a page's bytes must not lose what the careful one would find."""
    raw = line.encode("utf-8", "replace").lower()
    if level_of(line) > I:
        assert any(word in raw for word in GRAVE)
    if rank_of(line) is not None:
        assert any(word in raw for word in RANKED)

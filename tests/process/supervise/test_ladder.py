"""The order and the times of the stop ladder, with a clock of the test's own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdcore.supervise.gpus import is_type
from sdcore.supervise.ladder import RUNGS, Ladder


def test_each_rung_follows_when_its_time_is_over() -> None:
    """300 s to save, 30 s to end, then no more patience."""
    ladder = Ladder(300, 30)
    stop = {"stop": {"by": "SIGINT"}}
    assert ladder.climb(0, {}, cooperative=True) is None
    assert ladder.climb(10, stop, cooperative=True) == "save"
    assert ladder.climb(309, stop, cooperative=True) is None
    assert ladder.climb(310, stop, cooperative=True) == "term"
    assert ladder.climb(340, stop, cooperative=True) == "kill"
    assert (ladder.deadline, ladder.by) == (None, "SIGINT")
    assert ladder.climb(9999, stop, cooperative=True) is None


def test_a_program_that_reads_no_wishes_is_told_by_signal() -> None:
    """Five minutes of waiting for an answer that cannot come would look like a hang."""
    assert Ladder(300, 30).climb(0, {"stop": {}}, cooperative=False) == "term"


def test_the_grace_a_person_asks_for_counts_for_the_first_rung_whichever_it_is() -> None:
    """``sdtui stop --grace 1`` on a program that ignores SIGTERM took 30 s."""
    for wishes in ({"stop": {"grace_s": 1}}, {"term": {"grace_s": 1}}):
        ladder = Ladder(300, 30)
        assert ladder.climb(0, wishes, cooperative=False) == "term"
        assert ladder.climb(1, wishes, cooperative=False) == "kill"


@pytest.mark.parametrize("grace", ["soon", -1, float("nan"), None, [1]])
def test_a_senseless_grace_is_not_obeyed(grace: object) -> None:
    """NaN compares false for ever: the ladder would never climb."""
    ladder = Ladder(300, 30)
    ladder.climb(0, {"stop": {"grace_s": grace}}, cooperative=True)
    assert ladder.deadline == 300


def test_a_shutdown_shortens_a_stop_that_is_under_way() -> None:
    """The host will not wait the five minutes somebody granted before."""
    ladder = Ladder(300, 30)
    ladder.climb(0, {"stop": {}}, cooperative=True)
    assert ladder.signalled(5, "SIGTERM", cooperative=True) is None
    assert ladder.deadline == 25
    assert ladder.signalled(6, "SIGTERM", cooperative=True) == "term"
    assert ladder.signalled(7, "SIGTERM", cooperative=True) == "kill"


@given(
    st.lists(
        st.tuples(
            st.floats(0, 500),
            st.sets(st.sampled_from(["stop", "term", "kill"])),
            st.booleans(),
            st.sampled_from(["climb", "signal", "left"]),
        )
    )
)
def test_the_ladder_never_goes_down_and_always_ends(
    events: list[tuple[float, set[str], bool, str]],
) -> None:
    """Back on a lower rung, a run that should be dead would get its time again."""
    ladder, now, height = Ladder(300, 30), 0.0, -1
    for wait, kinds, cooperative, what in events:
        now += wait
        if what == "signal":
            ladder.signalled(now, "SIGTERM", cooperative=cooperative)
        elif what == "left":
            ladder.left_behind(now, 10)
        else:
            ladder.climb(now, {kind: {} for kind in kinds}, cooperative=cooperative)
        reached = -1 if ladder.rung is None else RUNGS.index(ladder.rung)
        assert reached >= height
        height = reached
        assert (ladder.deadline is None) == (ladder.rung in {None, "kill"})
    if ladder.rung is not None:
        for _ in range(2):
            now += 1000
            ladder.climb(now, {}, cooperative=True)
        assert ladder.rung == "kill"


@pytest.mark.parametrize(
    ("wanted", "name", "same"),
    [
        ("NVIDIA-H800", "NVIDIA H800 PCIe", True),
        ("nvidia_h800", "NVIDIA H800", True),
        ("RTX4090", "NVIDIA GeForce RTX 4090", True),
        ("A100", "NVIDIA A100-SXM4-80GB", True),
        ("A10", "NVIDIA A100-SXM4-80GB", False),
        ("NVIDIA", "NVIDIA L4", False),
        (None, "NVIDIA L4", False),
    ],
)
def test_names_of_gpus_are_compared_as_people_write_them(
    wanted: str | None, name: str, same: bool
) -> None:
    """A100 is not an A10 with two zeros more."""
    assert is_type(wanted, name) is same

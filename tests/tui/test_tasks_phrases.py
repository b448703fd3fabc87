"""The console's words for states, spans, losses and events."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from sdcore.runs.logs import Mask
from sdcore.runs.status import Status, read_status
from sdtui import phrases, words
from sdtui.words import closing_lines
from support.fake_runs import exit_record, make_run

RUN = "20260101-000000-x"


@given(st.one_of(st.none(), st.floats(width=32)))
def test_losses_and_rates_keep_to_their_columns(value: float | None) -> None:
    """A diverging loss grows to any number; its column does not."""
    assert cell_len(phrases.loss_words(value)) <= 8
    assert phrases.loss_words(math.nan) == "NaN"
    if value is None or abs(value) < 1e6 or not math.isfinite(value):
        assert cell_len(phrases.rate_words(value)) <= 9


@given(st.floats(0, 1e7))
def test_a_live_span_changes_rarely_and_fits(seconds: float) -> None:
    """A span that counted every second would cost bytes on every tick of an idle link."""
    words = phrases.span(seconds)

    assert cell_len(words) <= 8
    if seconds > 700:
        near = {phrases.span(seconds + second) for second in range(30)}
        assert len(near) <= 2


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(None, "–"), (math.inf, "–"), (9, "9s"), (154, "2m 30s"), (3155, "53m"), (7260, "2h 01m")],
)
def test_spans_read_well(seconds: float | None, words: str) -> None:
    """The ETA is read at a glance."""
    assert phrases.span(seconds) == words


def test_the_count_down_names_the_next_rung() -> None:
    """What a person waits for is what comes next, and when."""
    status = Status(RUN, "x", "stopping", step=3, stop_step="save", deadline=1299.0)

    assert phrases.stop_words(status, 1000.0) == ("finishes its step and saves; SIGTERM in 4m 59s")
    unsaved = Status(RUN, "x", "stopping", stop_step="save")
    assert phrases.stop_words(unsaved) == "no step yet, so there is nothing to save"
    killed = Status(RUN, "x", "stopping", step=3, stop_step="kill")
    assert phrases.stop_words(killed) == "SIGKILL is sent"


JUNK = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20)),
    lambda inner: st.lists(inner, max_size=3),
)
KINDS = ("model", "data", "buckets", "plan", "choice", "resumed", "checkpoint", "sample",
         "pipeline", "warning", "non_finite", "of tomorrow")  # fmt: skip
KEYS = ("step", "size", "seconds", "text", "images", "parameters", "name", "files", "loss", "count",
        "epochs", "passed_over", "good_checkpoint", "sizes")  # fmt: skip


@given(st.sampled_from(KINDS), st.dictionaries(st.sampled_from(KEYS), JUNK))
def test_any_record_of_a_known_kind_can_be_told(kind: str, record: dict[str, object]) -> None:
    """An event written by a newer trainer, or by hand, must not end the console."""
    words = phrases.event_words({**record, "kind": kind})

    assert (words is None) == (kind == "of tomorrow")
    assert not {"\x1b", "\x07", "\n"} & set(words or "")


def test_caching_tells_its_pace_and_what_is_left() -> None:
    """A bare count leaves a person to guess whether it is a minute or the night."""
    status = Status(RUN, "x", "running", phase="caching", phase_done=4000, phase_total=10_000,
                    phase_unit="images", phase_per_s=50.0)  # fmt: skip

    assert phrases.phase_words(status) == "caching 4,000 of 10,000 images  50/s  2m 00s"
    assert words.phase_words(status) == "caching: 4,000 of 10,000 images  50 images/s  ETA 2m 00s"
    assert phrases.phase_words(status._replace(phase_per_s=None)).endswith("10,000 images")


def test_buckets_are_listed_the_fullest_first() -> None:
    sizes = [{"width": 64 * i, "height": 512, "images": 2000 - i} for i in range(1, 8)]
    text = words.event_words({"kind": "buckets", "sizes": sizes}) or ""

    assert text.startswith("buckets: 64x512: 1,999, 128x512: 1,998, ")
    assert text.endswith("320x512: 1,995 and 2 more")


def test_runs_of_one_name_are_told_apart() -> None:
    """Two curves of one name and no more would be a riddle."""
    a, b, c = "20260101-000000-a", "20260102-000000-a", "20260103-000000-c"

    assert phrases.named(((a, 1), (b, 2), (c, 3))) == ((a, 1), (b, 2), ("c", 3))


def test_a_time_says_which_attempt_it_is_of() -> None:
    """A run of three days that was resumed a minute before its end did not take a minute."""
    once = Status(RUN, "x", "done", elapsed=42.0)

    assert phrases.elapsed_words(once) == "42s"
    assert phrases.elapsed_words(once._replace(attempt=3)) == "42s in attempt 3"
    assert phrases.elapsed_words(once._replace(attempt=3, elapsed=None)) == phrases.UNKNOWN
    resumed = exit_record(attempt=3, started=0.0, ended=42.0)
    run = make_run(RUN, exit=resumed)
    assert closing_lines(run, read_status(run), Mask())[0].startswith("done after 42s in attempt 3")

"""The search in a log: what it finds, from where, and that it always ends."""

from support.console import Driven, drive
from support.logs import log_lines, logged, opened, title


def test_a_search_counts_goes_round_and_can_be_taken_back() -> None:
    """Where one is among how many is what makes a search of a long log bearable."""
    logged(log_lines(400))

    async def story(it: Driven) -> None:
        view = await opened(it)
        await it.press("slash")
        await it.type("STEP=1.3 ")
        await it.until("0 found")
        await it.press("escape")
        await it.until(lambda: view.choices.query is None)
        await it.until(lambda: "following" in title(it))
        await it.press("slash")
        await it.type("step=1.3 ")
        await it.until("/step=1.3  10 of 10")
        await it.press("enter", "n")
        await it.until("1 of 10")
        await it.until("step=103 ")
        await it.press("N")
        await it.until("10 of 10")
        await it.press("escape")
        await it.until(lambda: "found" not in title(it))
        await it.press("slash", "(")
        await it.until("this cannot be searched")

    drive(story)


def test_a_slow_hand_finds_what_a_quick_one_finds() -> None:
    """The first letters lead somewhere already, and from there the next ones went on."""
    logged(log_lines(400))

    async def story(it: Driven) -> None:
        await opened(it)
        await it.press("slash")
        for words, found in (("step=10", "11 of 11"), ("1 ", "1 of 1")):
            await it.type(words)
            await it.until(found)
        await it.press("backspace", "backspace", "backspace")
        await it.until("/step=1 111 of 111")

    drive(story)


def test_a_pattern_without_end_keeps_no_key_waiting_and_the_search_ends() -> None:
    """One slip in a pattern, one long line, and a training would run on with nobody watching."""
    logged(log_lines(300) + b"a" * 60 + b"b\n" + log_lines(30))

    async def story(it: Driven) -> None:
        view = await opened(it)
        await it.press("slash")
        await it.type("(a|a)*$")
        await it.press("enter")
        for _ in range(20):
            await it.press("up")
        await it.told("its pattern takes too long", 60)
        assert view.choices.query is None
        await it.press("slash")
        await it.type(r"step=\d+ loss=0.\d+$")
        await it.press("enter")
        await it.until("330")
        line = next(row.text for row in view.window.rows if "loss" in row.text)
        await it.until(lambda: bool(view.choices.query and view.choices.query.spans(line)))

    drive(story)

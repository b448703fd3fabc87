"""The door for text from outside."""

import re
import subprocess

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sdcore.errors import UsageError
from sdcore.names import check_name
from sdcore.text import clean, clean_line, last_overwrite, shell_word

STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
HOSTILE = st.text(
    st.one_of(st.sampled_from("\x1b\x9b\x9d\x90[]();:?0123456789mJPH\\\x07\r\n\t"), st.characters())
)


@given(HOSTILE)
def test_nothing_that_steers_a_terminal_gets_through(text: str) -> None:
    """OSC 52 fills the clipboard, CSI 2J wipes the screen, a bidi override turns a name around."""
    safe = clean(text)

    assert STEERING.search(safe) is None
    assert clean(safe) == safe
    assert "\n" not in clean_line(text)


@given(st.text(st.characters(exclude_categories=["Cc", "Cf", "Cs"]), max_size=200))
def test_plain_text_is_left_as_it_is(text: str) -> None:
    """A sanitiser that eats Chinese captions is worse than none."""
    assert clean(text) == text


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("a\x1b]52;c;ZXZpbA==\x07b", "ab"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1bP+q544e\x1b\\x", "x"),
        ("\x9b2Jx", "x"),
        ("50%\r100%", "50%100%"),
        ("一只猫 🐈 café", "一只猫 🐈 café"),
    ],
)
def test_sequences_go_whole_and_the_words_stay(raw: str, shown: str) -> None:
    """A sequence cut in half leaves its letters on the screen."""
    assert clean(raw) == shown


def test_a_bar_that_rewrites_its_line_shows_its_last_state() -> None:
    """A training writes thousands of them."""
    assert last_overwrite("0%|\r50%|\r100%|") == "100%|"
    assert last_overwrite("done\r") == "done"


def test_long_text_is_cut() -> None:
    """A line of 100 MB must not reach a screen."""
    assert len(clean("x" * 1000, limit=10)) == 10


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../x", "/etc/x", "a/b", "-rf", "x\ny", "x ", "$(id)", "a" * 65, "猫",
     "\x1b]0;x\x07", "\u202eexe", "last"],
)  # fmt: skip
def test_a_name_cannot_leave_its_folder_or_hide(name: str) -> None:
    """It becomes a folder's name, a word in Slurm's commands and text on a screen."""
    with pytest.raises(UsageError):
        check_name(name)


@pytest.mark.parametrize("name", ["demo", "a", "A.b-c_d", "0" * 64])
def test_ordinary_names_are_taken(name: str) -> None:
    """The rule must not forbid what people use."""
    assert check_name(name) == name


@given(word=st.text(st.characters(exclude_characters="\0"), max_size=40))
@example(word="a\nb 'c' \\ $x `y` \x1b[31m")
@example(word="-x\x9b\u202e字\udcff")
@settings(max_examples=60, deadline=None)
def test_a_word_for_the_shell_is_one_safe_line_and_reads_as_it_was(word: str) -> None:
    """A line that is shown to be repeated must repeat the run, not a value with a space in it."""
    said = shell_word(word)

    assert clean_line(said) == said
    if any("\ud800" <= sign <= "\udbff" or "\udc00" <= sign < "\udc80" for sign in word):
        return  # no program could be given it
    told = subprocess.run(["bash", "-c", f"printf %s {said}"], capture_output=True, check=True)
    assert told.stdout == word.encode(errors="surrogateescape")

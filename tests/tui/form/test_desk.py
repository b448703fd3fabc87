"""What the form finds wrong by itself, beyond what makes a task."""

import pytest

from sdcore.task.platform_env import PLATFORM_ENV
from sdtui.form.desk import Desk


def own_command(**variables: str) -> Desk:
    desk = Desk()
    for key, raw in {"name": "mine", "own_command": "true", "command": "bash x.sh"}.items():
        desk.edit(key, raw)
    for name, value in variables.items():
        desk.edit(f"env.{name}", value)
    desk.judge()
    return desk


def wrong(desk: Desk) -> dict[str, str]:
    return {problem.key: problem.cause for problem in desk.troubles()}


@pytest.mark.parametrize("name", PLATFORM_ENV)
@pytest.mark.parametrize("value", ["abc", "1e", "nan", "五"])
def test_an_own_command_gets_numbers_where_the_platform_has_numbers(name: str, value: str) -> None:
    """The platform's train.sh would fail on it after minutes of loading."""
    assert wrong(own_command(**{name: value})) == {f"env.{name}": "it must be a number"}


def test_numbers_and_other_variables_of_an_own_command_are_left_alone() -> None:
    """What else a person's script reads is nobody's business."""
    desk = own_command(lr="1e-5", resolution="512", WORDS="abc", max_train_steps="")
    assert wrong(desk) == {}


def test_an_empty_command_is_told_in_words() -> None:
    """``String should have at least 1 character`` is a sentence for programmers."""
    desk = own_command()
    desk.edit("command", "")
    desk.judge()
    assert wrong(desk) == {"command": "it is empty"}

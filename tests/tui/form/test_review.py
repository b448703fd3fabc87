"""The last part of the form: what stands against the task, and what would run."""

from collections import defaultdict

from rich.style import Style

from sdtui.form.desk import Desk
from sdtui.form.facts import Look
from sdtui.form.review import review_text


def words(desk: Desk) -> str:
    return review_text(desk, defaultdict(Style)).plain


def test_a_fault_is_told_once_and_by_the_name_of_its_field() -> None:
    """``Source (mounts.0.source)`` names none of three folders, and the check says it again."""
    desk = Desk()
    desk.draft.add_standard_mounts()
    desk.edit("name", "pokemon")
    desk.edit("mounts.0.source", "/data")
    fault = {"what": "/data holds no images", "cause": "the folder is empty", "remedy": "fill it"}
    desk.look = Look({"gpus": [{"name": "H800"}]}, {"/mnt/dataset": {"error": fault}})
    desk.judge()

    assert "✗ Data set /mnt/dataset (mounts.0.source): the folder is empty: fill it" in words(desk)

    desk.report = desk.final_task(), {"findings": [{"level": "error", **fault}], "facts": {}}

    assert words(desk).count("the folder is empty") == 1
    assert "✗ /data holds no images\n  the folder is empty\n  → fill it\n" in words(desk)

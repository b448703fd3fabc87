"""No record of a run, whoever wrote it, shows a secret that can be known."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdtui.cli import main
from sdtui.live.catalogue import Catalogue
from sdtui.live.reader import RunReader
from sdtui.secrets import PatternMask, mask_of
from support.console import Driven, drive
from support.fake_runs import exit_record, make_run, metric

TOKEN = "hf_abcdefghijklmnopqrstuvwxyz"
TASK = f'name = "x"\n[env]\nHF_TOKEN = "{TOKEN}"\nplain = "visible words"\n'


def _told(token: str) -> dict[str, object]:
    """Return what a start command of a person's own may write as the end of a run."""
    words = f"login with {token} failed"
    return exit_record("failed", reason=words, remedy=words, cause=words, last_lines=[words])


def test_an_end_written_by_another_program_is_masked() -> None:
    """Our supervisor masks what it writes; a wrapper script that writes exit.json does not."""
    run = make_run(task=TASK.encode(), exit=_told(TOKEN), metrics=[metric(1)])

    async def story(it: Driven) -> None:
        await it.until("login with *** failed")
        it.app.open_run(run.id)
        await it.until("remedy: login with ***")
        assert TOKEN not in it.text()
        assert TOKEN not in repr(it.app.view)

    drive(story, (140, 40))


def test_json_for_scripts_is_masked_too(capsys: pytest.CaptureFixture[str]) -> None:
    """What a script prints ends in the log of a build, for all to read."""
    make_run(task=TASK.encode(), exit=_told(TOKEN))

    assert main(["ls", "--json"]) == 0

    text = capsys.readouterr().out
    assert json.loads(text)[0]["reason"] == "login with *** failed"
    assert TOKEN not in text


@pytest.mark.parametrize(
    "task",
    [
        TASK + "[broken",
        TASK.replace('"visible words"', '"visible'),
        f'env = {{ API_KEY = "{TOKEN}", other = 3',
        None,
    ],
)
def test_a_task_that_cannot_be_read_gives_away_nothing(task: str | None) -> None:
    """A file cut by a full disk names no secrets; its lines, and their looks, still tell them."""
    content = None if task is None else task.encode()
    run = make_run(task=content, exit=_told(TOKEN), events=[{"kind": "warning", "text": TOKEN}])

    (listed,) = Catalogue().poll()
    reader = RunReader(run)
    opened = reader.poll()
    reader.close()

    assert TOKEN not in repr((listed, opened.status, opened.events))
    assert listed.reason == "login with *** failed"


def test_a_secret_without_a_well_known_look_is_found_by_its_line() -> None:
    """Of a database's password nothing tells what it is, but the name before it."""
    run = make_run(task=b'[env]\nDB_PASSWORD = "quite plain words"\n[broken')

    mask = mask_of(run)

    assert mask("it is quite plain words") == "it is ***"
    assert mask('{"password": "another one"}') == '{"password": ***}'
    assert mask("WANDB_API_KEY=0123456789abcdef") == "WANDB_API_KEY=***"
    assert mask("plain words") == "plain words"


def test_a_run_whose_secrets_are_known_is_shown_as_it_is() -> None:
    """Looks deceive: a log that says ``tokens: 123456`` is no secret."""
    run = make_run(task=TASK.encode())

    assert mask_of(run)("tokens: 123456 keys=abcdefgh") == "tokens: 123456 keys=abcdefgh"


@given(st.text(alphabet="tokenkey=:\"' _-\n", max_size=300))
def test_looking_for_secrets_ends_soon(text: str) -> None:
    """A line of a log may be long and hostile."""
    begun = time.process_time()

    PatternMask()(text * 50)

    assert time.process_time() - begun < 10, "what is quadratic takes minutes"

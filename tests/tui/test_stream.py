"""What `--json` writes, held to what `sdtui schema events` prints, as a foreign program would."""

import json
import os
import signal
from typing import Any

import pytest

from sdcore.runs import requests
from sdcore.runs.paths import RunDir
from sdtui import cli, headless
from sdtui.stream import stream_schema
from support.fake_runs import exit_record, make_run, metric

_TYPES: dict[str, type | tuple[type, ...]] = {
    "object": dict, "array": list, "string": str, "integer": int, "number": (int, float),
    "boolean": bool, "null": type(None),
}  # fmt: skip
SECRET = "hunter2-secret"


def fits(value: Any, schema: dict[str, Any], root: dict[str, Any]) -> bool:
    """Validate by JSON schema, as far as our schemas use it."""
    if "$ref" in schema:
        return fits(value, root["$defs"][schema["$ref"].rpartition("/")[2]], root)
    choices = schema.get("oneOf") or schema.get("anyOf")
    if choices and not any(fits(value, choice, root) for choice in choices):
        return False
    if "const" in schema and value != schema["const"]:
        return False
    if value not in schema.get("enum", [value]):
        return False
    if "type" in schema and not isinstance(value, _TYPES[schema["type"]]):
        return False
    if isinstance(value, int | float) and value < schema.get("minimum", value):
        return False
    if isinstance(value, list):
        return all(fits(item, schema.get("items", {}), root) for item in value)
    return not isinstance(value, dict) or _fits_object(value, schema, root)


def _fits_object(value: dict[str, Any], schema: dict[str, Any], root: dict[str, Any]) -> bool:
    known = schema.get("properties", {})
    if schema.get("additionalProperties") is False and not set(value) <= set(known):
        return False
    if not set(schema.get("required", [])) <= set(value):
        return False
    return all(fits(item, known.get(key, {}), root) for key, item in value.items())


@pytest.mark.parametrize("command", [["attach", "--json"], ["wait", "--json"]])
def test_every_line_fits_the_printed_schema(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """A diverged loss, or a start command of somebody's own that writes fewer numbers."""
    bare = {"at": 1.0, "attempt": 1, "step": 2, "loss": 0.5}
    odd = metric(3, loss=float("inf")) | {"grad_norm": float("nan"), "images_per_s": float("inf")}
    event = {"at": 1.0, "attempt": 1, "kind": "non_finite", "step": 1, "loss": float("nan")}
    run_id = make_run(
        exit=exit_record("failed", last_loss=float("nan")),
        metrics=[metric(1, loss=float("nan")), bare, odd, metric(4) | {"epoch": -1.0, "lr": -1.0}],
        events=[event | {"timesteps": [1], "files": ["a.png"], "good_checkpoint": None}],
    ).id

    cli.main([*command, run_id])

    schema = stream_schema()
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines
    assert [line for line in lines if not fits(line, schema, schema)] == []
    assert not fits({"type": "metrics", "step": "x"}, schema, schema), "the validator refuses"


@pytest.mark.parametrize(
    "command", [["attach"], ["attach", "--json"], ["wait", "--json"], ["show"], ["show", "--json"]]
)
def test_no_screen_shows_a_secret_that_the_trainer_told(
    command: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    """Libraries quote the token in their errors, and private keys have many lines."""
    key = "-----BEGIN KEY-----\nline-of-a-key\n-----END KEY-----"
    text = f"401: token {SECRET} is not valid; line-of-a-key"
    run_id = make_run(
        task=f'name = "x"\n[env]\nHF_TOKEN = "{SECRET}"\nSSH_KEY = {json.dumps(key)}\n'.encode(),
        launch={"argv": ["bash", "-c", f"curl {SECRET}"], "env": {}},
        exit=exit_record("failed", reason=text, remedy=text, last_lines=[text]),
        events=[{"at": 1.0, "attempt": 1, "kind": "warning", "text": text}],
    ).id

    cli.main([*command, run_id])

    shown = "".join(capfd.readouterr())
    assert "401: token ***" in shown
    assert SECRET not in shown
    assert "line-of-a-key" not in shown


def test_ctrl_c_during_a_detached_start_stops_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """The start cannot be cut in two, so the signal waits; it must not be lost meanwhile."""
    run = make_run()

    def start(*_: object, **__: object) -> RunDir:
        os.kill(os.getpid(), signal.SIGINT)
        return run

    def end(*_: object, **__: object) -> bool:
        run.exit.write_text(json.dumps(exit_record("stopped", exit_code=130)))
        asked.append(True)
        return True

    asked: list[bool] = []
    monkeypatch.setattr(headless, "start_run", start)
    monkeypatch.setattr(requests, "ask", end)
    preset = run.root / "p.toml"
    preset.write_text('command = "true"\n[gpu]\ncount = 0\n')

    assert cli.main(["--run", str(preset), "--detach"]) == 130
    assert asked

"""A disk that is full when the run ends, on a real file system of one megabyte."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

_UNSHARE = ["unshare", "--user", "--map-root-user", "--mount", "--propagation", "private"]

# Runs inside a mount namespace of its own, as its supervisor then does too.
_SCENE = """
import json, os, sys, time
from pathlib import Path
from process.supervise.harness import Bench, python, until
from sdcore.runs.files import read_json

home = Path(os.environ["SDTUI_HOME"])
bench = Bench(home)
fill = home / "fill"
code = (
    f"f = open({str(fill)!r}, 'wb', buffering=0)\\n"
    "try:\\n"
    "  while True: f.write(b'x' * 512)\\n"
    "except OSError: raise SystemExit(3)"
)
run = bench.start(python(code))
supervisor = run.supervisor
time.sleep(1.5)  # several attempts
missing = not run.dir.exit.exists() and os.path.exists(f"/proc/{supervisor}")
left = [p.name for p in run.dir.root.iterdir() if p.name.startswith(".")]
fill.unlink()
print(json.dumps({"missing": missing, "left": left, "record": run.exit()}))
"""


def test_a_full_disk_delays_the_record_and_loses_nothing(tmp_path: Path) -> None:
    """The checkpoint filled the disk: that is when the exit record is written."""
    home = tmp_path / "small"
    home.mkdir()
    if subprocess.run([*_UNSHARE, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this host lets nobody make a mount namespace")
    tests = Path(__file__).parents[2]
    scene = subprocess.run(
        [*_UNSHARE, "sh", "-c", 'mount -t tmpfs -o size=1m small "$0" && exec "$@"', str(home),
         sys.executable, "-c", _SCENE],
        env={**os.environ, "SDTUI_HOME": str(home), "PYTHONPATH": str(tests)},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert scene.returncode == 0, scene.stderr
    seen = json.loads(scene.stdout)
    assert seen["missing"], "the disk was full and yet there was a record"
    assert seen["left"] == [], "a half record in the way of the next"
    assert (seen["record"]["code"], seen["record"]["state"]) == (3, "failed")

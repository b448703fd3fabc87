"""What the console costs: bytes, time to the first picture, answers to keys, CPU and memory.

    python benchmarks/console.py [--quick] [--only NAME ...] [--wandb PATH]

Every figure is read outside the program, at its pseudo-terminal or in ``/proc``. What is compared
with something else is measured beside it in the same minutes, because these machines are noisy:
the first picture beside an empty Textual application, the bytes beside W&B LEET when the path of a
``wandb`` 0.31 or later is given.
"""

import argparse
import json
import math
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from support.fake_runs import T0, exit_record, fake_training, make_run, metric  # noqa: E402
from support.pty_console import PtyConsole  # noqa: E402

SSH = {"SSH_CONNECTION": "192.0.2.1 5000 192.0.2.2 22"}
SIZES = [(140, 40), (80, 24)]
EMPTY = (
    "from textual.app import App\nfrom textual.widgets import Static\n"
    "class Empty(App):\n    def compose(self): yield Static('ready to go')\nEmpty().run()"
)
LEET_RUN = """
import math, random, time, wandb
run = wandb.init(project="bench", mode="offline", dir={folder!r})
for step in range(100000):
    run.log({{"loss": math.exp(-step / 300) + random.gauss(0, 0.02), "lr": 1e-5,
              "grad_norm": abs(random.gauss(0.4, 0.1))}})
    time.sleep(0.1)
"""
KEYS = {"t, another metric": "t", "4 and 3, to the log and back": "43", "?, the help and away": "?"}
FIRST = [  # what is opened, its key, and what shows that it is there
    ("a run", "\r", "train_loss"), ("the form", "2", "Description"),
    ("the settings", ",", "What is sent"),
]  # fmt: skip
LIVE = ("--name", "bench", "--steps", "150000", "--rate", "10", "--every", "500")
QUIET = subprocess.DEVNULL
Rows = list[tuple[str, str, str]]


def main() -> int:
    """Measure everything and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a minute instead of a quarter hour")
    parser.add_argument("--wandb", metavar="PATH", help="measure W&B LEET beside us with this")
    measures = (first_picture, first_keys, wire, keys, long_run, long_log, following)
    names = [measure.__name__ for measure in measures]
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME",
                        help=", ".join(names))  # fmt: skip
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"SDTUI_HOME": f"{folder}/home", "XDG_CONFIG_HOME": f"{folder}/config"}
        # Both applications compiled, as an installation leaves them.
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        rows: Rows = []
        for measure in (each for each in measures if each.__name__ in args.only):
            for kept in ("home", "config"):  # each begins with its own runs, and looks as at first
                shutil.rmtree(f"{folder}/{kept}", ignore_errors=True)
            rows += (found := measure(args))
            print(*found, sep="\n", file=sys.stderr)
        if args.wandb:
            rows += leet(args, Path(folder))
    print("| what | measured | goal |\n|---|---|---|")
    for row in rows:
        print("| " + " | ".join(row) + " |")
    return 0


def first_picture(args: argparse.Namespace) -> Rows:
    """Time from the start of the process to the first text, ours and an empty application's."""
    for n in range(30):
        make_run(f"20260806-0706{n:02d}-run-{n}", exit=exit_record(), metrics=[metric(1)])

    def timed(argv: list[str], text: str) -> float:
        begun = time.monotonic()
        with PtyConsole(140, 40, argv=argv) as it:
            while text.encode() not in it.stream:  # as it comes; drawing it is the terminal's work
                time.sleep(0.001)
                if time.monotonic() - begun > 30:
                    raise TimeoutError(it.text())
            return time.monotonic() - begun

    timed([sys.executable, "-m", "sdtui"], "run-29")
    ours, empty = [], []
    for _ in range(3 if args.quick else 9):  # in turns, so that noise meets both
        empty.append(timed([sys.executable, "-c", EMPTY], "ready to go"))
        ours.append(timed([sys.executable, "-m", "sdtui"], "run-29"))
    ratio = statistics.median(ours) / statistics.median(empty)
    told = f"{statistics.median(ours):.2f} s / {statistics.median(empty):.2f} s = {ratio:.2f}"
    return [("first picture with 30 runs, against an empty Textual application", told, "1.3")]


def first_keys(args: argparse.Namespace) -> Rows:
    """Time from the first key that opens a screen to that screen, soon after the start and later.

    While nobody types, the console loads and composes screens ahead.
    """
    make_run("20260806-070640-short", exit=exit_record(), metrics=[metric(n) for n in range(99)])
    rows = []
    for name, key, text in FIRST:
        medians = []
        for idle in (1, 15):
            times = []
            for _ in range(2 if args.quick else 5):
                with PtyConsole(140, 40) as it:
                    it.until("short")
                    time.sleep(idle)
                    it.text()
                    begun = time.monotonic()
                    it.press(key)
                    times.append(_came(it, lambda it=it, text=text: text in it.drawn()) - begun)
            medians.append(f"{statistics.median(times):.2f} s after {idle} s")
        rows.append((f"first key: {name}", ", ".join(medians), ""))
    return rows


def wire(args: argparse.Namespace) -> Rows:
    """Bytes of a live run at 10 steps/s over SSH."""
    rows: Rows = []
    seconds = 10 if args.quick else 60
    goals = {(140, 40, False): 1.2, (80, 24, False): 0.8, (140, 40, True): 2.5, (80, 24, True): 1.5}
    for columns, lines in SIZES:
        for log in (False, True):
            for frames in ("changed", "stock"):
                settings(frames=frames)
                shutil.rmtree(f"{os.environ['SDTUI_HOME']}/runs", ignore_errors=True)
                with (
                    fake_training(*LIVE, "--gpus", "2", *([] if log else ["--quiet"])),
                    PtyConsole(columns, lines, **SSH) as it,
                ):
                    it.until("bench")
                    it.press("\r")
                    it.until("train_loss")
                    time.sleep(6)
                    rate = it.rate(seconds) / 1000
                name = f"{columns}x{lines}, {'log at 1 line/s' if log else 'no log lines'}"
                goal = f"{goals[columns, lines, log]} KB/s" if frames == "changed" else ""
                sent = "changed cells" if frames == "changed" else "Textual's own frames"
                rows.append((f"bytes, {name}, {sent}", f"{rate:.2f} KB/s", goal))
    settings(frames="changed")
    return rows


def keys(args: argparse.Namespace) -> Rows:
    """Time from a key to its answer on the screen, while a run logs 1,000 lines/s."""
    with (
        fake_training(*LIVE, "--flood", "1000"),
        PtyConsole(140, 40) as it,
    ):
        it.until("bench")
        it.press("\r")
        it.until("train_loss")
        time.sleep(3)
        rows = []
        for name, wanted in KEYS.items():
            times = [_answer(it, wanted[n % len(wanted)]) for n in range(20 if args.quick else 60)]
            told = f"key while 1,000 lines/s are logged: {name}"
            rows.append((told, _spread(times), "50 ms"))
    return rows


def _spread(times: list[float]) -> str:
    ordered = sorted(1000 * each for each in times)
    nineteen = ordered[int(len(ordered) * 0.95)]
    return f"median {statistics.median(ordered):.0f} ms, 95 % below {nineteen:.0f} ms"


def _answer(it: PtyConsole, key: str) -> float:
    """Time from a key until what shows other panes, or another thing in a pane, has come.

    What changes by itself, the lines of a log for one, does not count; nor does the time that the
    emulator takes to draw what came.
    """

    def shown() -> list[str]:
        return re.findall(r"── (\w+)", it.drawn())

    time.sleep(0.3)  # what the key before it set off is over
    it.text()
    before = shown()
    begun = time.monotonic()
    it.press(key)
    return _came(it, lambda: shown() != before) - begun


def _came(it: PtyConsole, there: Callable[[], bool]) -> float:
    """Return when the bytes came that made the screen be so."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        came = it.draw()
        if came is None:
            time.sleep(0.001)
        elif there():
            return came
    raise TimeoutError(it.text())


def long_run(args: argparse.Namespace) -> Rows:
    """Open a run of a million steps."""
    steps = 100_000 if args.quick else 1_000_000
    run = make_run("20260901-000000-million", exit=exit_record(last_step=steps, total_steps=steps))
    with run.metrics.open("w") as file:
        for n in range(1, steps + 1):
            line = {"at": T0 + n, "attempt": 1, "step": n, "epoch": n / 100, "lr": 1e-5,
                    "loss": 0.1 + math.exp(-n / steps * 5) * (1 + 0.1 * math.sin(n)),
                    "grad_norm": 0.4, "images_per_s": 64.0}  # fmt: skip
            file.write(json.dumps(line) + "\n")
    size = run.metrics.stat().st_size / 1e6
    with PtyConsole(140, 40) as it:
        it.until("million")
        begun = time.monotonic()
        it.press("\r")
        it.until(lambda: sum("\u2801" <= sign <= "\u28ff" for sign in it.text()) > 100)
        chart = time.monotonic() - begun
        times = [_answer(it, "t") for _ in range(10)]
        it.until(lambda: "reading" not in it.text(), seconds=300)
        whole = time.monotonic() - begun
        memory = _memory(it)
    run.metrics.unlink()
    name = f"a run of {steps:,} steps ({size:.0f} MB)"
    return [
        (f"{name}: full chart", f"{chart:.2f} s", "1.5 s"),
        (f"{name}: slowest key meanwhile", f"{1000 * max(times):.0f} ms", "not blocked"),
        (f"{name}: every step read, memory then", f"{whole:.0f} s, {memory:.0f} MB", ""),
    ]


def long_log(args: argparse.Namespace) -> Rows:
    """Open a log of 1 GB at its end."""
    run = make_run("20260902-000000-longlog", exit=exit_record(), metrics=[metric(1)])
    block = b"".join(b"12:00:00 INFO step=%07d loss=0.1234 lr=1e-05\n" % n for n in range(20_000))
    with run.log.open("wb") as file:
        while file.tell() < (100 if args.quick else 1000) * 1_000_000:
            file.write(block)
        file.write(b"this is the very last line\n")
    size = run.log.stat().st_size / 1e9
    with PtyConsole(140, 40) as it:
        it.until("longlog")
        it.press("\r")
        it.until("longlog")
        time.sleep(1)
        it.press("1")
        time.sleep(0.5)
        begun = time.monotonic()
        it.press("4")
        it.until("this is the very last line")
        taken = time.monotonic() - begun
    run.log.unlink()
    return [(f"a log of {size:.1f} GB at its end", f"{taken:.2f} s", "0.3 s")]


def following(args: argparse.Namespace) -> Rows:
    """CPU and memory while a live run is followed over SSH."""
    minutes = 0.3 if args.quick else 10
    with fake_training(*LIVE, "--gpus", "8"), PtyConsole(140, 40, **SSH) as it:
        it.until("bench")
        it.press("\r")
        it.until("train_loss")
        time.sleep(5)
        begun, cpu, first = time.monotonic(), _cpu(it), _memory(it)
        time.sleep(minutes * 60)
        share = (_cpu(it) - cpu) / (time.monotonic() - begun)
        last = _memory(it)
    name = f"following a run at 10 steps/s for {minutes:g} minutes"
    return [
        (f"{name}: CPU", f"{100 * share:.1f} % of one core", "5 %"),
        (f"{name}: memory", f"{first:.0f} MB, then {last:.0f} MB", "100 MB, flat"),
    ]


def leet(args: argparse.Namespace, folder: Path) -> Rows:
    """The same bytes for W&B LEET: three metrics at 10 steps/s."""
    python = Path(args.wandb).with_name("python")
    rows: Rows = []
    argv = [python, "-c", LEET_RUN.format(folder=str(folder))]
    env = {**os.environ, "WANDB_DIR": str(folder)}
    with subprocess.Popen(argv, env=env, stdout=QUIET, stderr=QUIET) as process:
        time.sleep(15)
        for columns, lines in SIZES:
            argv = [args.wandb, "leet", str(folder / "wandb" / "latest-run")]
            with PtyConsole(columns, lines, argv=argv, **SSH) as it:
                it.until("loss")
                time.sleep(6)
                rate = it.rate(10 if args.quick else 60) / 1000
            rows.append((f"bytes, W&B LEET, {columns}x{lines}", f"{rate:.2f} KB/s", ""))
        process.kill()
    return rows


def settings(**values: str) -> None:
    """Write the console's settings."""
    path = Path(os.environ["XDG_CONFIG_HOME"], "sdtui", "config.toml")
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f'{key} = "{value}"' for key, value in values.items()]
    path.write_text("\n".join(["[console]", *lines]) + "\n")


def _cpu(it: PtyConsole) -> float:
    """Return the seconds of CPU that the console and its helpers have used."""
    return _sum(it, lambda pid: sum(map(int, _stat(pid)[11:15])) / os.sysconf("SC_CLK_TCK"))


def _memory(it: PtyConsole) -> float:
    """Return the resident memory of the console and its helpers, in MB."""
    page = os.sysconf("SC_PAGE_SIZE")
    return _sum(it, lambda pid: int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * page / 1e6)


def _sum(it: PtyConsole, of: Callable[[int], float]) -> float:
    pid = it.process.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return sum(of(each) for each in [pid, *map(int, children)])


def _stat(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


if __name__ == "__main__":
    sys.exit(main())

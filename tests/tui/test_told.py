"""What the core tells in English, told in the language of the console."""

import ast
import itertools
import re
import string
from collections.abc import Iterator
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from sdtui import language, told
from sdtui.sentences import ALL, SOURCES

ROOT = Path(__file__).parents[2]
# What the form, the dialogs and a run's own records show of the core.
_SHOWN = (
    "checks/*.py", "data/*.py", "launch/runtimes/*.py", "cluster/calls.py", "cluster/submission.py",
    "task/*.py", "supervise/*.py", "supervise/foreign/*.py", "runs/jobs.py", "runs/paths.py",
    "runs/status.py", "runs/store.py", "train/*.py",
)  # fmt: skip
_TELLERS = {"Finding", "NotReadyError", "UsageError", "BadImageError", "Choice", "Program",
            "ValueError", "SdError", "Outcome", "DiskFullError", "warn", "choice"}  # fmt: skip
_TOLD = {"what", "cause", "why", "remedy", "fault", "trouble", "worry", "reason", "because",
         "STARTS_OVER", "NO_STEPS", "TOO_SLOW"}  # fmt: skip
# English that a half known sentence would leave beside the Chinese; not within `a command`.
_LEFT = re.compile(r"\b(?:the|of|is|it|its|cannot|and|was|this|or|to|has|are|be|an?|with|not)\b")
_NOT_SHOWN = {  # errors of the code, and sentences of which a variable holds a part
    "row 12 of 12", "the row holds neither bytes nor a path", "it holds values that are not finite",
    "it makes the mount points12", "placeholders such as $DATASET_DIR stand for the folders12",
    "model_index.json says 12, and the U-Net 12 one of SDXL",
    "the host runtime makes no mount points, and ", "runtime = 12 needs the name of an image, 12",
    "12 12 of 12 has no '12'", "12 12 of 12 names no image of this folder", "it 12", "12, or 12",
    "12is 12", "12is 12: 12", "12sdtui ls lists the runs", "the model 12 12", "the model's 12",
    "the 12 of the 12 12", "Slurm restarted its job 12 times; cluster.restarts allows ",
    "a record of 12 bytes, not 12", "moments of shape 12, not 12",
    "a record was cut short here: one more would lie at a wrong place",
    # Names of settings and a command, the same in every language.
    "resolution 12: 12", "lr_scheduler 12", "lora_target_modules 12", "mixed_precision fp16",
    "mixed_precision bf16", "validation_split 12", "timestep_bias_end 12", "train_batch_size 12",
    "sdtui resume 12",
}  # fmt: skip


def test_sentences_of_the_core_are_known_again() -> None:
    """The core changes a sentence, and a person reads English amid Chinese from then on."""
    pieces = set()
    for path in (ROOT / "core" / "sdcore").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                pieces.add(node.value)
    everything = "\n".join(pieces)
    for template in SOURCES:
        for _name, words in _split(template):
            assert words in everything, template


def test_each_sentence_stands_in_one_place() -> None:
    """Of two that are the same one is mended, and the other is told."""
    assert sorted(ALL) == sorted(set(ALL))


def test_every_reason_that_the_console_shows_can_be_told_in_chinese() -> None:
    """A check is added in English alone, and the one sentence that matters cannot be read."""
    core = ROOT / "core" / "sdcore"
    found = {
        sentence
        for shown in _SHOWN
        for path in core.glob(shown)
        for sentence in _sentences(ast.parse(path.read_text("utf-8")))
    }
    assert len(found) > 450
    language.use("zh_CN")

    said = {sentence: told.told(sentence) for sentence in found - _NOT_SHOWN}

    assert not {sentence for sentence, words in said.items() if words == sentence}
    half = {words for words in said.values() if _LEFT.search(re.sub(r"`[^`]*`|'[^']*'", "", words))}
    assert not half


def _sentences(tree: ast.AST) -> Iterator[str]:
    """Yield what is told in a module, with 12 for every value in it."""
    for node in ast.walk(tree):
        given: list[ast.expr] = []
        if isinstance(node, ast.Call) and _name(node.func) in _TELLERS:
            given = [*node.args, *(each.value for each in node.keywords)]
        elif isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") in _TOLD:
            given = [node.value]
        for expression in given:
            yield from (s for s in _ways(expression) if re.search(r"[a-z]{2}.* ", s))


def _name(called: ast.expr) -> str:
    return str(getattr(called, "id", getattr(called, "attr", "")))


def _ways(node: ast.expr) -> list[str]:
    """Return the texts an expression can have; none where there is no text in it."""
    if isinstance(node, ast.Constant):
        return [node.value] if isinstance(node.value, str) else []
    if isinstance(node, ast.IfExp):
        return _ways(node.body) + _ways(node.orelse)
    if isinstance(node, ast.BoolOp):
        return [form for value in node.values for form in _ways(value)]
    if isinstance(node, ast.FormattedValue):
        return _ways(node.value) or ["12"]
    if isinstance(node, ast.JoinedStr):
        parts = [_ways(value) for value in node.values]
        return ["".join(each) for each in itertools.product(*parts)]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = _ways(node.left), _ways(node.right)
        both = itertools.product(left or ["12"], right or ["12"])
        return ["".join(each) for each in both] if left or right else []
    return []


def _split(template: str) -> Iterator[tuple[str | None, str]]:
    for words, name, _spec, _conversion in string.Formatter().parse(template):
        if words.strip():
            yield name, words


@given(
    st.lists(
        st.sampled_from([*ALL, "; ", ": ", ", ", "x", " and 3 more"]),
        min_size=1,
    )
)
def test_no_text_of_the_core_breaks_the_console(parts: list[str]) -> None:
    """A cause that quotes a hundred columns would end the console in a recursion."""
    language.use("zh_CN")
    assert told.told("".join(parts))
    assert told.told("a, " * 2000 + "it is empty")


def test_values_within_a_sentence_are_kept() -> None:
    """A number or a path that changes on its way into another language is a lie."""
    language.use("zh_CN")

    assert told.told("rank 3 ran out of GPU memory") == "rank 3 显存不足"
    assert told.told("this host has no GPU (Driver Not Loaded)") == "本机：没有 GPU（驱动未加载）"
    assert told.told("input should be greater than 0 (it is '-1')") == "应大于 0（现为 '-1'）"
    assert told.told("{x} of its own [b]") == "{x} of its own [b]"
    assert told.told("sbatch: error: x; y") == "sbatch: error: x; y"
    assert (
        told.told("a.png: it is empty (0 bytes); b.png: z")
        == "a.png：它是空文件（0 字节）；b.png: z"
    )
    assert told.told("3 images of 1,000 checked cannot be used") == (
        "3 张图片（已检查 1,000 张）无法使用"
    )

    assert told.told("stopped by console; a checkpoint was saved") == "由控制台停止；已保存检查点"
    assert told.told("its job 7 is running: x") == "它的作业 7 状态为运行中：x"

    language.use("en")
    assert told.told("training finished") == "training finished"

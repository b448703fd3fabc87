"""Flags of diffusers' LoRA and SDXL scripts that have another name here, or none.

A command line written for one of those scripts works as it is; what has no effect is said.
"""

from collections.abc import Sequence

from sdcore.errors import UsageError

_PROMPT, _NUMBER, _DEBUG = "--validation_prompt", "--num_validation_images", "--debug_loss"
_NPU = "--enable_npu_flash_attention"
_NO_NUMBER = f"{_NUMBER[2:]} has no effect: each prompt is drawn once, always with its own seed"
_NO_DEBUG = (
    f"{_DEBUG[2:]} has no effect: the loss of each tenth of the schedule is told in events.jsonl, "
    "and a loss that is not finite with the names of its images"
)


def translated(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return our flags for those of any of the scripts, and what to know of them.

    Raises:
        UsageError: A flag asks for what this trainer does not have.
    """
    words: list[str] = []
    notes: dict[str, None] = {}
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        flag, equals, value = word.partition("=")
        if flag == _PROMPT:
            # With its value in one word: a prompt may begin with a dash.
            words.append(f"{_PROMPT}s={value if equals else rest.pop(0) if rest else ''}")
        elif flag == _NUMBER:
            if not equals and rest:
                rest.pop(0)
            notes[_NO_NUMBER] = None
        elif word == _DEBUG:
            notes[_NO_DEBUG] = None
        elif word == _NPU:
            raise _no_npu()
        else:
            words.append(word)
    return words, list(notes)


def _no_npu() -> UsageError:
    return UsageError(
        _NPU,
        cause="it is for Ascend NPUs, and the trainer computes on NVIDIA GPUs and CPUs",
        remedy="leave it out: torch's own attention is fast on those",
    )

"""``python -m sdcore.train.lora``: for a command line of diffusers' LoRA script.

That script has no flag that says LoRA, it is one: only its name changes. Two of its flags have
another name here, or none.
"""

import sys
from collections.abc import Sequence

from sdcore.train.entry import main
from sdcore.train.report import say

_NUMBER = "--num_validation_images"


def translated(argv: Sequence[str]) -> list[str]:
    """Return the flags of our trainer for those of ``train_text_to_image_lora.py``."""
    words, argv = ["--train_lora"], list(argv)
    while argv:
        flag, equals, value = argv.pop(0).partition("=")
        if flag == "--validation_prompt":
            # With its value in one word: a prompt may begin with a dash.
            value = value if equals else argv.pop(0) if argv else ""
            flag, equals = "--validation_prompts", "="
        elif flag == _NUMBER:
            if not equals and argv:
                argv.pop(0)
            say(f"{_NUMBER[2:]} has no effect: each prompt is drawn once, always with its own seed")
            continue
        words.append(f"{flag}{equals}{value}")
    return words


if __name__ == "__main__":
    sys.exit(main(translated(sys.argv[1:])))

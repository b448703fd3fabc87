"""``python -m sdcore.train.lora``: for a command line of diffusers' LoRA scripts.

Those have no flag that says LoRA, they are it: only the name of the script changes.
"""

import sys
from collections.abc import Sequence

from sdcore.train.entry import main


def adapted(argv: Sequence[str]) -> list[str]:
    """Return the flags that train adapters as ``argv`` asks for."""
    return ["--train_lora", *argv]


if __name__ == "__main__":
    sys.exit(main(adapted(sys.argv[1:])))

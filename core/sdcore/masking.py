"""Which variables of an environment are secrets, and what stands in their place.

Apart from the plan that carries them, for the console's first picture needs no more than this.
"""

import re

MASK = "***"
_SECRET = re.compile(r"TOKEN|KEY|SECRET|PASSWORD", re.IGNORECASE)


def is_secret(name: str) -> bool:
    """Say whether a variable of this name may hold a secret."""
    return _SECRET.search(name) is not None


def mask_env(env: dict[str, str]) -> dict[str, str]:
    """Return ``env`` with the value of every secret replaced."""
    return {name: MASK if is_secret(name) else value for name, value in env.items()}

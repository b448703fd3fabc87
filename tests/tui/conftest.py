"""What every test of the console leaves behind as it found it."""

from collections.abc import Iterator

import pytest

from sdtui import language


@pytest.fixture(autouse=True)
def _english_again() -> Iterator[None]:
    """The language is one for the process: other tests expect English."""
    yield
    language.use("en")

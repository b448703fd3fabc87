"""Numbers for people."""

import pytest

from sdcore import units


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0 B"), (999, "999 B"), (1024, "1 KiB"), (13_752_000_000, "12.8 GiB"), (2**45, "32 TiB")],
)
def test_sizes_have_three_digits_and_powers_of_1024(value: int, shown: str) -> None:
    """KB that divides by 1024 is a lie peers tell."""
    assert units.size(value) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (None, "–"), (float("nan"), "–"), (-3, "0s"), (9.4, "9s"), (59.6, "1m 00s"),
        (728, "12m 08s"), (11_100, "3h 05m"), (187_200, "2d 4h"),
    ],
)  # fmt: skip
def test_durations_have_two_units_at_most(seconds: float | None, shown: str) -> None:
    """An ETA to the second of a run of days is noise."""
    assert units.duration(seconds) == shown


def test_rates_and_counts_read_as_words() -> None:
    """`1 images` looks unkept."""
    assert units.rate(12.345, "images") == "12.3 images/s"
    assert units.rate(None, "images") == "– images/s"
    assert units.count(1, "image") == "1 image"
    assert units.count(12_000, "image") == "12,000 images"

"""Text for people."""

import pytest

from rootfs.system.text import format_size


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (36_400_000, "36.4 MB"), (5_000_000_000, "5.0 GB")],
)
def test_sizes_are_in_powers_of_1000(count, text):
    assert format_size(count) == text

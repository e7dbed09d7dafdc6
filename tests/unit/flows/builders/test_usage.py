"""The caches of builders, read from buildx's output (0.38), and the filters for clearing them."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from flows.builders import usage
from flows.builders.usage import Cached
from rootfs.errors import InputError


@pytest.mark.parametrize(
    ("text", "size"),
    [("0B", 0), ("12B", 12), ("8.192kB", 8192), ("1.4MB*", 1400000), ("2GB", 2 * 10**9), ("1TB", 10**12)],
)
def test_sizes_are_read(text: str, size: int) -> None:
    assert usage.parsed(text) == size


@pytest.mark.parametrize("text", ["", "1", "MB", "1 XB", "1.2MiB", "much"])
def test_text_that_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        usage.parsed(text)


RECORD = """
{"CreatedAt":"2026-11-23 23:52:37 +0000 UTC","Description":"[1/1] ADD hello /","ID":"abc","LastUsedAt":"1 minute ago",
"Mutable":true,"Parents":null,"Reclaimable":true,"Shared":false,"Size":"8.192kB","Type":"regular","UsageCount":1}
"""


def test_records_are_read() -> None:
    record = Cached.model_validate_json(RECORD)
    assert (record.id, record.size, record.type, record.reclaimable, record.usage_count) == (
        *("abc", 8192, "regular", True),
        1,
    )
    assert (record.parents, record.last_used_at, record.description) == ((), "1 minute ago", "[1/1] ADD hello /")
    with pytest.raises(ValidationError):
        Cached.model_validate_json(RECORD.replace("8.192kB", "a lot"))


def test_the_result_of_clearing_a_cache_is_read() -> None:
    lines = [
        "ID\tRECLAIMABLE\tSIZE\tLAST ACCESSED",
        f"{'abc*':<40}\ttrue \t8.192kB   \t10 minutes ago",
        f"{'def':<40}\tfalse\t1.4MB*    \tLess than a second ago",
        f"{'ghi':<40}\ttrue \t0B        \t",
        "Total:\t1.408MB",
    ]
    found = list(usage.cleared(lines))
    assert [(each.id, each.mutable, each.reclaimable, each.size, each.shared, each.last_used_at) for each in found] == [
        ("abc", True, True, 8192, False, "10 minutes ago"),
        ("def", False, False, 1400000, True, "Less than a second ago"),
        ("ghi", False, True, 0, False, ""),
    ]
    assert list(usage.cleared(["Total:\t0B"])) == []


@pytest.mark.parametrize("said", ["until", "unless=1h", "until=", "until=1d", "unused-for=3", "=1h"])
def test_a_filter_that_selects_nothing_is_refused(said: str) -> None:
    with pytest.raises(InputError):
        usage.prune(filters=[said])


@pytest.mark.parametrize("said", ["-1GB", "all", "1 XB", "GB"])
def test_an_invalid_amount_of_space_is_refused(said: str) -> None:
    with pytest.raises(InputError):
        usage.prune(keep=said)

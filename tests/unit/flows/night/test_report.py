"""A night for people."""

from __future__ import annotations

from flows.night.document import ImageNight, NightDocument, PackageChange
from flows.night.report import markdown, row

CHANGE = PackageChange(name="openssl", old="3.0.15-1", new="3.0.15-2", cves=("CVE-2026-1234",))
PUBLISHED = ImageNight(image="noble", status="published", reason="recipe changed", changes=(CHANGE,), seconds=12.34)


def test_a_line_has_the_reason_the_changes_and_the_cve_numbers() -> None:
    said = "recipe changed; openssl 3.0.15-1 → 3.0.15-2; CVE-2026-1234"
    assert row(PUBLISHED) == ("noble", "published", "12.3", said)
    named = PUBLISHED.model_copy(update={"reason": str(CHANGE), "recovered": True})
    assert row(named)[3] == "recovered; openssl 3.0.15-1 → 3.0.15-2; CVE-2026-1234"


def test_a_package_that_came_or_went_or_was_rebuilt_is_named_so() -> None:
    assert str(PackageChange(name="a", new="1")) == "a 1 added"
    assert str(PackageChange(name="a", old="1")) == "a 1 removed"
    assert str(PackageChange(name="a", old="1", new="1")) == "a 1 rebuilt"


def test_markdown_has_all_of_a_failure_and_no_text_that_means_more() -> None:
    failed = ImageNight(image="jammy", status="failed", reason="x | <b>\n  | make: error")
    text = markdown(
        NightDocument(date="d", started="s", ended="e", images=(PUBLISHED, failed), alarms=("a *late* mirror",))
    )
    assert "1 failed, 1 published" in text
    assert "| jammy | failed | 0.0 | x \\| \\<b\\> |" in text
    assert "      | make: error" in text
    assert "a \\*late\\* mirror" in text

"""The input digest: what changes it, and what must not."""

import pytest

from rootfs.archive import Release
from rootfs.errors import ToolsMissing
from rootfs.lock import Lock, input_digest, package_versions


def release(date=1_700_000_000, sha256="ab" * 32, suite="trixie"):
    return Release(address="http://a", suite=suite, sha256=sha256, date=date, signer="F" * 40)


BASE = ("sha256:recipe", Lock(releases=(release(),)), "amd64", {"apt": "3", "mmdebstrap": "1.5"})


def test_the_same_inputs_have_the_same_digest_in_whatever_order_the_tools_come():
    recipe, lock, architecture, tools = BASE
    assert input_digest(*BASE) == input_digest(recipe, lock, architecture, dict(reversed(tools.items())))


OTHER = {
    "recipe": ("sha256:other", *BASE[1:]),
    "release file": (BASE[0], Lock(releases=(release(sha256="cd" * 32),)), *BASE[2:]),
    "one suite more": (BASE[0], Lock(releases=(release(), release(suite="trixie-security"))), *BASE[2:]),
    "architecture": (*BASE[:2], "arm64", BASE[3]),
    "tool's version": (*BASE[:3], {"apt": "3", "mmdebstrap": "1.6"}),
}


@pytest.mark.parametrize("what", OTHER)
def test_another_input_has_another_digest(what):
    assert input_digest(*OTHER[what]) != input_digest(*BASE)


def test_the_epoch_is_the_newest_release_and_1970_without_any():
    assert Lock(releases=(release(5), release(9), release(7))).epoch == 9
    assert Lock().epoch == 0


def test_versions_of_the_machines_packages():
    assert list(package_versions(("dpkg",))) == ["dpkg"]
    assert package_versions(()) == {}


def test_missing_packages_are_all_named_with_the_command():
    with pytest.raises(ToolsMissing, match="no-such-a, no-such-b") as caught:
        package_versions(("dpkg", "no-such-a", "no-such-b"))
    assert "apt-get install" in caught.value.hint

"""The input digest: what changes it, and what must not."""

import pytest

from rootfs.errors import MachineError
from rootfs.lock.lock import Lock, Package, Release, are_newer, input_digest
from rootfs.process.host import package_versions


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
def test_a_different_input_has_a_different_digest(what):
    assert input_digest(*OTHER[what]) != input_digest(*BASE)


def test_the_epoch_is_the_newest_release_and_1970_without_any():
    assert Lock(releases=(release(5), release(9), release(7))).epoch == 9
    assert Lock().epoch == 0


def test_versions_of_the_machines_packages():
    assert list(package_versions(("dpkg",))) == ["dpkg"]
    assert package_versions(()) == {}


def test_missing_packages_are_all_named_with_the_command():
    with pytest.raises(MachineError, match="no-such-a, no-such-b") as caught:
        package_versions(("dpkg", "no-such-a", "no-such-b"))
    assert "apt knows no package 'no-such-a'" in caught.value.hint
    assert "a program 'no-such-b' is in none of /usr/local/sbin:" in caught.value.hint
    assert "apt-get" not in caught.value.hint


def test_digests_are_those_of_every_version_of_baseforge():
    """Fixed values: builds in old stores are found by them, and the format of a document is no part of any."""
    recipe, lock, architecture, tools = BASE
    said = {"name": "hello", "version": "1:2-3", "architecture": "amd64", "sha256": "ef" * 32, "size": 5}
    where = {"source": "hello", "archive": "http://a", "suite": "trixie", "path": "pool/hello.deb"}
    lock = Lock(releases=lock.releases, packages=(Package(**said, **where),))
    assert lock.digest == "sha256:48376aafcc8e67dac0961a5e922671e86662d148f73f698cb9ebe940b205a7d7"
    assert (
        lock.model_copy(update={"tarball": "sha256:" + "a" * 64}).digest
        == "sha256:322b2069bcbb0f2678ea26813ce8069a2724acb6260bf517762c6203b10900ac"
    )
    assert (
        input_digest(recipe, lock, architecture, tools)
        == "sha256:a4270f8904c96f0d6dd933f715f6ebd45898861b658174f110851e943e08adb2"
    )
    assert (
        input_digest(recipe, lock, architecture, tools, "sha256:parent", {"a": "sha256:b"})
        == "sha256:fe831ecda6e0c0298aadcf80698d09350de1261db268bf420ae34c3b8758d443"
    )


@pytest.mark.parametrize(
    ("tools", "than", "newer"),
    [
        ({"a": "1.3", "b": "2"}, {"a": "1.3", "b": "2"}, True),
        ({"a": "1.4", "b": "2"}, {"a": "1.3", "b": "2"}, True),
        ({"a": "1.3+deb13u1"}, {"a": "1.3"}, True),
        ({"a": "1:0.9"}, {"a": "1.3"}, True),
        ({"a": "1.3~rc1"}, {"a": "1.3"}, False),
        ({"a": "1.4", "b": "1"}, {"a": "1.3", "b": "2"}, False),
        ({"a": "1.4"}, {"a": "1.3", "b": "2"}, False),
        ({"a": "1.4", "b": "2"}, {"a": "1.3"}, False),
        ({"a": "sha256:bb"}, {"a": "sha256:aa"}, False),
    ],
)
def test_tools_are_newer_if_none_is_older(tools, than, newer):
    assert are_newer(tools, than) == newer

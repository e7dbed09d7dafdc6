"""The inputs of a build: the newest lock, or an earlier one with the same packages."""

import pytest

from flows.inputs.resolve import ImageInputs, resolve_image, settled
from flows.publish.record import Record
from flows.publish.stored_builds import keep_record
from rootfs.lock.lock import Lock, Package, Release
from rootfs.process.host import native_architecture
from rootfs.system.platforms import platform_name
from tests.support.contexts import build_context, context

OWN = platform_name(native_architecture())
SCRATCH = "kind: scratch\nfiles: [{path: /a, content: x}]\n"
ARCHIVE = "http://archive.test/debian"


def lock(date=1, version="1", suites=("trixie", "trixie-security")):
    said = dict.fromkeys(("name", "architecture", "source", "suite", "path"), "a")
    packages = (Package(version=version, size=1, sha256="0" * 64, archive=ARCHIVE, **said),)
    releases = [Release(address=ARCHIVE, suite=suite, sha256=f"{date}", date=date, signer="F") for suite in suites]
    return Lock(releases=tuple(releases), packages=packages)


@pytest.fixture
def built(tmp_path):
    """A context whose store has a build."""
    ctx = context(tmp_path)
    record = Record(
        image="trixie",
        build="20261101T000000Z-1",
        status="published",
        input_digest=f"sha256:{0:064}",
        lock=lock(),
        platforms=[OWN],
    )
    keep_record(ctx.store, record)
    return ctx


@pytest.mark.parametrize("same", [lock(), lock(date=2)])
def test_the_same_packages_are_the_same_lock_however_often_the_archive_signs_them(built, same):
    assert settled(built, same, "trixie", OWN) == lock(date=1)


@pytest.mark.parametrize("other", [lock(version="2"), lock(date=2, suites=("trixie",))])
def test_different_packages_or_suites_make_a_different_lock(built, other):
    assert settled(built, other, "trixie", OWN) == other


def test_an_image_without_a_build_has_the_newest_lock(built):
    assert settled(built, lock(date=2), "noble", OWN) == lock(date=2)


def test_each_platform_has_its_own_lock(built):
    assert settled(built, lock(date=2), "trixie", "linux/s390x") == lock(date=2)


@pytest.fixture
def scratch(tmp_path):
    recipes = tmp_path / "recipes"
    recipes.mkdir()
    (recipes / "a.yaml").write_text(SCRATCH + "platforms: [linux/s390x, linux/arm/v7]\n")
    (recipes / "b.yaml").write_text(SCRATCH)
    return context(tmp_path, recipes=(recipes,))


def inputs(ctx, image, **options):
    return resolve_image(build_context(ctx, image, **options))


@pytest.mark.parametrize(
    ("image", "options", "expected"),
    [
        ("a", {}, ["linux/s390x", "linux/arm/v7"]),
        ("b", {}, [OWN]),
        ("a", {"platforms": ("linux/386",)}, ["linux/386"]),
        ("b", {"platforms": ("linux/386", "linux/s390x")}, ["linux/386", "linux/s390x"]),
        # A base image that comes along loses no platform.
        ("a", {"platforms": ("linux/386",), "named": ("b",)}, ["linux/s390x", "linux/arm/v7", "linux/386"]),
        ("b", {"platforms": (OWN,), "named": ("a",)}, [OWN]),
    ],
)
def test_an_image_is_for_the_platforms_that_are_requested_or_its_recipes_or_the_machines(
    scratch, image, options, expected
):
    assert [each.platform for each in inputs(scratch, image, **options).platforms] == expected


def test_each_platform_has_its_own_input_digest_and_so_has_the_index(scratch):
    both, one = inputs(scratch, "a"), inputs(scratch, "a", platforms=("linux/s390x",))
    assert [each.architecture for each in both.platforms] == ["s390x", "armhf"]
    assert one.digest == both.platforms[0].digest
    assert len({both.digest, *(each.digest for each in both.platforms)}) == 3
    assert ImageInputs(both.platforms[::-1]).digest == both.digest

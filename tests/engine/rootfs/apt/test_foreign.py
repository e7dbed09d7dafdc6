"""apt resolves packages of foreign architectures beside those of the image's own."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rootfs.apt.errors import PackageMissing
from rootfs.errors import InputError
from rootfs.lock.lock import Lock
from tests.engine.rootfs.apt.test_resolve_layer import below
from tests.support.debian import SUITE, Archive, Deb, served
from tests.support.small_archive import SHELF, Scene, recipe

SAME = {"Multi-Arch": "same"}
LIBC = Deb("libc6", "2", "amd64", fields=SAME)
WINE = Deb("wine32", architecture="i386", depends="libc6", priority="required")
OWN = ("amd64", "i386")


@pytest.fixture
def both(scene: Scene) -> Scene:
    """The small archive, which has packages of i386 too."""
    archive = replace(scene.archive, foreign=("i386",))
    archive.publish(*SHELF, LIBC, replace(LIBC, architecture="i386"), WINE)
    return scene


def found(lock: Lock) -> set[tuple[str, str, bool]]:
    """The packages that are not for all architectures: name, architecture, whether it is only a dependency."""
    known = {each.architecture for each in lock.packages}
    assert known <= {"all", *OWN}
    return {(each.name, each.architecture, each.auto) for each in lock.packages if each.architecture != "all"}


def test_packages_of_a_foreign_architecture_are_locked_beside_the_image_s_own(both):
    lock = both.lock(include=("wine32:i386", "libc6"))
    assert found(lock) == {("wine32", "i386", False), ("libc6", "i386", True), ("libc6", "amd64", False)}
    assert not any(each.essential or each.base for each in lock.packages if each.architecture == "i386")
    own = both.lock(include=("libc6:amd64",))
    assert found(own) == {("libc6", "amd64", False)}
    assert {each for each in lock.packages if each.architecture != "i386"} == set(own.packages)


def test_fixes_are_found_of_packages_that_only_a_foreign_architecture_has(both):
    archive = replace(both.archive, foreign=("i386",))
    archive.publish(replace(WINE, version="2"), suite=f"{SUITE}-security")
    asked = recipe(include=("wine32:i386",), pockets=("security",))
    both.apt().lock(asked, both.files, "amd64")
    installed = {"wine32": "1", "libc6": "2"}
    assert both.apt().security_fixes(asked, both.files, "amd64", installed) == {"wine32"}


def test_an_architecture_that_is_only_named_adds_no_package(both):
    assert both.lock(foreign_architectures=("i386",)).packages == both.lock().packages


def test_a_package_that_a_foreign_architecture_lacks_is_refused(both):
    with pytest.raises(PackageMissing, match="gcc:i386"):
        both.lock(include=("gcc:i386",))
    with pytest.raises(InputError, match="no packages for armhf"):
        both.lock(include=("libc6:armhf",))


def test_a_layer_adds_the_foreign_package_alone(both):
    path = both.files / "status"
    stanza = "Package: libc6\nStatus: install ok installed\nVersion: 2\nArchitecture: amd64\nMulti-Arch: same\n"
    path.write_text(stanza)
    lock = both.apt().lock(recipe(include=("libc6:i386",)), both.files, "amd64", below(path))
    assert found(lock) == {("libc6", "i386", False)}


def test_further_archives_may_lack_the_architecture_or_be_limited_to_some(both, tmp_path, stranger):
    (both.files / "key").write_bytes(stranger.keyring.read_bytes())
    plain, wide = Archive(tmp_path / "plain", stranger), Archive(tmp_path / "wide", stranger, foreign=("i386",))
    plain.publish(Deb("tool", architecture="amd64"))
    wide.publish(*(replace(LIBC, version="3", architecture=each) for each in OWN))
    flat = Archive(tmp_path / "flat", stranger)
    flat.publish_at(".", *(Deb("both", architecture=each, fields=SAME) for each in OWN))
    with served(plain.folder) as one, served(wide.folder) as two, served(flat.folder) as three:
        entry = {"keyring": "key", "suites": (SUITE,)}
        archives = (
            {**entry, "uri": one.address},
            {**entry, "uri": two.address, "architectures": ("amd64",)},
            {**entry, "uri": three.address, "suites": ("./",)},
        )
        lock = both.lock(repositories=archives, include=("tool", "both", "both:i386", "wine32:i386"))
    asked = [path for path, status in two.asked if "binary-i386" in path]
    versions = {(each.name, each.architecture, each.version) for each in lock.packages}
    assert not asked
    assert {("tool", "amd64", "1"), ("both", "amd64", "1"), ("both", "i386", "1"), ("libc6", "i386", "2")} <= versions

"""apt resolves a layer: only the packages that it adds to its base image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rootfs.apt.errors import PackageMissing, PackagesConflict
from rootfs.apt.resolve_layer import BaseImagePackages
from rootfs.errors import BuildError, InputError
from rootfs.lock.lock import Lock
from rootfs.recipe.sections import Repository
from tests.support.debian import POCKETS, SUITE, Archive, Deb
from tests.support.small_archive import SHELF, Scene, recipe

MINBASE = ("base", "libbase", "mawk", "apt", "libapt", "needed")
STANZA = "Package: %s\nStatus: install ok installed\nVersion: %s\nArchitecture: all\n%s\n"


def status(scene: Scene, *names: str) -> Path:
    """dpkg's file of an image that has packages of the shelf."""
    known = {deb.name: deb for deb in SHELF}
    path = scene.files / "status"
    fields = {name: "".join(f"{key}: {value}\n" for key, value in known[name].fields.items()) for name in names}
    path.write_text("\n".join(STANZA % (name, known[name].version, more) for name, more in fields.items()))
    return path


def below(path: Path, digest: str = "sha256:1", repositories: tuple[Repository, ...] = ()) -> BaseImagePackages:
    return BaseImagePackages("top", "parent", digest, repositories, lambda: path)


def added(scene: Scene, *there: str, **keys: Any) -> Lock:
    under = below(status(scene, *(there or MINBASE)), digest=" ".join(there))
    return scene.apt().lock(recipe(**keys), scene.files, "amd64", under)


def names(lock: Lock) -> dict[str, bool]:
    """What a lock has, and whether it is there only as a dependency."""
    return {package.name: package.auto for package in lock.packages}


def test_a_layer_s_lock_has_only_what_the_base_image_lacks(still):
    lock = added(still, pockets=POCKETS, include=("build-essential",))
    assert names(lock) == {"build-essential": False, "gcc": True}
    assert not any(package.essential or package.base for package in lock.packages)
    assert [release.suite for release in lock.releases] == [SUITE, f"{SUITE}-updates", f"{SUITE}-security"]


def test_installed_packages_are_not_added(still):
    assert names(added(still, include=("needed", "libstdc++6"))) == {"libstdc++6": False}
    assert names(added(still, *MINBASE, "gcc", include=("build-essential",))) == {"build-essential": False}


def test_recommended_packages_are_asked_for(still):
    there = ("base", "libbase", "mawk", "needed")
    assert set(names(added(still, *there, include=("apt",)))) == {"apt", "libapt"}
    assert set(names(added(still, *there, include=("apt",), recommends=True))) == {"apt", "libapt", "trust"}
    excluding = added(still, *there, include=("apt",), recommends=True, exclude=("trust", "needed"))
    assert set(names(excluding)) == {"apt", "libapt"}


REFUSED = {
    "an unknown package": ({"include": ("gccc",)}, PackageMissing, "no package 'gccc'"),
    "one that the parent's cannot be beside": (
        {"include": ("quarrel",)},
        InputError,
        "needed of its base image parent",
    ),
    "what cannot be": ({"include": ("broken",)}, PackagesConflict, "nowhere"),
    "excluded and asked for": ({"include": ("gcc",), "exclude": ("gcc",)}, PackagesConflict, "gcc"),
}


@pytest.mark.parametrize(("keys", "error", "said"), REFUSED.values(), ids=REFUSED)
def test_impossible_additions_are_refused(still, keys, error, said):
    with pytest.raises(error) as refused:
        added(still, **keys)
    assert said in f"{refused.value}"


def test_an_outdated_base_image_is_named(scene):
    scene.archive.publish(Deb("libapt", "2"), Deb("tool", depends="libapt (= 2)"))
    with pytest.raises(BuildError, match=r"replace some of its base image parent.*libapt 1 -> 2") as refused:
        added(scene, include=("tool",))
    assert "Build parent again first" in str(refused.value)


def test_a_newer_version_that_nothing_needs_stays_away(scene):
    scene.archive.publish(*SHELF, Deb("libapt", "2"))
    assert names(added(scene, include=("gcc",))) == {"gcc": False}


def test_an_archive_of_the_layers_own_may_replace_what_is_there(scene, tmp_path):
    other = Archive(tmp_path / "archive/other", scene.archive.signer)
    other.publish(Deb("libapt", "2"), Deb("tool", depends="libapt (= 2)"), suite="more")
    (scene.files / "key.gpg").write_bytes(scene.archive.signer.keyring.read_bytes())
    address = f"{next(iter(scene.site.mirrors.values())).rstrip('/')}/other"
    own = Repository(uri=address, suites=("more",), keyring="key.gpg")
    asked = recipe(include=("tool",), repositories=(own,))
    path = status(scene, *MINBASE)
    lock = scene.apt().lock(asked, scene.files, "amd64", below(path, repositories=(own,)))
    assert set(names(lock)) == {"libapt", "tool"}
    with pytest.raises(BuildError, match=": its packages would replace some of its base image"):
        scene.apt().lock(asked, scene.files, "amd64", below(path, "sha256:2"))


def test_another_base_image_is_resolved_again(scene):
    one = below(status(scene, *MINBASE))
    asked = recipe(include=("build-essential",))
    assert set(names(scene.apt().lock(asked, scene.files, "amd64", one))) == {"build-essential", "gcc"}
    more = status(scene, *MINBASE, "gcc")
    assert set(names(scene.apt().lock(asked, scene.files, "amd64", one))) == {"build-essential", "gcc"}, "as kept"
    other = below(more, "sha256:2")
    assert set(names(scene.apt().lock(asked, scene.files, "amd64", other))) == {"build-essential"}


def test_all_children_of_a_parent_use_one_cache_of_all_packages(scene):
    added(scene, include=("gcc",))
    [cache] = scene.cache.glob("roots/*/over.bin")
    before = cache.stat().st_mtime_ns
    under = below(scene.files / "status")
    scene.apt().lock(recipe(include=("gawk",)), scene.files, "amd64", under)
    assert cache.stat().st_mtime_ns == before

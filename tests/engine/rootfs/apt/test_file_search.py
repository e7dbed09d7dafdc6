"""The package that has a library, by the archive's index of files, else by the library's name."""

import gzip

import pytest

from tests.support.debian import SUITE
from tests.support.small_archive import SHELF, Scene, recipe

CONTENTS = """\
bin/base                                          utils/base
opt/strange/libfar.so.1                           contrib/oldlibs/far
usr/include/libnear.so.2.h                        devel/near-dev
usr/lib/x86_64-linux-gnu/far/private/libnear.so.2 libs/aaa-private
usr/lib32/libnear.so.2                            libs/aaa32near
usr/libx32/libstdc++.so.6                         libs/aaax32
usr/lib/x86_64-linux-gnu/libnear.so.2             libs/near,libs/other
"""


def asked(scene: Scene, *names, offline=False):
    return scene.apt(offline=offline).packages_with(recipe(), scene.files, "amd64", names)


def contents(scene, text, ending=""):
    """Publish an index of files, also compressed with this ending: a Release file names the plain one anyway."""
    index = scene.archive.folder / f"dists/{SUITE}/main/Contents-amd64"
    index.write_text(text)
    if ending:
        index.with_name(index.name + ending).write_bytes(gzip.compress(text.encode()))
    scene.archive.publish(*SHELF)
    return index


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_the_index_of_files_names_the_package(scene, ending):
    contents(scene, CONTENTS, ending)
    assert asked(scene, "libnear.so.2", "/opt/strange/libfar.so.1", "libnone.so") == {
        "libnear.so.2": "near",
        "libfar.so.1": "far",
    }


def test_a_package_named_after_the_library_is_preferred_to_one_for_another_machine(scene):
    contents(scene, CONTENTS)
    assert asked(scene, "libstdc++.so.6") == {"libstdc++.so.6": "libstdc++6"}


def test_without_one_a_library_is_known_by_its_name(scene):
    assert asked(scene, "libstdc++.so.6", "libnone.so.1", "libapt.so") == {"libstdc++.so.6": "libstdc++6"}


def test_an_index_that_differs_from_the_signed_one_is_ignored(scene):
    contents(scene, CONTENTS).write_text(CONTENTS.replace("libs/near", "libs/evil"))
    assert asked(scene, "libnear.so.2", "libstdc++.so.6") == {"libstdc++.so.6": "libstdc++6"}


def test_offline_no_archive_is_asked(scene):
    contents(scene, CONTENTS)
    assert asked(scene, "libnear.so.2", offline=True) == {}
    assert scene.server.asked == []

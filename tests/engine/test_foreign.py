"""Packages of i386 in an image of amd64, from the real archive: they run, dpkg and apt know them, verify repeats it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from rootfs.process.host import native_architecture
from tests.support.factory import Done, Factory

LOCAL_NAME = "baseforge-foreign"
# The pockets are left out: mirrors that change while they are read are not what this test is about.
BASE = """\
kind: debootstrap
suite: trixie
pockets: []
variant: essential
include: ["libc6:i386"]
smoke:
  - run: [/lib/ld-linux.so.2, --version]
    stdout: Debian
  - run: [dpkg, --print-foreign-architectures]
    stdout: ^i386$
"""
LAYER = """\
kind: layer
from: wide
include: ["busybox-static:i386", apt]
smoke:
  - run: [busybox, echo, it runs]
    stdout: it runs
  - run: [apt-get, check]
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Factory]:
    made = Factory(tmp_path_factory.mktemp("site"), {"BASEFORGE_LOCAL_NAME": LOCAL_NAME})
    made.recipe("wide", BASE)
    made.recipe("wider", LAYER)
    yield made
    made.remove_images()


@pytest.fixture(scope="module")
def built(site: Factory) -> Done:
    return site.run("build", "wider", "--json")


pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(native_architecture() != "amd64", reason="programs of i386 run on amd64"),
]


def test_programs_of_another_architecture_run(site, built):
    assert built.status == 0, built.stderr
    assert [(each["status"], each["smoke"]["passed"]) for each in built.json] == [("published", 2)] * 2
    installed = json.loads(site.run("show", "wider", "--packages", "--json").stdout)["installed"]["linux/amd64"]
    assert {"libc6:amd64", "libc6:i386", "busybox-static:i386"} <= set(installed)
    assert "busybox-static:amd64" not in installed


@pytest.mark.parametrize("image", ["wide", "wider"])
def test_verify_repeats_them(site, built, image):
    assert built.status == 0, built.stderr
    done = site.run("verify", image)
    assert done.status == 0, done.stderr

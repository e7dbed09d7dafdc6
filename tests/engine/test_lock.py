"""`baseforge lock`: today's packages, the changes since the newest build, and lock files."""

from __future__ import annotations

import json

import pytest

from flows.publish import stored_builds
from flows.publish.record import Record
from flows.store.open import open_store
from rootfs.lock.lock import Lock
from rootfs.process.host import native_architecture
from rootfs.system.platforms import platform_name
from tests.support.factory import Factory

SMALL = "kind: debootstrap\nsuite: trixie\nvariant: essential\n"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Factory:
    made = Factory(tmp_path_factory.mktemp("site"))
    made.recipe("small", SMALL)
    made.recipe("tiny", "kind: scratch\nfiles: [{path: /a, content: a}]\n")
    return made


@pytest.fixture(scope="module")
def lock(site: Factory) -> Lock:
    done = site.run("lock", "small", "--json")
    assert done.status == 0, done.stderr
    return Lock.model_validate(done.json)


def test_lock_prints_the_whole_lock_as_json(lock):
    assert {"bash", "dpkg", "libc6"} < {package.name for package in lock.packages}
    assert {release.suite for release in lock.releases} == {"trixie", "trixie-updates", "trixie-security"}


def test_lock_shows_what_changed_since_the_newest_build(site, lock):
    first = site.run("lock", "small")
    assert f"added bash {version(lock, 'bash')}" in first.stdout
    assert "nothing is built yet" in first.stderr
    packages = [
        package.model_copy(update={"version": "1"}) if package.name == "bash" else package for package in lock.packages
    ]
    known = Record(
        image="small",
        build="1",
        status="published",
        platforms=(platform_name(native_architecture()),),
        input_digest=f"sha256:{0:064}",
        lock=Lock(releases=lock.releases, packages=tuple(packages[1:])),
    )
    stored_builds.keep_record(open_store(str(site.folder / "store")), known)
    done = site.run("lock", "small")
    assert sorted(line.split()[1] for line in done.stdout.splitlines()) == sorted([lock.packages[0].name, "bash"])
    assert f"{len(packages)} packages, 2 changes since build 1: {lock.digest}" in done.stderr


def version(lock: Lock, name: str) -> str:
    return next(package.version for package in lock.packages if package.name == name)


def test_a_file_that_a_recipe_names_is_its_lock_until_it_is_written_anew(site, lock):
    file = site.recipes / "pinned/pinned.lock"
    site.recipe("pinned", SMALL)
    file.parent.mkdir()
    assert site.run("lock", "pinned", "--write", str(file)).status == 0
    assert len(file.read_text().splitlines()) > len(lock.packages)
    site.recipe("pinned", f"{SMALL}lock: pinned.lock\n")
    assert site.run("validate", "pinned").status == 0
    before = file.read_bytes()
    said = json.loads(before)
    file.write_text(json.dumps({**said, "packages": said["packages"][:-1]}))
    assert site.run("lock", "pinned", "--write", str(file)).status == 0
    assert file.read_bytes() == before


def test_a_scratch_recipe_has_an_empty_one(site):
    assert Lock.model_validate(site.run("lock", "tiny", "--json").json) == Lock()


BAD = [(("smal",), "Did you mean 'small'"), (("small", "--write", "/proc/lock"), "cannot be written")]


@pytest.mark.parametrize(("words", "said"), BAD)
def test_impossible_requests_are_refused_in_a_few_words(site, words, said):
    done = site.run("lock", *words)
    assert (done.status, "Traceback" in done.stderr) == (2, False)
    assert said in done.stderr

"""Lock files: writing, reading, errors with their place, and differences."""

from __future__ import annotations

import json

import pytest

from rootfs.errors import InputError, RecipeInvalid
from rootfs.lock.lock import Lock, Package, Release
from rootfs.lock.lockfile import committed_lock, differing_versions, lock_changes, read_locks, write_locks
from rootfs.recipe.base import AptRequest


def package(name: str, version: str = "1", **keys) -> Package:
    keys = {"sha256": "ab" * 32, "path": f"pool/{name}.deb", **keys}
    return Package(name=name, version=version, architecture="all", size=1, source=name, archive="a", suite="s", **keys)


def release(suite: str = "trixie", date: int = 0) -> Release:
    return Release(address="http://a", suite=suite, sha256="cd" * 32, date=date, signer="F" * 40)


LOCK = Lock(releases=(release(), release("sid", 5)), packages=(package("aa", "1:2~x+b1", auto=True), package("bb")))


def test_what_is_written_is_read_again(tmp_path):
    write_locks({"linux/amd64": LOCK}, tmp_path / "it.lock")
    assert read_locks(tmp_path / "it.lock") == {"": LOCK}
    lines = (tmp_path / "it.lock").read_text().splitlines()
    assert lines[1] == ' "format": 1,'
    assert sum('"name":' in line for line in lines) == 2
    assert all(line.count('"name":') < 2 for line in lines)


def test_an_image_for_several_platforms_has_a_lock_for_each_in_one_file(tmp_path):
    other = Lock(releases=(release(),), packages=(package("aa", "2"), package("cc")))
    locks = {"linux/amd64": LOCK, "linux/arm64": other}
    write_locks(locks, tmp_path / "it.lock")
    assert read_locks(tmp_path / "it.lock") == locks
    assert all(line.count('"name":') < 2 for line in (tmp_path / "it.lock").read_text().splitlines())
    assert differing_versions(locks) == {"aa": {"linux/amd64": "1:2~x+b1", "linux/arm64": "2"}}
    assert differing_versions({"linux/amd64": LOCK}) == {}
    wanted = AptRequest(suite="trixie", repositories=(), pockets=())
    file = tmp_path / "one.lock"
    write_locks({"linux/amd64": other, "linux/arm64": other}, file)
    assert committed_lock(wanted, file, "arm64") == other
    with pytest.raises(InputError, match="it is for linux/amd64, linux/arm64, and linux/386 is built"):
        committed_lock(wanted, file, "i386")


def spoilt(key: str, value: object) -> str:
    """A lock file whose second package has something else under a key."""
    document = LOCK.model_dump(mode="json")
    document["packages"][1][key] = value
    return json.dumps(document, indent=1)


BAD = {
    "a newer format": ('{\n "format": 2,\n "packages": {}}', "format", "a newer version of Baseforge wrote it"),
    "a newer format for platforms": ('{"format": 2,\n "platforms": {}}', "format", "update it"),
    "no format at all": (
        LOCK.model_copy(update={"packages": ()}).model_dump_json(exclude={"tarball"}).replace("{", '{"format": 0,', 1),
        "format",
        "greater than or equal to 1",
    ),
    "no JSON": ('{\n "releases": [\n', "3:1", "this is not the JSON of a lock file"),
    "not UTF-8": ("\udcff", "1:1", "not UTF-8"),
    "a list": ("[]", "1:1", "expected a mapping"),
    "no packages": ('{"releases": []}', "1:1", "key 'packages' is missing"),
    "an unknown key": (spoilt("extra", 1), "extra", "unknown key 'extra'"),
    "a name that leads out": (spoilt("name", "../b"), "name", "'../b' is not a Debian package name"),
    "a path that leads out": (spoilt("path", "../../b.deb"), "path", "leads out"),
    "a whole path": (spoilt("path", "/b.deb"), "path", "leads out"),
    "a version that is none": (spoilt("version", "1/2"), "version", "should match pattern"),
    "an architecture that is none": (spoilt("architecture", "a b"), "architecture", "should match pattern"),
    "a sum that is none": (spoilt("sha256", "AB"), "sha256", "should match pattern"),
    "a size below nothing": (spoilt("size", -1), "size", "greater than or equal to 0"),
    "a platform that is none": ('{"platforms": {"linux/arm46": {}}}', "linux/arm46", "Did you mean 'linux/arm64'"),
    "a platform without packages": ('{"platforms": {\n"linux/386": {"releases": []}}}', "linux/386", "'packages' is"),
    "no platforms": ('{"platforms": {}}', "platforms", "at least one"),
    "a size in words": (spoilt("size", "1"), "size", "expected a whole number"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_lock_file_is_refused_with_the_place(tmp_path, what):
    text, place, said = BAD[what]
    file = tmp_path / "it.lock"
    file.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(RecipeInvalid) as caught:
        read_locks(file)
    line = text[: text.rfind(f'"{place}"')].count("\n") + 1
    assert f"{file}:{place if ':' in place else line}" in str(caught.value)
    assert said in str(caught.value)


@pytest.mark.parametrize("platforms", [("linux/amd64",), ("linux/amd64", "linux/arm64")])
def test_a_lock_file_without_a_format_has_the_first_one(tmp_path, platforms):
    """As files have that were written before there were formats; the digest of a lock knows none."""
    file = tmp_path / "it.lock"
    write_locks(dict.fromkeys(platforms, LOCK), file)
    said = json.loads(file.read_text())
    assert said.pop("format") == 1
    assert "format" not in json.dumps(said)
    file.write_text(json.dumps(said))
    assert set(read_locks(file).values()) == {LOCK}


def test_a_lock_file_that_cannot_be_read(tmp_path):
    with pytest.raises(RecipeInvalid, match="cannot be read"):
        read_locks(tmp_path)


def test_a_lock_file_that_is_nested_too_deeply(tmp_path):
    (tmp_path / "it.lock").write_text("[" * 100_000)
    with pytest.raises(RecipeInvalid, match="nested too deeply"):
        read_locks(tmp_path / "it.lock")


def test_how_two_locks_differ():
    old = (package("same"), package("up", "1.9"), package("down", "2"), package("gone"), package("again"))
    new = (
        package("same"),
        package("up", "1.10"),
        package("down", "2~rc1"),
        package("fresh"),
        package("again", sha256="ef" * 32),
    )
    before = Lock(releases=(release(), release("sid")), packages=old)
    after = Lock(releases=(release(date=86400), release("new")), packages=new)
    assert [str(change) for change in lock_changes(before, after)] == [
        "released trixie Thu, 01 Jan 1970 00:00:00 UTC -> Fri, 02 Jan 1970 00:00:00 UTC",
        "released sid Thu, 01 Jan 1970 00:00:00 UTC",
        "released new Thu, 01 Jan 1970 00:00:00 UTC",
        "rebuilt again 1",
        "downgraded down 2 -> 2~rc1",
        "added fresh 1",
        "removed gone 1",
        "upgraded up 1.9 -> 1.10",
    ]


def test_the_same_lock_has_no_changes():
    assert lock_changes(LOCK, LOCK) == []

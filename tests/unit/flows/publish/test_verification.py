"""Comparison of a rebuild with its record, with real images in real stores."""

import io
import json

import pytest

from flows.image import oci
from flows.publish import stored_builds, verification
from flows.publish.record import Record
from flows.publish.verification import ExpectedDigests, Link, Verification
from flows.store.open import open_store
from rootfs.errors import InputError
from rootfs.layer.pack import pack
from rootfs.lock.lock import Lock, Package
from rootfs.recipe.sections import TARBALL_NAME, ImageSettings
from rootfs.tree.member import Member

HEX = "ab" * 32


@pytest.fixture
def store(tmp_path):
    return open_store(str(tmp_path / "store"))


@pytest.fixture
def made(tmp_path):
    """Makes an image of one file."""

    def make(content=b"one\ntwo\n", **settings):
        folder = tmp_path / f"{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        layer = pack([Member("a").with_content(content)], folder / "layer")
        return oci.make_image(
            layer, ImageSettings(**settings), name="x", architecture="amd64", epoch=0, folder=folder / "layout"
        )

    return make


@pytest.fixture
def work(tmp_path):
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


def recorded(image):
    return Record(
        image="x",
        build="1",
        status="published",
        diff_id=image.layer.diff_id,
        layer_digest=image.layer.digest,
        config_digest=image.config_digest,
        manifest_digest=image.manifest_digest,
    )


def test_the_same_image_has_the_same_links_and_no_difference(store, made, work):
    image = made()
    stored_builds.keep_blobs(store, image)
    then = verification.expected_digests(store, recorded(image))
    links = then.links(made())
    assert [link.name for link in links] == ["diff id", "layer", "config", "manifest"]
    assert all(link.same for link in links)
    assert verification.differences(store, then, made(), work, pytest.fail) == []


def test_another_layer_is_shown_member_by_member(store, made, work):
    image = made()
    stored_builds.keep_blobs(store, image)
    then, other = verification.expected_digests(store, recorded(image)), made(b"one\nTWO\n")
    assert [link.name for link in then.links(other) if not link.same] == ["diff id", "layer", "config", "manifest"]
    [said] = verification.differences(store, then, other, work, pytest.fail)
    assert said.startswith("a: content")
    assert "+TWO" in said


def test_other_settings_are_shown_line_by_line(store, made, work):
    image = made(cmd=("/a",))
    stored_builds.keep_blobs(store, image)
    then, other = verification.expected_digests(store, recorded(image)), made(cmd=("/b",))
    assert [link.name for link in then.links(other) if not link.same] == ["config", "manifest"]
    [said] = verification.differences(store, then, other, work, pytest.fail)
    assert '-   "/a"' in said
    assert '+   "/b"' in said


def test_against_an_image_that_the_store_has(store, made, work):
    image = made()
    stored_builds.keep_blobs(store, image)
    record = recorded(made(b"something else"))
    for digest in (image.manifest_digest, image.manifest_digest.removeprefix("sha256:")):
        then = verification.expected_digests(store, record, digest)
        assert then == verification.expected_digests(store, recorded(image))
    assert verification.differences(store, then, made(), work, pytest.fail) == []


def test_against_an_image_that_the_store_does_not_have(store, made, work):
    image = made()
    then = verification.expected_digests(store, recorded(image), HEX)
    assert then == ExpectedDigests("", "", "", f"sha256:{HEX}")
    assert [(link.name, link.same) for link in then.links(image)] == [("manifest", False)]
    [said] = verification.differences(store, then, image, work, pytest.fail)
    assert "cannot show" in said
    assert HEX in said


def test_a_layer_that_the_store_lost_is_reported(store, made, work):
    then = verification.expected_digests(store, recorded(made()))
    [said] = verification.differences(store, then, made(b"x"), work, pytest.fail)
    assert "cannot show" in said


def test_settings_that_the_store_lost_are_reported(store, made, work):
    then = verification.expected_digests(store, recorded(made(cmd=("/a",))))
    [said] = verification.differences(store, then, made(), work, pytest.fail)
    assert "cannot show" in said


@pytest.mark.parametrize(
    "text", ["latest", "sha256:", f"md5:{HEX}", HEX[1:], f"{HEX}0", f"sha256:{HEX.upper()}", "../x"]
)
def test_an_invalid_digest_is_refused(text, store, made):
    with pytest.raises(InputError, match="is not a digest"):
        verification.expected_digests(store, recorded(made()), text)


def test_a_blob_that_is_no_manifest_is_refused(store, made):
    digest = store.put_blob(io.BytesIO(b"hello"))
    with pytest.raises(InputError, match="is not the digest of an image"):
        verification.expected_digests(store, recorded(made()), digest)


def test_the_lock_is_that_of_the_debs_that_were_used(tmp_path):
    package = Package(
        name="a", version="1:2", architecture="all", sha256=HEX, size=5, source="a", archive="x", suite="s", path="p"
    )
    lock = Lock(packages=(package,))
    (tmp_path / package.file_name).write_bytes(b"hello")
    found = verification.lock_of_files(lock, tmp_path)
    assert found.packages[0].sha256.startswith("2cf24dba")
    assert found.digest != lock.digest
    assert verification.lock_of_files(found, tmp_path) == found


def test_the_lock_is_that_of_the_tarball_that_was_used(tmp_path):
    (tmp_path / TARBALL_NAME).write_bytes(b"hello")
    assert verification.lock_of_files(Lock(tarball=f"sha256:{HEX}"), tmp_path).tarball.startswith("sha256:2cf24dba")


def said(*links, **tools):
    return Verification(
        image="x", build="1", links=links, tools=verification.compare_tools({"a": "1", "b": "1"}, tools)
    )


SAME, OTHER = Link(name="layer", recorded="a", found="a"), Link(name="manifest", recorded="a", found="b")


@pytest.mark.parametrize(
    ("found", "status", "other"),
    [
        (said(SAME), "reproduced", []),
        (said(SAME, OTHER), "differs", ["manifest"]),
        (said(OTHER), "differs", ["manifest"]),
    ],
)
def test_a_build_is_reproduced_if_every_digest_is_equal(found, status, other):
    assert (found.status, found.other) == (status, other)
    document = json.loads(found.model_dump_json())
    assert document["status"] == status
    assert document["links"][-1]["same"] is (status == "reproduced")
    assert Verification.model_validate_json(found.model_dump_json()) == found


ACCEPTED = "it has a database"
INPUT = Link(name="linux/amd64 input", recorded="a", found="b")


@pytest.mark.parametrize(
    ("links", "damage", "status", "ending"),
    [
        ((SAME, OTHER), (), "not repeatable", ACCEPTED),
        ((SAME,), (), "not repeatable", ACCEPTED),  # was not made again
        ((SAME, OTHER.model_copy(update={"found": "a"})), (), "reproduced", "a"),
        ((SAME, OTHER), ("x",), "damaged", "another manifest; 1 of its blobs are missing or damaged in the store"),
        ((INPUT, OTHER), (), "differs", "another linux/amd64 input, manifest"),
    ],
)
def test_a_reason_accepts_that_the_image_differs_but_not_its_inputs(links, damage, status, ending):
    found = said(*links).model_copy(update={"no_because": ACCEPTED, "damage": damage})
    assert (found.status, found.ending) == (status, ending)


def test_different_tools_are_shown_with_both_versions():
    assert said(SAME, a="1", b="1").other_tools == []
    assert said(SAME, a="2", b="1").other_tools == ["a 2 here, 1 then"]
    assert said(SAME, a="1", c="7").other_tools == ["b missing here, 1 then", "c 7 here, none then"]


def judged(platform, **keys):
    link = Link(name="layer", recorded="a", found=platform)
    return Verification(image="x", build="1", links=(link,), tools={}, **keys)


def test_the_verification_of_several_platforms_names_the_platform(made):
    parts = tuple(Record(image="x", status="published", platforms=(name,)) for name in ("linux/386", "linux/b"))
    record = Record(image="x", status="published", parts=parts)
    found = verification.combine(record, [judged("b", differences=("1",), different=3), judged("a")], "i", "j")
    assert found.other == ["linux/386 layer", "index"]
    assert (found.differences, found.different, found.status) == (("linux/386: 1",), 3, "differs")
    same = verification.combine(record, [judged("a"), judged("a")], "i", "i")
    assert (same.status, [link.name for link in same.links]) == (
        "reproduced",
        ["linux/386 layer", "linux/b layer", "index"],
    )
    unknown = verification.combine(record, [judged("a", no_because="it is so")] * 2, "i", "")
    assert (unknown.status, len(unknown.links)) == ("not repeatable", 2)

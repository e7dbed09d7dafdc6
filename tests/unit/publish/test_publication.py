"""What the store says of builds, on a real folder."""

import pytest

from flows.publish import publication
from flows.publish.record import Record
from flows.store import open_store
from rootfs.errors import BuildMissing, ImageMissing
from rootfs.lock import native_architecture
from rootfs.platforms import platform_name

OWN = platform_name(native_architecture())


@pytest.fixture
def store(tmp_path):
    return open_store(str(tmp_path))


def keep(store, image, build, inputs="sha256:" + "a" * 64):
    record = Record(image=image, build=build, status="published", input_digest=inputs)
    publication.keep_record(store, record)
    return record


def test_a_record_is_found_by_its_inputs_and_the_newest_counts(store):
    keep(store, "noble", "20260101T000000Z-1")
    again = keep(store, "noble", "20260102T000000Z-2")
    assert publication.known(store, again.input_digest) == again
    assert publication.known(store, "sha256:" + "b" * 64) is None


def test_inputs_without_their_record_are_not_known(store, tmp_path):
    record = keep(store, "noble", "20260101T000000Z-1")
    (tmp_path / record.key).unlink()
    assert publication.known(store, record.input_digest) is None


def test_references_mean_the_newest_build_or_the_start_of_an_id(store):
    one, two = keep(store, "noble", "20260101T000000Z-1"), keep(store, "noble", "20260102T000000Z-2")
    assert publication.images(store) == ["noble"]
    assert publication.build_of(store, "noble") == two
    assert publication.build_of(store, "noble@20260101") == one


def test_what_was_built_for_a_platform_is_a_part_or_the_build_itself():
    one = Record(image="a", status="published", platforms=["linux/arm64"])
    assert (one.of("linux/arm64"), one.of("linux/386"), one.own, one.index) == (one, None, one, "")
    other = one.model_copy(update={"platforms": (OWN,)})
    said = {"platforms": ["linux/arm64", OWN], "manifest_digest": "i"}
    both = Record(image="a", status="published", parts=[one, other], **said)
    assert (both.of("linux/arm64"), both.own, both.index) == (one, other, "i")
    assert Record.model_validate_json(both.model_dump_json()) == both


def test_unknown_images_and_builds_are_named_with_the_nearest(store):
    keep(store, "noble", "20260101T000000Z-1")
    with pytest.raises(ImageMissing, match="Did you mean 'noble'"):
        publication.build_of(store, "nobel")
    with pytest.raises(BuildMissing, match="2025"):
        publication.build_of(store, "noble@2025")

"""Records of builds, in a real folder."""

import json

import pytest

from flows.publish import stored_builds
from flows.publish.errors import RecordDamaged, RecordNewer
from flows.publish.record import Record
from flows.store.open import open_store
from rootfs.errors import InputError
from rootfs.process.host import native_architecture
from rootfs.system.platforms import platform_name

OWN = platform_name(native_architecture())


@pytest.fixture
def store(tmp_path):
    return open_store(str(tmp_path))


def keep(store, image, build, inputs="sha256:" + "a" * 64):
    record = Record(image=image, build=build, status="published", input_digest=inputs)
    stored_builds.keep_record(store, record)
    return record


def test_a_record_is_found_by_its_inputs_and_the_newest_counts(store):
    keep(store, "noble", "20260101T000000Z-1")
    again = keep(store, "noble", "20260102T000000Z-2")
    assert stored_builds.find_by_inputs(store, again.input_digest) == again
    assert stored_builds.find_by_inputs(store, "sha256:" + "b" * 64) is None


def test_inputs_without_their_record_are_not_known(store, tmp_path):
    record = keep(store, "noble", "20260101T000000Z-1")
    (tmp_path / record.key).unlink()
    assert stored_builds.find_by_inputs(store, record.input_digest) is None


def test_a_reference_names_the_newest_build_or_the_start_of_an_id(store):
    one, two = keep(store, "noble", "20260101T000000Z-1"), keep(store, "noble", "20260102T000000Z-2")
    assert stored_builds.images(store) == ["noble"]
    assert stored_builds.find_build(store, "noble") == two
    assert stored_builds.find_build(store, "noble@20260101") == one


def test_a_platform_s_build_is_a_part_or_the_build_itself():
    one = Record(image="a", status="published", platforms=["linux/arm64"])
    assert (one.of("linux/arm64"), one.of("linux/386"), one.own, one.index) == (one, None, one, "")
    other = one.model_copy(update={"platforms": (OWN,)})
    said = {"platforms": ["linux/arm64", OWN], "manifest_digest": f"sha256:{0:064}"}
    both = Record(image="a", status="published", parts=[one, other], **said)
    assert (both.of("linux/arm64"), both.own, both.index) == (one, other, f"sha256:{0:064}")
    assert Record.model_validate_json(both.model_dump_json()) == both


def test_unknown_images_and_builds_are_named_with_the_nearest(store):
    keep(store, "noble", "20260101T000000Z-1")
    with pytest.raises(InputError, match="Did you mean 'noble'"):
        stored_builds.find_build(store, "nobel")
    with pytest.raises(InputError, match="2025"):
        stored_builds.find_build(store, "noble@2025")


DAMAGE = {
    "cut off": (lambda data: data[:100], "EOF while parsing"),
    "empty": (lambda data: b"", "EOF while parsing"),
    "not text": (lambda data: b"\xff\xfe\x00", "Invalid JSON"),
    "another type": (lambda data: data.replace(b'"size": 0', b'"size": "much"'), "size: Input should be a valid int"),
    "a list": (lambda data: b"[]", "should be an object"),
    "newer": (lambda data: data.replace(b'"format": 1', b'"format": 2'), "format 2, and this version knows format 1"),
}


FALSE = {
    "another image": (b'"image": "noble"', b'"image": "fine"'),
    "another build": (b'"build": "20260102T000000Z-2"', b'"build": "20260101T000000Z-1"'),
    "an image that leads out": (b'"image": "noble"', b'"image": "../../../tmp/x"'),
    "a digest that is a path": (b'"manifest_digest": ""', b'"manifest_digest": "sha256:../../../etc/passwd"'),
    "a size below zero": (b'"size": 0', b'"size": -5'),
    "a platform with an escape": (b'"platforms": []', b'"platforms": ["\\u001b]0;x\\u0007"]'),
}
DAMAGE |= {
    name: (lambda data, old=old, new=new: data.replace(old, new), "it is the record of|should match|greater than")
    for name, (old, new) in FALSE.items()
}
DAMAGE["nested too deeply"] = (lambda data: b"[" * 100_000, "recursion limit")


def test_the_note_of_inputs_says_its_format_and_one_without_is_read(store, tmp_path):
    record = published(store, "noble", "20260101T000000Z-1")
    note = tmp_path / f"inputs/{'a' * 64}.json"
    said = json.loads(note.read_text())
    assert said.pop("format") == 1
    note.write_text(json.dumps(said))
    assert stored_builds.find_by_inputs(store, record.input_digest) == record


def test_a_newer_note_of_inputs_is_refused_and_left_alone(store, tmp_path):
    record = published(store, "noble", "20260101T000000Z-1")
    note = tmp_path / f"inputs/{'a' * 64}.json"
    note.write_text(json.dumps({"format": 2, "builds": []}))
    for use in (
        lambda: stored_builds.find_by_inputs(store, record.input_digest),
        lambda: published(store, "noble", "20260102T000000Z-2"),
    ):
        with pytest.raises(
            RecordNewer, match=f"inputs/{'a' * 64}.json cannot be read: it has format 2.*\n.*update this one"
        ):
            use()
    assert json.loads(note.read_text()) == {"format": 2, "builds": []}


def test_a_record_without_a_format_is_read(store, tmp_path):
    record = published(store, "noble", "20260101T000000Z-1")
    said = json.loads((tmp_path / record.key).read_text())
    assert said.pop("format") == 1
    (tmp_path / record.key).write_text(json.dumps(said))
    assert stored_builds.find_build(store, "noble") == record


@pytest.mark.parametrize("image", ["other", "../../x", "x" * 300, "\x1b]0;x\x07"])
def test_inputs_that_name_another_image_s_build_are_replaced(store, tmp_path, image):
    record = published(store, "noble", "20260101T000000Z-1")
    published(store, "other", "20260101T000000Z-1", "sha256:" + "b" * 64)
    entry = tmp_path / f"inputs/{'a' * 64}.json"
    entry.write_text(json.dumps({"image": image, "build": "20260101T000000Z-1"}))
    assert stored_builds.find_by_inputs(store, record.input_digest) is None
    again = published(store, "noble", "20260102T000000Z-2")
    assert stored_builds.find_by_inputs(store, record.input_digest) == again


def test_a_newest_build_with_a_path_for_a_name_is_refused(store, tmp_path):
    published(store, "noble", "20260101T000000Z-1")
    pointer = tmp_path / "images/noble/newest.json"
    pointer.write_text(pointer.read_text().replace("20260101T000000Z-1", "../../../x"))
    with pytest.raises(RecordDamaged):
        stored_builds.find_build(store, "noble")
    assert stored_builds.latest_readable(store, "noble").build == "20260101T000000Z-1"


def published(store, image, build, inputs="sha256:" + "a" * 64):
    record = Record(image=image, build=build, status="published", input_digest=inputs)
    return stored_builds.publish_record(store, record, "built")


@pytest.fixture(params=DAMAGE.values(), ids=DAMAGE)
def damaged(request, store, tmp_path):
    """A store with a fine image, and one of which the newer of two records is damaged; that record, and a reason."""
    spoil, reason = request.param
    published(store, "fine", "20260101T000000Z-1", "sha256:" + "b" * 64)
    published(store, "noble", "20260101T000000Z-1")
    record = published(store, "noble", "20260102T000000Z-2")
    data = (tmp_path / record.key).read_bytes()
    (tmp_path / record.key).write_bytes(spoil(data))
    assert spoil(data) != data
    return record, reason


def test_a_damaged_record_is_reported_and_hides_no_other(store, damaged):
    record, reason = damaged
    for reference in ("noble", "noble@20260102"):
        with pytest.raises(RecordDamaged, match=f"(?s){record.key}.*{reason}"):
            stored_builds.find_build(store, reference)
    assert stored_builds.find_build(store, "noble@20260101").build == "20260101T000000Z-1"
    assert stored_builds.find_build(store, "fine").image == "fine"
    fine, bad = stored_builds.newest_builds(store)
    assert (fine.image, fine.status) == ("fine", "published")
    assert (bad.image, bad.status, bad.exit_status) == ("noble", "damaged", 1)
    assert record.key in bad.reason


def test_a_build_continues_from_the_newest_readable_record(store, damaged):
    record, reason = damaged
    assert stored_builds.latest_readable(store, "noble").build == "20260101T000000Z-1"
    if "format" in reason:
        with pytest.raises(RecordNewer, match="update this one"):
            stored_builds.find_by_inputs(store, record.input_digest)
        return
    assert stored_builds.find_by_inputs(store, record.input_digest) is None
    published(store, "noble", "20260103T000000Z-3")
    assert stored_builds.find_by_inputs(store, record.input_digest).build == "20260103T000000Z-3"
    assert stored_builds.find_build(store, "noble").build == "20260103T000000Z-3"


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"image": 1}', b"\xff"])
def test_a_damaged_entry_of_inputs_is_written_anew(store, tmp_path, data):
    record = published(store, "noble", "20260101T000000Z-1")
    [entry] = (tmp_path / "inputs").iterdir()
    entry.write_bytes(data)
    assert stored_builds.find_by_inputs(store, record.input_digest) is None
    again = published(store, "noble", "20260102T000000Z-2")
    assert stored_builds.find_by_inputs(store, record.input_digest) == again

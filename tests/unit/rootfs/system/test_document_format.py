"""The format version of documents that outlive a command."""

import json

import pytest

from rootfs.system import document_format
from rootfs.system.errors import FormatNewer


def test_a_document_says_its_format_and_is_read_without_it():
    data = document_format.dump({"a": 1})
    assert json.loads(data) == {"format": 1, "a": 1}
    assert document_format.parse(data, "the note", "/here") == {"a": 1}


def test_a_document_without_a_format_is_read():
    assert document_format.parse('{"a": 1}', "the note", "/here") == {"a": 1}


def test_a_newer_document_is_refused_with_its_place():
    with pytest.raises(FormatNewer) as caught:
        document_format.parse('{"format": 3, "b": []}', "the note", "/here", known=2)
    assert caught.value.status == 3
    assert str(caught.value) == (
        "/here: the note cannot be read: it has format 3, and this version knows format 2\n"
        "  It was written by a newer version of Baseforge: update this one."
    )


@pytest.mark.parametrize("data", ["", "{", "[]", "1", b"\xff", "[" * 100_000])
def test_invalid_json_is_a_value_error(data):
    with pytest.raises(ValueError, match=r".+"):
        document_format.parse(data, "the note", "/here")

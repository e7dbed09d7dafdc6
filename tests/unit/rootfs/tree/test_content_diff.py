"""What is said of the difference between two files shows no part of a key."""

import secrets

import pytest

from rootfs.tree.content_diff import ContentPair, describe_difference


def said(folder, old, new):
    (folder / "old").write_text(f"{old}\n")
    (folder / "new").write_text(f"{new}\n")
    return describe_difference(ContentPair(folder / "old", folder / "new"))


@pytest.mark.parametrize("make", [secrets.token_hex, secrets.token_urlsafe])
def test_a_long_run_of_random_characters_is_not_shown(tmp_path, make):
    old, new = make(40), make(40)
    text = said(tmp_path, f"key: {old}", f"key: {new}")
    assert f"+key: ({len(new)} characters, not shown)" in text
    assert old[:8] not in text


def test_paths_and_words_are_shown(tmp_path):
    path = "/usr/lib/python3/dist-packages/one/two/three/four"
    assert path in said(tmp_path, "a", path)

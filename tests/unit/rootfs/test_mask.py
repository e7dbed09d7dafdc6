"""Masking removes names and passwords of addresses from text, and nothing else."""

from __future__ import annotations

import logging
import pickle

import pytest
from pydantic import TypeAdapter

from flows.orchestration.log_masking import mask_logs
from rootfs.apt.errors import ArchiveUnreachable
from rootfs.errors import BaseforgeError, RecipeInvalid
from rootfs.mask import masked, masked_values
from rootfs.recipe.types import FileOrAddress, without_credentials

MASKED = {
    "http://joe:pw@a.example/x": "http://***@a.example/x",
    "E: Failed to fetch https://joe:pw@a.example:8080/x  401": "E: Failed to fetch https://***@a.example:8080/x  401",
    "'https://t0ken@a.example/'": "'https://***@a.example/'",
    "https://t0ken:@a.example/": "https://***@a.example/",
    "http://joe:p@w@a.example/x http://ann:pw@b.example": "http://***@a.example/x http://***@b.example",
    "http://joe:p/w@a.example/x": "http://***@a.example/x",
    "http://joe:p%40w#?@a.example": "http://***@a.example",
    "HTTP_PROXY=http://joe:pw@proxy.example:3128": "HTTP_PROXY=http://***@proxy.example:3128",
    "ssh://joe:pw@a.example": "ssh://***@a.example",
    **{f"http://joe:p{mark}w@a.example/x": "http://***@a.example/x" for mark in "'\"<>"},
    "http://joe'pw@a.example/x": "http://***@a.example/x",
}
KEPT = [
    "docker://localhost:5000/image@sha256:00ff",
    "docker://registry.example/image:1@sha256:00ff",
    "https://a.example/x/y@1.0?who=joe@b.example",
    "https://a.example joe@b.example",
    "ssh://root@a.example",
    "git+ssh://git@a.example/x",
    "joe:pw@a.example",
]


@pytest.mark.parametrize("text", MASKED)
def test_names_and_passwords_of_addresses_are_masked(text):
    assert masked(text) == MASKED[text]


@pytest.mark.parametrize("text", KEPT)
def test_other_text_stays(text):
    assert masked(text) == text


@pytest.mark.parametrize("name", ["http_proxy", "HTTPS_PROXY", "all_proxy", "DOCKER_HOST"])
def test_a_proxy_without_a_scheme_is_masked(monkeypatch, name):
    monkeypatch.setenv(name, "joe:pw@proxy.example:3128")
    assert masked("connecting to joe:pw@proxy.example:3128 failed") == "connecting to ***@proxy.example:3128 failed"


@pytest.mark.parametrize("mark", ["", "'", '"', "<", " ", "\t"])
def test_an_address_with_a_password_is_refused_and_not_shown(mark):
    for check in (without_credentials, TypeAdapter(FileOrAddress).validate_python):
        with pytest.raises(ValueError, match="a name or a password in it") as refused:
            check(f"http://joe{mark}:sec{mark}ret@a.example/x.tar")
        assert "ret" not in str(refused.value.errors()[0]["msg"] if check != without_credentials else refused.value)


@pytest.mark.parametrize("mark", ["'", '"', "<", " ", "\n", "\x1b", "ä"])
def test_an_address_with_what_no_address_has_is_refused_and_not_shown(mark):
    with pytest.raises(ValueError, match="no address has") as refused:
        without_credentials(f"http://a.example/x{mark}y.tar")
    assert "x" + mark not in str(refused.value)


def test_a_traceback_with_all_its_causes_is_masked_in_logs(caplog):
    mask_logs()
    try:
        try:
            raise ValueError("Invalid address: tcp://joe:sec'ret@h:1")  # as libraries do
        except ValueError as error:
            raise KeyError("http://ann:secret@h") from error
    except KeyError:
        logging.getLogger("anybody").exception("it failed at %s", "http://ann:secret@h")
    assert "direct cause" in caplog.text
    assert "ret@" not in caplog.text
    assert "KeyError: 'http://***@h'" in caplog.text


def test_values_are_masked_wherever_they_are():
    value = {"http://a:b@c": ["x", {"y": "http://a:b@c", "z": 1}], "n": None}
    assert masked_values(value) == {"http://***@c": ["x", {"y": "http://***@c", "z": 1}], "n": None}


def test_no_error_and_no_stored_text_shows_a_password():
    at = "http://joe:pw@a.example/"
    problems = [
        BaseforgeError(at, where=at, hint=at, output=at),
        ArchiveUnreachable(at, at),
        RecipeInvalid([("x.yaml:1:1", at), ("x.yaml:2:1", at)]),
    ]
    for problem in problems:
        for each in (problem, pickle.loads(pickle.dumps(problem))):
            assert "pw" not in f"{each} {each!r} {each.__dict__}"

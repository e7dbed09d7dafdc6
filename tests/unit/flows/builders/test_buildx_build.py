"""Builds of Dockerfiles: buildx's command line, its error messages, and secrets."""

from __future__ import annotations

import gzip
import itertools
from pathlib import Path

import pytest
import zstandard

from flows.builders import buildx_build, secrets
from flows.builders.buildx_build import BuildRequest, _with_stages
from flows.builders.errors import BuilderFailed, BuildxFailed
from flows.builders.secrets import Secrets
from flows.image.archives import uncompressed_file
from flows.image.errors import LayerDamaged
from rootfs.errors import BuildError, InputError, MachineError
from rootfs.process.errors import ProgramFailed

VALUE = b"first line of it\nsecond line"


def order(tmp_path: Path, **more: object) -> BuildRequest:
    said = {
        "context": tmp_path / "context",
        "dockerfile": "Dockerfile",
        "shown": Path("recipes/own/Dockerfile"),
        "platform": "linux/amd64",
        "epoch": 7,
        "target": None,
        "args": {},
        "base_images": {},
        "secrets": Secrets("own"),
        "ssh": {},
        "online": False,
        "without_cache": False,
    }
    return BuildRequest(**{**said, **more})  # type: ignore[arg-type]


def test_the_buildx_command_line_is_complete(tmp_path):
    plainly = order(tmp_path).words()
    assert "--network=none" in plainly
    assert "--provenance=false" in plainly
    assert "SOURCE_DATE_EPOCH=7" in plainly
    assert "--no-cache" not in plainly
    lent = Secrets("own", {"token": Path('/odd, "path"')}, {"token": VALUE})
    words = order(
        tmp_path, args={"A": "b"}, target="x", secrets=lent, ssh={"default": Path("/s")}, without_cache=True
    ).words()
    pairs = list(itertools.pairwise(words))
    assert {("--build-arg", "A=b"), ("--target", "x"), ("--ssh", "default=/s")} <= set(pairs)
    assert ("--secret", 'id=token,"src=/odd, ""path"""') in pairs
    assert "--no-cache" in words
    online = order(tmp_path, online=True).words()
    assert {"--pull", "--no-cache"} <= set(online)
    assert "--network=none" not in online


EXCERPT = """#5 [2/2] RUN x
------
 > [2/2] RUN x:
0.1 it said first line of it
------
Dockerfile:3
--------------------
   3 | >>> RUN x
--------------------
ERROR: failed to solve: x"""
FAILURES = [
    ("failed to build: failed to solve: exit code: 3", BuildError, "recipes/own/Dockerfile:3:1: exit code: 3"),
    (
        'failed to solve: debian: source "docker-image://docker.io/library/debian" denied by policy: no',
        InputError,
        "recipes/own/Dockerfile:3:1: docker.io/library/debian would be fetched",
    ),
    ("failed to solve: rpc error: code = Unavailable desc = EOF", BuilderFailed, "builder far (remote): building"),
    ("failed to solve: write: no space left on device", BuilderFailed, "builder far (remote): building"),
    ("no builder found", BuilderFailed, "builder far (remote): building"),
]


@pytest.mark.parametrize(("reason", "kind", "said"), FAILURES)
def test_a_build_error_names_its_cause(tmp_path, monkeypatch, reason, kind, said):
    def fails(*_words, log, more, **_others):
        assert Path(more[buildx_build.POLICIES]).is_file()
        log("0.1 it said first line of it")
        raise BuildxFailed("build", reason) from ProgramFailed("docker", 1, EXCERPT)

    monkeypatch.setattr(buildx_build, "buildx", fails)
    logged: list[str] = []
    mine = order(tmp_path, secrets=Secrets("own", {}, {"token": VALUE}))
    with pytest.raises(kind) as caught:
        buildx_build.build_with_builder(mine, "far", "remote", tmp_path, logged.append)
    assert str(caught.value).startswith(said)
    assert "first line of it" not in str(caught.value) + "".join(logged)
    if kind is not BuilderFailed:
        assert "  | > [2/2] RUN x:\n  | 0.1 it said •••\n  |    3 | >>> RUN x" in str(caught.value)


@pytest.mark.parametrize("size", [1, 5, 27, 28, 1000])
def test_a_secret_is_found_across_chunk_borders(size):
    data = b"x" * 20 + VALUE + b"y" * 30
    watching = Secrets("own", {}, {"token": VALUE}).watched(
        (data[at : at + size] for at in range(0, len(data), size)), "here"
    )
    with pytest.raises(BuildError, match="own: the secret 'token' is in here"):
        list(watching)
    harmless = [data[:30], data[31:]]
    assert list(Secrets("own", {}, {"token": VALUE}).watched(harmless, "here")) == harmless


def test_secrets_are_files_that_the_settings_name(tmp_path):
    (tmp_path / "token").write_bytes(VALUE + b"\n")
    (tmp_path / "short").write_bytes(b"1234567\n")
    site = {name: tmp_path / name for name in ("token", "short", "gone")}
    assert secrets.read_secrets("own", ["token"], site).values == {"token": VALUE}
    assert "first" not in repr(secrets.read_secrets("own", ["token"], site))
    for name, said in {"short": "fewer than 8 bytes", "gone": "there is no", "other": "the site names none"}.items():
        with pytest.raises(MachineError, match=said) as caught:
            secrets.read_secrets("own", [name], site)
        assert caught.value.status == 3


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("FROM base\n", "FROM x/y:0 AS base\nFROM base\n"),
        ("# c\nARG A=1\n  from a AS b\nFROM c\n", "# c\nARG A=1\nFROM x/y:0 AS base\n  from a AS b\nFROM c\n"),
    ],
)
def test_base_images_are_stages_before_the_first(tmp_path, text, expected):
    (tmp_path / "in").mkdir()
    file = tmp_path / "in/Dockerfile"
    file.write_text(text)
    (tmp_path / "in/Dockerfile.dockerignore").write_text("z\n")
    made = _with_stages(file, {"base": "x/y:0"}, tmp_path)
    assert made.read_text() == expected
    assert made.with_name("Dockerfile.dockerignore").read_text() == "z\n"
    assert _with_stages(file, {}, tmp_path) == file


TAR = b"\0" * 3_000_000
FORMS = {"plain": TAR, "gzip": gzip.compress(TAR), "zstd": zstandard.compress(TAR[:9]) + zstandard.compress(TAR[9:])}


@pytest.mark.parametrize("form", FORMS)
def test_layers_of_every_compression_are_read(tmp_path, form):
    (tmp_path / "layer").write_bytes(FORMS[form])
    assert b"".join(uncompressed_file(tmp_path / "layer")) == TAR


@pytest.mark.parametrize("data", [FORMS["gzip"][:-9], FORMS["zstd"][:4] + b"x" * 20])
def test_damaged_layers_are_refused(tmp_path, data):
    (tmp_path / "layer").write_bytes(data)
    with pytest.raises(LayerDamaged):
        list(uncompressed_file(tmp_path / "layer"))

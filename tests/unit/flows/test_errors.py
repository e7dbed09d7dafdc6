"""Which errors may pass by themselves."""

from __future__ import annotations

import json

import pytest

from flows.builders.errors import BuilderFailed, EngineRefused, engine_unreachable
from flows.publish.errors import RegistryDenied, registry_unreachable
from flows.store.errors import store_unreachable
from rootfs.apt.errors import ArchiveUnreachable, PackageMissing, older_release
from rootfs.errors import BaseforgeError, BuildError, InputError, RecipeInvalid, RecipeValue, error_from, nearest
from rootfs.process.errors import ProgramFailed, ProgramMissing
from rootfs.system.errors import DiskFull

PASSING = (
    ArchiveUnreachable("http://archive", "502 Bad Gateway"),
    older_release("http://archive", "Monday", "Tuesday", "/memory"),
    store_unreachable("s3://bucket", "http://s3", "refused"),
    registry_unreachable("registry", "refused"),
    RegistryDenied("registry"),
    engine_unreachable("unix:///docker.sock", "refused"),
    EngineRefused("unix:///docker.sock", "loading", "no space left on device"),
    BuilderFailed("own", "remote", "starting", "refused"),
    ProgramMissing("mmdebstrap"),
    DiskFull("/var"),
)
LASTING = (
    RecipeInvalid([("a.yaml:1:1", "wrong")]),
    PackageMissing("nothing", "trixie", ["main"]),
    ProgramFailed("sh", 1, ""),
    EngineRefused("unix:///docker.sock", "starting", "no such user"),
    BuildError("a check failed"),
    InputError("wrong"),
)


@pytest.mark.parametrize("error", PASSING, ids=lambda error: type(error).__name__)
def test_an_error_of_the_network_or_the_machine_may_pass(error: BaseforgeError) -> None:
    assert error.transient
    assert error_from(error.as_dict()).transient


@pytest.mark.parametrize("error", LASTING, ids=lambda error: type(error).__name__)
def test_an_error_of_the_recipe_or_the_image_does_not_pass(error: BaseforgeError) -> None:
    assert not error.transient
    assert not error_from(error.as_dict()).transient


@pytest.mark.parametrize(
    ("word", "known", "meant"),
    [
        ("siute", ("suite", "variant"), "suite"),
        ("mian", ("main", "universe"), "main"),
        ("kube", ("docker-container", "kubernetes"), "kubernetes"),
        ("europe/berlin", ("Europe/Berlin", "UTC"), "Europe/Berlin"),
        ("stable", ("sarge", "trixie"), ""),
        ("round", ("good", "away"), ""),
        ("Mars/Base", ("Asia/Gaza", "Africa/Bissau"), ""),
        ("gobuild", ("golang", "podman"), ""),
    ],
)
def test_only_a_word_that_is_near_is_proposed(word: str, known: tuple[str, ...], meant: str) -> None:
    assert nearest(word, known) == (f"Did you mean {meant!r}?" if meant else "")


def test_an_error_of_another_process_is_still_about_a_value_of_the_recipe() -> None:
    about = RecipeValue("/srv/x", ("files",), beside="owner")
    again = error_from(json.loads(json.dumps(InputError("no such user", about=about).as_dict())))
    assert (again.about, again.status) == (about, 2)

"""An authority of one's own: one setting makes archives, the registry and the S3 server trusted."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.debian import Archive, Deb, served, signer
from tests.support.factory import Done, Factory
from tests.support.services.registry import registry
from tests.support.services.s3 import S3Server, serve_s3
from tests.support.services.tls import Identity, identity

RECIPE = """\
kind: scratch
suite: trixie
packages: [firmdata]
repositories:
  - {{uri: "{uri}", suites: [stable], keyring: key.asc}}
"""


@dataclass(frozen=True)
class Firm:
    """An archive, a registry and an S3 server whose certificates are of the firm's own authority."""

    tls: Identity
    archive: str
    registry: str
    s3: S3Server
    key: str


@pytest.fixture(scope="module")
def firm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Firm]:
    folder = tmp_path_factory.mktemp("firm")
    tls = identity(folder / "tls")
    with (
        signer(folder / "keys") as made,
        served(folder / "archive", tls) as archive,
        registry(folder / "registry", tls=tls) as host,
        serve_s3(folder / "s3", tls=tls) as s3,
    ):
        Archive(folder / "archive", made).publish(Deb("firmdata", files={"/srv/firm": "data\n"}), suite="stable")
        yield Firm(tls, archive.address, host, s3, made.armoured.read_text())


@pytest.fixture
def site(firm: Firm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Factory]:
    monkeypatch.setenv("BASEFORGE_HOME", str(tmp_path / "home"))
    made = Factory(tmp_path / "site", {"BASEFORGE_LOCAL_NAME": "baseforge-authorities"})
    made.folder.mkdir()
    made.recipe("firm", RECIPE.format(uri=firm.archive), key_asc=firm.key)
    yield made
    made.run("stop")
    made.remove_images()


def untrusted(done: Done, where: str) -> None:
    """The error names the place and the setting, in words and not in a program's raw lines."""
    assert done.status not in (0, None)
    assert re.search(rf"{where}.*certificate|certificate.*{where}", done.stderr, re.DOTALL), done.stderr
    assert "`ca_bundle`" in done.stderr
    assert "Traceback" not in done.stderr
    assert "level=fatal" not in done.stderr


def test_one_setting_makes_every_connection_trusted(firm: Firm, site: Factory, monkeypatch: pytest.MonkeyPatch) -> None:
    archive, s3 = firm.archive, firm.s3
    untrusted(site.run("lock", "firm"), archive.removeprefix("https://"))
    for name, value in s3.environment().items():
        monkeypatch.setenv(name, value)
    with monkeypatch.context() as own:
        own.setenv("AWS_CA_BUNDLE", str(firm.tls.certificate))  # for the test's own client
        bucket = s3.make_bucket()
    store = {"BASEFORGE_STORE": f"s3://{bucket}", "BASEFORGE_S3_ENDPOINT": s3.endpoint}
    untrusted(site.run("list", env=store), s3.endpoint.removeprefix("https://"))
    trusted = {"BASEFORGE_CA_BUNDLE": str(firm.tls.certificate)}
    pushed = {"BASEFORGE_REGISTRY": f"{firm.registry}/team"}
    by_machine = {"SSL_CERT_FILE": str(firm.tls.certificate)}
    assert site.run("lock", "firm", env=by_machine).status == 0
    done = site.run("build", "firm", env=trusted | store | pushed)
    assert done.status == 0, done.stderr
    assert site.run("list", env=trusted | store).stdout.count("firm") == 1
    local = site.run("build", "firm", env={"BASEFORGE_REGISTRY": f"{firm.registry}/other", **by_machine})
    assert local.status == 0, local.stderr
    refused = site.run("build", "firm", "--force", "--offline", env={"BASEFORGE_REGISTRY": f"{firm.registry}/third"})
    untrusted(refused, f"{firm.registry}/third")


def test_a_bundle_that_is_none_is_refused_where_it_is_named(site: Factory) -> None:
    (site.folder / "baseforge.toml").write_text('store = "store"\nca_bundle = "recipes/firm/key.asc"\n')
    done = site.run("list")
    assert done.status == 2
    assert "baseforge.toml:2:1" in done.stderr
    assert "holds no certificates in PEM form" in done.stderr

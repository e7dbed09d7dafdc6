"""Files with certificates of authorities, read and checked as a recipe names them."""

import ssl

import pytest

from rootfs.errors import RecipeInvalid
from rootfs.lock.requirements import check_requirements
from rootfs.network.certificates import read_certificates
from rootfs.recipe.recipe import read_recipe
from tests.support.authorities import authority

RECIPE = "kind: scratch\ncertificates: [ca.crt]\n"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("authorities")
    authority(folder, "one")
    authority(folder, "two")
    authority(folder, "three")
    authority(folder, "server", ca=False)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def refusal(tmp_path):
    def of(content):
        (tmp_path / "r").mkdir()
        (tmp_path / "r/ca.crt").write_bytes(content)
        (tmp_path / "r.yaml").write_text(RECIPE)
        with pytest.raises(RecipeInvalid) as refused:
            read_recipe(tmp_path / "r.yaml")
        return str(refused.value).removeprefix(f"{tmp_path}/").replace(str(tmp_path), "")

    return of


def test_a_file_may_have_several_and_text_around_them(made, tmp_path):
    (tmp_path / "our ca.pem").write_bytes(b"# ours\n" + made["one.crt"] + b"\n# and this\n" + made["two.crt"])
    one, two = read_certificates(tmp_path, ["our ca.pem"])
    assert [(each.path, each.subject) for each in (one, two)] == [
        ("usr/local/share/ca-certificates/our_ca.crt", "commonName=one"),
        ("usr/local/share/ca-certificates/our_ca-2.crt", "commonName=two"),
    ]
    assert one.pem == made["one.crt"]


def test_files_of_one_name_become_files_of_several(made, tmp_path):
    files = {"a/ca.crt": "one.crt", "b/CA.crt": "two.crt", "c/ca-2.crt": "three.crt", "d/ca.crt": "one.crt"}
    for file, content in files.items():
        (tmp_path / file).parent.mkdir()
        (tmp_path / file).write_bytes(made[content])
    found = [(each.name, each.subject) for each in read_certificates(tmp_path, files)]
    assert found == [("ca", "commonName=one"), ("CA-2", "commonName=two"), ("ca-2-2", "commonName=three")]


def test_what_is_no_certificate_of_an_authority_is_refused_with_its_place(made, refusal):
    said = refusal(made["server.crt"])
    assert said.startswith("r.yaml:2:16: /r/ca.crt has the certificate of a server or person, not of an authority (CA)")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "/r/ca.crt has no certificate in PEM form"),
        (b"\x30\x82", "/r/ca.crt has no certificate in PEM form"),
        (
            b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "/r/ca.crt: what is in it as a certificate",
        ),
    ],
)
def test_what_is_no_certificate_is_refused(refusal, content, why):
    assert refusal(content).startswith(f"r.yaml:2:16: {why}")


def test_a_private_key_is_refused(made, refusal):
    assert "has a private key in it" in refusal(made["one.crt"] + made["one.key"])


def test_an_expired_one_is_refused_for_a_new_build_and_read_for_an_old_one(made, tmp_path, monkeypatch):
    (tmp_path / "r").mkdir()
    (tmp_path / "r/ca.crt").write_bytes(made["one.crt"])
    (tmp_path / "r.yaml").write_text(RECIPE)
    recipe = read_recipe(tmp_path / "r.yaml")
    check_requirements([recipe], tuple, tmp_path / "r.yaml")
    monkeypatch.setattr("time.time", lambda: 1e10)
    assert read_recipe(tmp_path / "r.yaml") == recipe
    with pytest.raises(RecipeInvalid, match=r"r.yaml:2:16: ca.crt: the certificate of commonName=one expired \w"):
        check_requirements([recipe], tuple, tmp_path / "r.yaml")


def test_a_debian_tree_needs_the_package(made, tmp_path):
    (tmp_path / "r").mkdir()
    (tmp_path / "r/ca.crt").write_bytes(made["one.crt"])
    (tmp_path / "r.yaml").write_text("kind: debootstrap\nsuite: trixie\ncertificates: [ca.crt]\n")
    recipe = read_recipe(tmp_path / "r.yaml")
    check_requirements([recipe], lambda: {"ca-certificates"}, tmp_path / "r.yaml")
    with pytest.raises(RecipeInvalid, match=r"3:15: `certificates` needs the package `ca-certificates`"):
        check_requirements([recipe], tuple, tmp_path / "r.yaml")


def test_openssl_reads_what_is_written(made, tmp_path):
    [one] = read_certificates(tmp_path, [(tmp_path / "x.crt").write_bytes(made["one.crt"]) and "x.crt"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=one.pem.decode())
    assert context.cert_store_stats()["x509_ca"] == 1

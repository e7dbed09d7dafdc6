"""Images of tarballs, by a recipe and by `import`, from a pipe, a file and an address: run, verified, unchanged."""

from __future__ import annotations

import gzip
import hashlib
import lzma
import os
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.debian import signer
from tests.support.factory import BASEFORGE, Done, Factory
from tests.support.hostile import END, file, symlink
from tests.support.keys import pem
from tests.support.mirror import serving
from tests.support.trees import grown, shown

LOCAL_NAME = "baseforge-tarball"
APK = b"P:busybox\nV:1.36.1-r29\nA:x86_64\n\n"
OS_RELEASE = b'ID=alpine\nPRETTY_NAME="Alpine Linux v3.20"\n'
NEWEST = 1_750_000_000  # seconds since 1970


@pytest.fixture(scope="module")
def busybox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree as the scripts of small distributions make it, around a real busybox."""
    folder = tmp_path_factory.mktemp("busybox")
    subprocess.run(["apt-get", "download", "busybox-static"], cwd=folder, check=True, capture_output=True)
    subprocess.run(["dpkg-deb", "--extract", next(folder.glob("*.deb")), folder / "deb"], check=True)
    program = next(path for path in (folder / "deb").rglob("busybox") if os.access(path, os.X_OK) and path.is_file())
    root = folder / "root"
    files = {"lib/apk/db/installed": APK, "etc/os-release": OS_RELEASE, "bin/busybox": program.read_bytes()}
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    (root / "bin/busybox").chmod(0o755)
    for name in ("sh", "cat", "id", "ls"):
        (root / "bin" / name).symlink_to("busybox")
    (root / "home/one").mkdir(parents=True)
    os.chown(root / "home/one", 1000, 1000)
    for path in (root, *root.rglob("*")):
        os.utime(path, (NEWEST, NEWEST), follow_symlinks=False)
    return root


def tar(root: Path, *options: str) -> bytes:
    return subprocess.run(["tar", *options, "-C", root, "-c", "."], check=True, capture_output=True).stdout


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Factory]:
    """A site with a recipe, so that a night has something to do."""
    made = Factory(tmp_path_factory.mktemp("site"), {"BASEFORGE_LOCAL_NAME": LOCAL_NAME})
    made.recipe("tiny", "kind: scratch\nfiles: [{path: /motd, content: hello}]\n")
    yield made
    made.remove_images()


def imported(site: Factory, name: str, source: str, *words: str, stdin: bytes | None = None) -> Done:
    site.folder.mkdir(exist_ok=True)
    done = subprocess.run(
        [BASEFORGE, "import", name, source, "--json", *words],
        input=stdin,
        stdin=None if stdin is not None else subprocess.DEVNULL,
        cwd=site.folder,
        env=site.environment,
        capture_output=True,
        check=False,
    )
    assert b"Traceback" not in done.stderr
    assert site.leftovers() == []
    return Done(done.returncode, done.stdout.decode(), done.stderr.decode(), ("import",))


def docker(*words: str) -> str:
    return subprocess.run(["docker", "run", "--rm", *words], capture_output=True, text=True, check=True).stdout


SMOKE = ["--cmd", "/bin/sh -c 'id -u; cat /etc/os-release'", "--smoke", "/bin/cat /etc/os-release"]


def test_a_stream_becomes_an_image_that_runs_and_verifies_and_is_the_same_from_a_file(site, busybox, tmp_path):
    packed = lzma.compress(tar(busybox, "--format=posix"), preset=1)
    done = imported(site, "alpine", "-", *SMOKE, stdin=packed)
    assert done.status == 0, done.stderr
    [record] = done.json
    assert (record["status"], record["packages"], record["distribution"]) == ("published", 1, "Alpine Linux v3.20")
    assert record["lock"]["tarball"] == f"sha256:{hashlib.sha256(packed).hexdigest()}"
    assert docker(f"{LOCAL_NAME}/alpine").encode() == b"0\n" + OS_RELEASE
    assert "1000     1000" in docker(f"{LOCAL_NAME}/alpine", "/bin/ls", "-ln", "/home")
    created = subprocess.run(
        ["docker", "inspect", "--format", "{{.Created}}", f"{LOCAL_NAME}/alpine"], capture_output=True, check=True
    )
    assert created.stdout.startswith(b"2025-06-15T15:06:40")

    found = site.run("verify", "alpine", "--json")
    assert found.status == 0, found.stderr
    assert found.json["status"] == "reproduced"

    (tmp_path / "rootfs.tar.xz").write_bytes(packed)
    again = imported(site, "alpine", str(tmp_path / "rootfs.tar.xz"), *SMOKE)
    assert again.json[0]["status"] == "unchanged", again.stderr


def test_what_an_engine_saves_is_imported_by_its_layers_when_asked(site, busybox, tmp_path):
    assert imported(site, "plain", "-", stdin=tar(busybox)).status == 0
    saved = tmp_path / "saved.tar"
    subprocess.run(["docker", "save", "-o", saved, f"{LOCAL_NAME}/plain"], check=True)
    refused = imported(site, "again", str(saved))
    assert refused.status == 1
    assert "is an image archive" in refused.stderr
    assert "--image" in refused.stderr
    done = imported(site, "again", str(saved), "--image", *SMOKE)
    assert done.status == 0, done.stderr
    assert done.json[0]["packages"] == 1
    assert docker(f"{LOCAL_NAME}/again").encode() == b"0\n" + OS_RELEASE
    below = subprocess.run(
        ["tar", "-c", "--transform", "s,^\\.,top,", "-C", busybox, "."], capture_output=True, check=True
    )
    assert "--strip 1" in imported(site, "below", "-", stdin=below.stdout).stderr
    assert imported(site, "below", "-", "--strip", "1", *SMOKE, stdin=below.stdout).status == 0


def test_what_an_option_says_wrongly_is_shown_with_the_option(site, busybox):
    done = imported(site, "odd", "-", "--cmd", "nosuchprog", stdin=tar(busybox))
    assert done.status in (1, 2)
    assert "--cmd: `cmd`: there is no program 'nosuchprog'" in done.json[0]["reason"]
    assert ".yaml" not in done.stderr


def test_a_night_leaves_imported_images_out(site):
    night = site.run("nightly", "--json")
    assert night.status == 0, night.stderr
    assert [record["image"] for record in night.json["builds"]] == ["tiny"]


def test_a_recipe_with_an_address_and_a_signature_is_fetched_once_and_verifies_without_network(site, busybox, tmp_path):
    packed = gzip.compress(tar(busybox, "--format=gnu"), mtime=0)
    with serving() as mirror, signer(tmp_path / "keys") as key:
        mirror.files |= {"/rootfs.tar.gz": packed, "/rootfs.tar.gz.sig": key.gpg("--detach-sign", data=packed)}
        where = f"{mirror.address}/rootfs.tar.gz"
        text = f"kind: tarball\nsource: {where}\nsha256: {hashlib.sha256(packed).hexdigest()}\n"
        text += f"signature: {where}.sig\nkeyring: ring\nsmoke: [{{run: [/bin/sh, -c, 'exit 0']}}]\n"
        site.recipe("remote", text, ring="")
        (site.recipes / "remote/ring").write_bytes(key.armoured.read_bytes())
        done = site.run("build", "remote", "--json")
        assert done.status == 0, done.stderr
        assert "✓ signature remote" in done.stderr
        assert site.run("build", "remote", "--json").json[0]["status"] == "unchanged"
        assert [path for path, _ in mirror.asked] == ["/rootfs.tar.gz", "/rootfs.tar.gz.sig"]
    found = site.run("verify", "remote", "--json")
    assert found.status == 0, found.stderr
    assert found.json["status"] == "reproduced"
    (site.recipes / "remote.yaml").unlink()


def test_a_recipe_with_a_file_keeps_it_once_and_verifies_when_it_is_gone(site, busybox):
    site.recipe("local", "kind: tarball\nsource: rootfs.tar\nleave_out: [/home/*]\n", rootfs_tar="")
    archive = site.recipes / "local/rootfs.tar"
    archive.write_bytes(tar(busybox))
    done = site.run("build", "local", "--json")
    assert done.status == 0, done.stderr
    kept = site.folder / "store/blobs/sha256" / done.json[0]["ingredients"].removeprefix("sha256:")
    with tarfile.open(kept) as ingredients:
        assert ingredients.getnames() == ["local.yaml", "local"]
    archive.write_bytes(b"another")
    found = site.run("verify", "local", "--json")
    assert found.status == 0, found.stderr
    assert found.json["status"] == "reproduced"
    (site.recipes / "local.yaml").unlink()


def test_an_address_is_trusted_by_its_sha256_alone(site, busybox):
    packed = tar(busybox)
    with serving() as mirror:
        mirror.files["/x.tar"] = packed
        wrong = imported(site, "far", f"{mirror.address}/x.tar", "--sha256", "0" * 64)
        assert (wrong.status, "another archive" in wrong.stderr) == (1, True)
        done = imported(site, "far", f"{mirror.address}/x.tar", "--no-publish")
    assert done.status == 0, done.stderr
    assert done.json[0]["status"] == "built"


KEY = pem()


def test_a_private_key_is_imported_with_a_reason(site):
    words = ("--private-key", "/etc/*.key=a key for tests", "--no-publish")
    done = imported(site, "keyed", "-", *words, stdin=file(b"etc/a.key", KEY) + END)
    assert (done.status, done.json[0]["status"]) == (0, "built"), done.stderr


REFUSED = [
    (b"hello", (), 1, "it is no tar archive"),
    (symlink(b"a", b"/etc") + file(b"a/passwd") + END, (), 1, "is below a, which is no folder"),
    (file(b"bin/su", mode=0o4755) + END, (), 1, "| /bin/su"),
    (file(b"etc/a.key", KEY) + END, (), 1, "/etc/a.key: private key in PEM"),
    (file(b"etc/a.key", KEY) + END, ("--private-key", "/etc/*"), 2, "a reason is a sentence"),
    (file() + END, ("--leave-out", "f"), 2, "leave_out: 'f' is not a pattern of paths"),
    (file() + END, ("--cmd", "'"), 2, "is no command"),
    (file() + END, ("--sha256", "12"), 2, "is not a sha256"),
    (file() + END, ("--largest", "100"), 1, "unpacks to more than 100 bytes"),
]


@pytest.mark.parametrize(("data", "words", "status", "said"), REFUSED)
def test_impossible_imports_are_refused_and_leave_nothing(data, words, status, said, site):
    before = site.builds()
    done = imported(site, "bad", "-", *words, stdin=data)
    assert (done.status, said in done.stderr) == (status, True), done.stderr
    assert site.builds() == before


@pytest.mark.parametrize(
    ("name", "said"), [("tiny", "is the recipe of an image of this name"), ("No", "not a name"), ("../x", "not a name")]
)
def test_impossible_names_are_refused(name, said, site):
    done = imported(site, name, "-", stdin=END)
    assert (done.status, said in done.stderr) == (2, True), done.stderr


@pytest.mark.parametrize("source", ["/nowhere/at/all", "/etc"])
def test_a_missing_file_and_a_folder_are_refused(source, site):
    done = imported(site, "bad", source)
    assert (done.status, "cannot be had" in done.stderr) == (2, True), done.stderr


@pytest.mark.parametrize("form", ["gnutar", "pax", "ustar", "pax --zstd"])
def test_archives_of_bsdtar_are_read(form, busybox, tmp_path):
    subprocess.run(["bsdtar", *f"--format {form}".split(), "-cf", tmp_path / "a.tar", "-C", busybox, "."], check=True)
    ours = tmp_path / "ours"
    ours.mkdir()
    with grown(tmp_path / "a.tar", tmp_path) as theirs, grown(tar(busybox), ours) as known:
        assert [(each.path, shown(each), each.mtime) for each in theirs] == [
            (each.path, shown(each), each.mtime) for each in known
        ]


def test_extended_attributes_come_through_gnu_tar(tmp_path):
    (tmp_path / "root").mkdir()
    (tmp_path / "root/ping").write_text("x")
    capability = bytes.fromhex("0000000200200000000000000000000000000000")
    os.setxattr(tmp_path / "root/ping", "security.capability", capability)
    with grown(tar(tmp_path / "root", "--xattrs", "--xattrs-include=*"), tmp_path) as members:
        assert [member.xattrs for member in members] == [{}, {"security.capability": capability}]


def test_an_endless_stream_comes_to_an_end(site):
    with subprocess.Popen(["cat", "/dev/zero"], stdout=subprocess.PIPE) as zeros:
        done = subprocess.run(
            [BASEFORGE, "import", "endless", "-", "--largest", "50000000"],
            stdin=zeros.stdout,
            cwd=site.folder,
            env=site.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        zeros.kill()
    assert (done.returncode, "unpacks to more than 50000000 bytes" in done.stderr) == (1, True), done.stderr

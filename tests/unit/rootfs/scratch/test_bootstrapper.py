"""Scratch trees: named files and files that commands make, with their owners."""

import tarfile

import pytest

from rootfs.bootstrap.bootstrapper import Job, open_tree
from rootfs.errors import BuildError, InputError
from rootfs.lock.lock import Lock
from rootfs.process.errors import ProgramFailed
from rootfs.recipe.recipe import files_folder, read_recipe


@pytest.fixture
def tree(tmp_path):
    def make(text, **files):
        (tmp_path / "r").mkdir()
        for name, content in files.items():
            (tmp_path / "r" / name).write_text(content)
        (tmp_path / "r.yaml").write_text("kind: scratch\n" + text)
        work = tmp_path / "work"
        work.mkdir()
        recipe = read_recipe(tmp_path / "r.yaml")
        files = files_folder(tmp_path / "r.yaml")
        job = Job(recipe, files, Lock(), "amd64", work, tmp_path, None, lambda line: None)
        with open_tree(job) as members:
            return {m.path: (m, m.content.read() if m.content else None) for m in members}

    return make


def test_files_links_and_contents_with_their_folders_in_order(tree):
    text = """
files:
  - {path: /usr/bin/run, from: run, mode: '4755', owner: '7:8'}
  - {path: /etc/motd, content: hi}
  - {path: /bin, link: usr/bin}
"""
    found = tree(text, run="#!")
    assert list(found) == [".", "bin", "etc", "etc/motd", "usr", "usr/bin", "usr/bin/run"]
    run, data = found["usr/bin/run"]
    assert (run.mode, run.uid, run.gid, run.mtime, data) == (0o4755, 7, 8, 0, b"#!")
    assert (found["bin"][0].kind, found["bin"][0].link) == (tarfile.SYMTYPE, "usr/bin")
    assert (found["etc/motd"][1], found["etc/motd"][0].mode) == (b"hi", 0o644)
    assert (found["usr"][0].kind, found["usr"][0].mode) == (tarfile.DIRTYPE, 0o755)


def test_files_belong_to_users_that_the_recipe_makes(tree):
    text = """
groups: [{name: data, gid: 4294967294}]
users: [{name: app, uid: 1000680000}]
files:
  - {path: /srv/x, content: x, owner: 'app:data'}
  - {path: /srv/y, link: x, owner: 'app:0'}
"""
    found = tree(text)
    assert [(found[path][0].uid, found[path][0].gid) for path in ("srv/x", "srv/y")] == [
        (1000680000, 4294967294),
        (1000680000, 0),
    ]


def test_a_user_that_nobody_makes_owns_nothing(tree):
    with pytest.raises(InputError, match="/srv/x: the image has no user 'app'"):
        tree("files: [{path: /srv/x, content: x, owner: 'app:0'}]\n")


def test_commands_make_files_without_network_and_without_the_users_environment(tree, monkeypatch):
    monkeypatch.setenv("SECRET", "x")
    text = """
build:
  - [sh, -c, 'env | cut -d= -f1 | sort > names; cat /proc/net/dev > net; chmod 755 names']
files:
  - {path: /names, from: names}
  - {path: /net, from: net}
"""
    found = tree(text)
    assert b"SECRET" not in found["names"][1]
    assert found["names"][0].mode == 0o755
    assert [line.split(b":")[0].strip() for line in found["net"][1].splitlines()[2:]] == [b"lo"]


def test_commands_do_not_see_the_users_proxy(tree, monkeypatch):
    for name in ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"):
        monkeypatch.setenv(name, "http://user:password@127.0.0.1:1")
    text = """
build: [[sh, -c, 'env | sort > seen']]
files: [{path: /seen, from: seen}]
"""
    found = tree(text)["seen"][1].decode()
    assert "proxy" not in found.lower()


def test_a_file_that_was_not_made_is_named(tree):
    with pytest.raises(BuildError, match="'out'"):
        tree("build: [['true']]\nfiles: [{path: /out, from: out}]\n")


def test_a_command_that_fails_shows_its_output(tree):
    with pytest.raises(ProgramFailed, match="exit status 3") as caught:
        tree("build: [[sh, -c, 'echo oh no >&2; exit 3']]\nfiles: [{path: /out, from: out}]\n")
    assert "oh no" in str(caught.value)

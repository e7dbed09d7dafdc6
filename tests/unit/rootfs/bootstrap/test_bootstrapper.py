"""What bootstrappers share: packages, the local archive, cached trees, the installation plan."""

import hashlib
import lzma
import subprocess
import sys
import textwrap
import threading
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from rootfs.bootstrap import debian, local_repository, tree_cache
from rootfs.bootstrap.apt_files import added_files, base_files, keyring_path
from rootfs.bootstrap.bootstrapper import Job, open_tree
from rootfs.bootstrap.install_plan import StartTree, make_plan
from rootfs.errors import MachineError
from rootfs.install.plan import Plan
from rootfs.lock.lock import Lock, Release
from rootfs.packages import deb, decompressed
from rootfs.packages.errors import BadDeb
from rootfs.recipe.debootstrap import DebootstrapRecipe
from rootfs.recipe.layer import LayerRecipe
from rootfs.recipe.sections import PathRules
from rootfs.tree.merge import LayerStack
from tests.support.debs import COMPRESSORS, CONTROL, a_deb, ar, package, tar


@pytest.mark.parametrize("ending", COMPRESSORS)
def test_a_deb_is_unpacked_whatever_its_compression(tmp_path, ending):
    (tmp_path / "a.deb").write_bytes(a_deb(ending))
    made = deb.decompress_deb(tmp_path / "a.deb", tmp_path / "b.deb")
    assert made.control == CONTROL.decode().strip()
    assert (tmp_path / "b.deb").read_bytes() == a_deb("")
    assert made.size == len(a_deb(""))
    assert deb.decompress_deb(tmp_path / "b.deb", tmp_path / "c.deb") == made


KEYRING = Path(__file__)  # any file will do
BROKEN = {
    "empty": (b"", "not an ar archive"),
    "a web page": (b"<html>" * 20, "not an ar archive"),
    "headers": (b"!<arch>\n" + b"x" * 60, "headers are broken"),
    "half a header": (a_deb()[:30], "headers are broken"),
    "cut short": (a_deb()[:-20], "data.tar.xz"),
    "no control": (ar([("debian-binary", b"2.0\n")]), "no control file"),
    "another compression": (ar([("control.tar.bz2", b"x")]), "no known compression"),
    "not compressed": (ar([("control.tar.xz", b"x" * 40)]), "control.tar.xz"),
    "compressed and short": (
        ar([("control.tar.xz", lzma.compress(tar({"control": CONTROL}))[:-30])]),
        "control.tar.xz",
    ),
    "no tar": (ar([("control.tar", b"x" * 2000)]), "control.tar"),
}


@pytest.mark.parametrize(("data", "why"), BROKEN.values(), ids=BROKEN)
def test_a_file_that_is_no_deb_is_named(tmp_path, data, why):
    (tmp_path / "a.deb").write_bytes(data)
    with pytest.raises(BadDeb, match=why) as caught:
        deb.decompress_deb(tmp_path / "a.deb", tmp_path / "b.deb")
    assert "a.deb" in str(caught.value)


def test_the_repository_has_just_the_packages_and_all_are_required(tmp_path):
    packages = [package("a"), package("b", "3")]
    for each in packages:
        (tmp_path / each.file_name).write_bytes(a_deb(mtime=5 if each.name == "a" else 9))
    (tmp_path / "r").mkdir()
    local_repository.write_index(
        tmp_path / "r", local_repository.add_packages(tmp_path / "r", tmp_path, packages), "s", "amd64"
    )
    index = (tmp_path / "r/dists/s/main/binary-amd64/Packages").read_text()
    stanzas = index.removesuffix("\n\n").split("\n\n")
    assert [stanza.count("Priority: required") for stanza in stanzas] == [1, 1]
    for path, stanza in zip(sorted((tmp_path / "r/pool").iterdir()), stanzas, strict=True):
        assert f"SHA256: {hashlib.sha256(path.read_bytes()).hexdigest()}" in stanza
    assert "optional" not in index
    assert {path.name for path in (tmp_path / "r/pool").iterdir()} == {"a_amd64.deb", "b_amd64.deb"}
    assert "Codename: s\n" in (tmp_path / "r/dists/s/Release").read_text()
    assert local_repository.newest_build_time(tmp_path, packages) == 9


def test_packages_are_decompressed_once_and_again_if_the_cache_is_damaged(tmp_path, monkeypatch):
    packages = [package("a"), package("b", "3", sha256="1" * 64)]
    for each in packages:
        (tmp_path / each.file_name).write_bytes(a_deb())
    keeping, unpacked = tmp_path / "kept", []
    slow = deb.decompress_deb
    monkeypatch.setattr(deb, "decompress_deb", lambda path, copy: unpacked.append(path.name) or slow(path, copy))

    def make(name):
        unpacked.clear()
        (tmp_path / name).mkdir()
        made = local_repository.add_packages(tmp_path / name, tmp_path, packages, keeping)
        decompressed.save_to_cache(made, keeping)
        files = sorted(path for path in (tmp_path / name).rglob("*") if path.is_file())
        return [(path.name, path.read_bytes()) for path in files]

    first = make("first")
    assert len(unpacked) == 2
    assert make("again") == first
    assert unpacked == []
    for path, damage in zip(sorted(keeping.iterdir()), (b"", b"!<arch>\nnonsense"), strict=True):
        path.write_bytes(damage)
    assert make("damaged") == first
    assert len(unpacked) == 2
    assert make("repaired") == first
    assert unpacked == []


def test_without_write_access_nothing_is_cached(tmp_path):
    (tmp_path / package().file_name).write_bytes(a_deb())
    (tmp_path / "file").touch()
    (tmp_path / "r").mkdir()
    made = local_repository.add_packages(tmp_path / "r", tmp_path, [package()], tmp_path / "file/kept")
    decompressed.save_to_cache(made, tmp_path / "file/kept")
    assert [each.path.name for each in made] == ["a_amd64.deb"]


def test_a_kept_tree_is_found_again_and_a_damaged_one_goes(tmp_path):
    (tmp_path / "made").write_bytes(b"tree")
    folder = tmp_path / "kept"
    assert tree_cache.find_tree(folder, "k") is None
    tree_cache.save_tree(folder, "k", tmp_path / "made")
    found = tree_cache.find_tree(folder, "k")
    assert found.read_bytes() == b"tree"
    assert tree_cache.find_tree(folder, "k") == found
    assert tree_cache.find_tree(folder, "j") is None
    found.write_bytes(b"tred")
    assert tree_cache.find_tree(folder, "k") is None
    assert list(folder.iterdir()) == []


def test_the_least_recently_used_tree_is_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(tree_cache, "MAX_TREES", 2)
    for index, name in enumerate("abc"):
        (tmp_path / "made").write_bytes(name.encode())
        tree_cache.save_tree(tmp_path / "kept", name, tmp_path / "made")
        if found := tree_cache.find_tree(tmp_path / "kept", "a"):
            assert index < 3
            time.sleep(0.02)
            found.touch()
    assert [name for name in "abc" if tree_cache.find_tree(tmp_path / "kept", name)] == ["a", "c"]


def test_a_build_goes_on_without_a_cache(tmp_path):
    (tmp_path / "made").write_bytes(b"tree")
    (tmp_path / "kept").write_text("a file, not a folder")
    tree_cache.save_tree(tmp_path / "kept", "k", tmp_path / "made")
    assert (tmp_path / "kept").is_file()


def keeping():
    return [thread for thread in threading.enumerate() if thread.name == tree_cache.THREAD_NAME]


@pytest.mark.parametrize("soon", [60, 0.01], ids=["once it is used", "soon"])
def test_a_tree_is_kept_while_others_go_on_and_held_until_then(tmp_path, monkeypatch, soon):
    monkeypatch.setattr(tree_cache, "SAVE_DELAY", soon)
    (tar := tmp_path / "base-k.tar").write_bytes(b"tree")
    used, held, folder = threading.Event(), ExitStack(), tmp_path / "kept"
    held.callback((tmp_path / "let go").touch)
    tree_cache.save_in_background(folder, [tar], held, used)
    tar.unlink()
    if soon == 60:
        assert keeping()
        assert not (tmp_path / "let go").exists()
        assert tree_cache.find_tree(folder, "base-k") is None
        used.set()
    for thread in keeping():
        thread.join(20)
    assert (tmp_path / "let go").exists()
    assert tree_cache.find_tree(folder, "base-k").read_bytes() == b"tree"


def test_a_process_ends_when_its_trees_are_kept_whichever_thread_made_them(tmp_path):
    (tar := tmp_path / "base-k.tar").write_bytes(b"tree")
    command = f"""
        import pathlib, threading
        from contextlib import ExitStack
        from rootfs.bootstrap import tree_cache
        tree_cache.SAVE_DELAY = 0.2
        arguments = (pathlib.Path("{tmp_path}/kept"), [pathlib.Path("{tar}")], ExitStack(), threading.Event())
        thread = threading.Thread(target=tree_cache.save_in_background, args=arguments, daemon=True)
        thread.start()
        thread.join()
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(command)], check=True, timeout=60)
    assert tree_cache.find_tree(tmp_path / "kept", "base-k").read_bytes() == b"tree"


def test_who_finds_no_tree_is_alone_in_making_it(tmp_path):
    (tmp_path / "made").write_bytes(b"tree")
    folder, found = tmp_path / "kept", []

    def other():
        with ExitStack() as held:
            found.append(tree_cache.find_or_lock(folder, "base-k", held))

    thread = threading.Thread(target=other)
    with ExitStack() as held:
        assert tree_cache.find_or_lock(folder, "base-k", held) is None
        thread.start()
        time.sleep(0.1)
        assert found == []
        tree_cache.save_tree(folder, "base-k", tmp_path / "made")
    thread.join(20)
    assert found[0].read_bytes() == b"tree"


@pytest.mark.parametrize("change", ["packages", "bootstrapper", "architecture", "suite", "kind", "which are essential"])
def test_the_cache_key_has_everything_that_counts(change):
    said = {
        "kind": "base",
        "packages": [package()],
        "bootstrapper": "mmdebstrap",
        "architecture": "amd64",
        "suite": "s",
    }
    other = {
        "packages": [package(sha256="1" * 64)],
        "bootstrapper": "debootstrap",
        "architecture": "arm64",
        "suite": "t",
    }
    other |= {"kind": "essential", "which are essential": [package(essential=True)]}
    assert tree_cache.cache_key(**said) == tree_cache.cache_key(**said)
    name = "packages" if change == "which are essential" else change
    assert tree_cache.cache_key(**said) != tree_cache.cache_key(**{**said, name: other[change]})


def job(tmp_path, date=0, packages=(), **said):
    recipe = DebootstrapRecipe.model_validate({"name": "r", "kind": "debootstrap", "suite": "trixie", **said})
    release = Release(address="", suite="trixie", sha256="0" * 64, date=date, signer="x")
    lock = Lock(releases=(release,), packages=packages)
    return Job(recipe, KEYRING.parent, lock, "amd64", tmp_path, tmp_path, None, lambda line: None)


def test_a_clock_that_is_behind_is_refused_before_anything_is_made(tmp_path):
    wanted = job(tmp_path, date=int(time.time()) + 86_400)
    with pytest.raises(MachineError, match="UTC"), open_tree(wanted):
        pass
    assert list(tmp_path.iterdir()) == []
    debian.check_clock(int(time.time()))


FURTHER = {"uri": "http://example.invalid/x", "suites": ("s", "t"), "keyring": KEYRING.name}
CLEAN = "/etc/apt/apt.conf.d/docker-clean"


def test_apt_is_configured_only_if_it_is_installed(tmp_path):
    with_apt = job(tmp_path, packages=(package("apt"),), repositories=(FURTHER,), slim=("man",))
    texts = dict(base_files(with_apt, with_apt.recipe))
    assert CLEAN in texts
    assert "path-exclude=/usr/share/man/*\n" in texts["/etc/dpkg/dpkg.cfg.d/baseforge-paths"]
    without = job(tmp_path, packages=(package("dash"),), slim=("man",))
    assert list(dict(base_files(without, without.recipe))) == ["/etc/dpkg/dpkg.cfg.d/baseforge-paths"]


def test_apt_in_the_image_gets_paths_and_architectures_of_archives_as_the_recipe_has_them(tmp_path):
    flat = {**FURTHER, "suites": ("./",), "architectures": ("amd64",)}
    wanted = job(tmp_path, packages=(package("apt"),), repositories=(flat,))
    texts = dict(base_files(wanted, wanted.recipe))
    assert texts["/etc/apt/sources.list.d/further-1.sources"] == (
        "Types: deb\nURIs: http://example.invalid/x\nSuites: ./\nArchitectures: amd64\n"
        f"Signed-By: {keyring_path(KEYRING)}\n"
    )


def test_a_layer_adds_to_the_settings_of_the_image_below(tmp_path):
    below = (job(tmp_path, slim=("man",), repositories=(FURTHER,)).recipe,)
    own = {"repositories": (FURTHER,), "paths": PathRules(include=("/usr/share/man/x",))}
    recipe = LayerRecipe.model_validate({"name": "top", "kind": "layer", "from": "r", **own})
    wanted = replace(
        job(tmp_path), recipe=recipe, base_recipes=below, base_image=LayerStack((tmp_path / "tar",), epoch=7)
    )
    settings = added_files(wanted, recipe)
    made = make_plan(wanted, recipe, settings, StartTree(tmp_path / "t", 7, has_base=True, layered=True), 7)
    assert list(made.settings) == ["/etc/dpkg/dpkg.cfg.d/baseforge-paths", "/etc/apt/sources.list.d/further-2.sources"]
    rules = made.settings["/etc/dpkg/dpkg.cfg.d/baseforge-paths"]
    assert rules.startswith("path-exclude=/usr/share/man/*\n")
    assert rules.endswith("path-include=/usr/share/man/x\n")
    assert (made.epoch, made.layered, made.base_packages) == (7, True, [])
    bare = LayerRecipe.model_validate({"name": "top", "kind": "layer", "from": "r"})
    assert dict(added_files(wanted, bare)) == {}


def test_a_plan_is_passed_as_json(tmp_path):
    files = [{"path": "/a", "content": "é", "mode": "4755", "owner": "1:2"}, {"path": "/b", "link": "a"}]
    users = [{"name": "u", "uid": 5, "groups": ("g",)}]
    said = {"groups": ({"name": "g", "gid": 3},), "users": tuple(users), "files": tuple(files), "customise": ("x.sh",)}
    wanted = job(tmp_path, packages=(package("apt", auto=True),), repositories=(FURTHER,), **said)
    plan = make_plan(wanted, wanted.recipe, {"/x": "y"}.items(), StartTree(tmp_path / "t", 7), 8)
    again = Plan.from_json(plan.to_json())
    assert again.to_json() == plan.to_json()
    assert again.packages == plan.packages
    assert (again.entries[1].mode, again.entries[1].owner) == (0o4755, "1:2")


def unpacked(tmp_path, name, kept, wanted):
    with decompressed.decompressing(wanted, tmp_path, tmp_path / name, kept) as begun:
        assert list((tmp_path / name).iterdir()) == []
        return [each.result().path.read_bytes() for each in begun()]


def test_what_stage_two_installs_is_unpacked_once_it_is_asked_for_and_kept(tmp_path, monkeypatch):
    wanted = [package("a"), package("b", "3", sha256="1" * 64)]
    for each in wanted:
        (tmp_path / each.file_name).write_bytes(a_deb(files={each.name: b"x"}))
    first = unpacked(tmp_path, "first", tmp_path / "kept", wanted)
    assert first == [a_deb("", files={each.name: b"x"}) for each in wanted]
    assert len(list((tmp_path / "kept").iterdir())) == 2
    monkeypatch.setattr(deb, "decompress_deb", None)
    assert unpacked(tmp_path, "second", tmp_path / "kept", wanted) == first


def test_more_than_the_share_is_not_cached(tmp_path, monkeypatch):
    monkeypatch.setattr(decompressed, "MAX_BUILD", 1000)
    (tmp_path / package().file_name).write_bytes(a_deb())
    assert len(unpacked(tmp_path, "debs", tmp_path / "kept", [package()])) == 1
    assert not (tmp_path / "kept").exists()


def test_a_broken_deb_is_named_where_it_is_waited_for(tmp_path):
    (tmp_path / package().file_name).write_bytes(a_deb()[:-20])
    with decompressed.decompressing([package()], tmp_path, tmp_path / "debs", None) as begun:
        [made] = begun()
        with pytest.raises(BadDeb, match="ends early"):
            made.result()

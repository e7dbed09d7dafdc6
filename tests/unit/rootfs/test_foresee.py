"""What a layer will consist of, from its packages alone: just the pieces that are packed, as far as nothing changes."""

import contextlib
import os
import random
import shutil
import threading
import time
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import pytest

from rootfs import deb, foresee
from rootfs.engines import Job, foresight, own, plain
from rootfs.errors import BadDeb
from rootfs.foresee import Prospect
from rootfs.lock import Lock
from rootfs.members import from_tree
from rootfs.normalise import folders_dated, normalised
from rootfs.pack import pack
from rootfs.recipe import DebootstrapRecipe
from rootfs.run import run
from rootfs.slim import Rules, filtered
from rootfs.squeeze import Frames, Squeezer
from tests.support.debs import a_deb, package
from tests.support.debs import tar as archive

EPOCH, FOLDERS = 1_700_000_000, 1_600_000_000
NOISE = random.Random(1).randbytes(3 << 20)
FILES = {
    "a": {"boot/a": NOISE[5:], "usr/bin/a": NOISE, "usr/lib/a/x": NOISE[:9], "usr/share/doc/a/copyright": b"a"},
    "b": {"usr/bin/b": NOISE[::-1], "etc/b": b"b", "usr/share/man/man1/b.1": b"b"},
    "c": {"usr/sbin/c": NOISE[7:], "etc/b": b"not the first one", "var/log/c": b"goes"},
}


@pytest.fixture
def debs(tmp_path):
    """Debs of these files, without compression; the `tree` that they are, as root would unpack it."""
    made = []
    for name, files in FILES.items():
        (path := tmp_path / f"{name}.deb").write_bytes(a_deb("", files=files))
        made.append(path)
        for key, data in files.items():
            file = tmp_path / "tree" / key
            file.parent.mkdir(parents=True, exist_ok=True)
            if not file.exists():
                file.write_bytes(data)
        sums = tmp_path / f"tree/var/lib/dpkg/info/{name}.md5sums"
        sums.parent.mkdir(parents=True, exist_ok=True)
        sums.write_text("".join(f"{0:032}  {key}\n" for key in files))
    for name in ("bin", "lib", "sbin"):
        (tmp_path / "tree" / name).symlink_to(f"usr/{name}")
    return made


def prospect(tmp_path, debs, *rules):
    return Prospect(tmp_path / "memo", tuple(debs), rules, FOLDERS, EPOCH)


def packed(tmp_path, name, memo, *rules):
    """The layer of the tree, with the owners, modes and times that the debs say."""

    def as_said(member):
        mode = 0o755 if member.is_folder else 0o644 if member.is_file else 0o777
        return replace(member, uid=0, gid=0, mtime=0, mode=mode)

    members = folders_dated(map(as_said, from_tree(tmp_path / "tree")), FOLDERS)
    return pack(filtered(normalised(members, EPOCH), Rules.parse(rules)), tmp_path / name, memo=memo)


@pytest.fixture
def late(monkeypatch):
    """The pieces that were compressed here."""
    pieces, compress = [], Squeezer._compress
    monkeypatch.setattr(Squeezer, "_compress", lambda self, frame: pieces.append(frame) or compress(self, frame))
    return pieces


def unforeseen(tmp_path, late, *rules):
    """The pieces of the tree's layer that were not there already, but for those that are never looked at."""
    late.clear()
    layer = packed(tmp_path, "foreseen", tmp_path / "memo", *rules)
    left = [piece for piece in late if not any(f"{folder}/".encode() + bytes(9) in piece for folder in ("etc", "var"))]
    late.clear()
    assert layer.digest == packed(tmp_path, "alone", None, *rules).digest
    assert len(late) > 3
    return left


@pytest.mark.parametrize("rules", [(), ("exclude /usr/share/man/*", "exclude /usr/lib/a/*")], ids=["all", "slim"])
def test_nothing_is_left_to_compress_where_nothing_changes(tmp_path, debs, late, rules):
    assert len(list(foresee.foresee(prospect(tmp_path, debs, *rules)))) == len(late) > 1
    assert unforeseen(tmp_path, late, *rules) == []


def test_what_changes_is_compressed_later_and_no_more(tmp_path, debs, late):
    list(foresee.foresee(prospect(tmp_path, debs)))
    (tmp_path / "tree/usr/bin/b").write_bytes(b"of a script")
    assert len(unforeseen(tmp_path, late)) == 1


def test_what_stage_one_has_changed_is_seen_when_it_is_over(tmp_path, debs, late):
    (tmp_path / "tree/usr/lib/a/x").write_bytes(b"of a script")
    (tmp_path / "tree/usr/bin/b").unlink()
    shutil.rmtree(tmp_path / "tree/usr/share/man")
    drafted, tar = tmp_path / "draft", tmp_path / "stage-one.tar"
    drafted.write_bytes(archive({"usr/lib/a/x": b"of a script"}))
    waiting = foresee.foresee(replace(prospect(tmp_path, [debs[0], debs[2]]), tar=tar))
    before = [next(waiting), next(waiting)]
    drafted.rename(tar)
    assert len([*before, *waiting]) > len(before)
    assert unforeseen(tmp_path, late) == []


def test_it_is_a_program_that_steps_back_before_all_others(tmp_path, debs):
    said = prospect(tmp_path, debs)
    assert Prospect.loaded(said.dumped()) == said
    (tmp_path / "sitecustomize.py").write_text(
        "import atexit, os, pathlib\n"
        "group = pathlib.Path('/proc/self/autogroup')\n"
        "said = lambda: f'{os.nice(0)}\\n' + (group.read_text() if group.exists() else 'nice 19')\n"
        "atexit.register(lambda: pathlib.Path('nice').write_text(said()))\n"
        "atexit.register(lambda: pathlib.Path('policy').write_text(str(os.sched_getscheduler(0))))\n"
    )
    seen = {**own.ENVIRONMENT, "PYTHONPATH": f"{tmp_path}:{own.PACKAGE}"}
    run(own.command("rootfs.foresee"), env=seen, stdin=said.dumped(), cwd=tmp_path)
    assert [line.split()[-1] for line in (tmp_path / "nice").read_text().splitlines()] == ["19", "19"]
    assert (tmp_path / "policy").read_text() == str(os.SCHED_IDLE)
    assert len(list((tmp_path / "memo").iterdir())) == len(list(foresee.foresee(said)))


def job(tmp_path, cache):
    recipe = DebootstrapRecipe.model_validate({"name": "r", "kind": "debootstrap", "suite": "trixie"})
    lock = Lock(packages=tuple(map(package, FILES)))
    return Job(recipe, tmp_path, lock, "amd64", tmp_path, tmp_path, "", cache, print), recipe


def known(path):
    return plain.Plain(package(path.stem), path, deb.described(path, path.name))


def settled(outcome):
    future = Future()
    future.set_exception(outcome) if isinstance(outcome, Exception) else future.set_result(outcome)
    return future


def pieces(memo: Path):
    return [path for path in memo.glob("*") if not path.name.startswith(".")] if memo.is_dir() else []


def test_while_a_tree_is_made_its_pieces_are(tmp_path, debs):
    made, recipe = job(tmp_path, tmp_path)
    memo = made.memo
    [first, *others] = map(known, debs)
    wanted = len(list(foresee.foresee(Prospect(tmp_path / "other", tuple(debs), (), FOLDERS, made.epoch))))
    with foresight.foreseeing(made, recipe, [first], map(settled, others), FOLDERS):
        end = time.monotonic() + 20
        while len(pieces(memo)) < wanted and time.monotonic() < end:
            time.sleep(0.05)
    assert len(pieces(memo)) == wanted
    assert all(Frames(memo).get(path.name.split("-")[0]) for path in pieces(memo))


def test_nobody_waits_for_it_and_nobody_hears_of_its_failures(tmp_path, debs):
    made, recipe = job(tmp_path, tmp_path)
    failing = settled(BadDeb("b.deb", "broken"))
    began = time.monotonic()
    for others in ([], [failing], [settled(plain.Plain(package("x"), tmp_path / "gone", known(debs[0]).said))]):
        with contextlib.suppress(ZeroDivisionError), foresight.foreseeing(made, recipe, [], others, FOLDERS):
            raise ZeroDivisionError
    assert time.monotonic() - began < 10
    threads = threading.active_count()
    with foresight.foreseeing(job(tmp_path, None)[0], recipe, map(known, debs), [], FOLDERS):
        assert threading.active_count() == threads
    assert pieces(made.memo) == []

"""Installation in a tree: paths, accounts, files and settings, without programs of the tree."""

import os

import pytest

from rootfs.errors import BuildError, InputError
from rootfs.install import accounts, chroot_files, customize, dpkg
from rootfs.install.accounts import Accounts
from rootfs.install.plan import Deb, NewEntry, NewGroup, NewUser, Plan
from rootfs.process.errors import ProgramFailed

ME = f"{os.getuid()}:{os.getgid()}"


@pytest.fixture
def tree(tmp_path):
    """A tree with links that lead out of it when they are followed from outside, and a file outside to be hurt."""
    root = tmp_path / "tree"
    (root / "usr/lib").mkdir(parents=True)
    (root / "etc").mkdir()
    (root / "lib").symlink_to("usr/lib")
    (root / "out").symlink_to("../..")
    (root / "etc/abs").symlink_to("/etc")
    (root / "etc/file").write_text("old")
    (root / "etc/link").symlink_to(tmp_path / "victim")
    (root / "loop").symlink_to("loop")
    (tmp_path / "victim").write_text("alive")
    return root


PLACES = {
    "/lib/x": "usr/lib/x",
    "/lib": "usr/lib",
    "/out": "",
    "/out/etc/file": "etc/file",
    "/etc/abs/abs/abs/file": "etc/file",
    "/../../etc/file": "etc/file",
    "/usr/../lib/./y": "usr/lib/y",
    "/none/there": "none/there",
}


@pytest.mark.parametrize(("path", "place"), PLACES.items())
def test_links_are_resolved_inside_the_tree(tree, path, place):
    assert chroot_files.resolve_path(tree, path) == tree / place


def test_links_in_circles_end(tree):
    with pytest.raises(InputError, match="circles"):
        chroot_files.resolve_path(tree, "/loop/x")


def test_nothing_is_written_outside(tree, tmp_path):
    before = {path for path in tmp_path.rglob("*") if tree not in path.parents}
    entries = [
        NewEntry("/out/a", ME, content="a"),
        NewEntry("/etc/link", ME, content="b"),
        NewEntry("/lib/c/d", ME, content="c"),
    ]
    customize.write_entries(tree, entries, tmp_path)
    assert (tree / "a").read_text() == "a"
    assert (tree / "etc/link").read_text() == "b"
    assert (tree / "usr/lib/c/d").read_text() == "c"
    assert (tmp_path / "victim").read_text() == "alive"
    assert {path for path in tmp_path.rglob("*") if tree not in path.parents} == before


def test_files_links_and_folders(tree, tmp_path):
    (tmp_path / "tool").write_text("#!")
    (tmp_path / "tool").chmod(0o700)
    os.link(tree / "etc/file", tree / "etc/other name")
    entries = [
        NewEntry("/etc/file", ME, content="new", mode=0o4600),
        NewEntry("/opt/tool", ME, source="tool"),
        NewEntry("/opt", ME, folder=True, mode=0o1777),
        NewEntry("/lib", ME, folder=True),
        NewEntry("/etc/abs", ME, link="../x"),
    ]
    customize.write_entries(tree, entries, tmp_path)
    modes = [oct(os.lstat(tree / path).st_mode & 0o7777) for path in ("etc/file", "opt/tool", "opt", "usr/lib")]
    assert modes == ["0o4600", "0o755", "0o1777", "0o755"]
    assert str((tree / "etc/abs").readlink()) == "../x"
    assert (tree / "lib").is_symlink()
    assert (tree / "etc/other name").read_text() == "old"


def test_owners_are_numbers_or_names_of_the_tree(tree, tmp_path):
    (tree / "etc/passwd").write_text(
        "root:x:0:0:root:/root:/bin/sh\napp:x:0:0::/:/x\nbig:x:4294967294:0::/:/x\n²:x:²:0::/:/x\n"
    )
    (tree / "etc/group").write_text(f"root:x:0:\nstaff:x:50:\nbad:x:²:\nlong:x:{'9' * 5000}:\n")
    known = accounts.read_accounts(tree)
    assert [known.ids_of(each, "/a") for each in ("app:staff", "4294967294:7", "big:root", "1000680000:0")] == [
        (0, 50),
        (4294967294, 7),
        (4294967294, 0),
        (1000680000, 0),
    ]
    with pytest.raises(InputError) as refused:
        customize.write_entries(tree, [NewEntry("/srv/x", "ap:root", content="x")], tmp_path)
    assert str(refused.value).splitlines() == [
        "/srv/x: the image has no user 'ap', which is to own it",
        "  Did you mean 'app'? The image has: root, app, big.",
    ]
    with pytest.raises(InputError, match="/srv/x: the image has no group 'stuff', which is to own it"):
        customize.write_entries(tree, [NewEntry("/srv/x", "root:stuff", content="x")], tmp_path)


def test_login_records_of_large_numbers_take_no_room(tree):
    (tree / "var/log").mkdir(parents=True)
    with (tree / "var/log/lastlog").open("wb") as records:
        records.truncate(1000680000 * 292)
    accounts.empty_login_records(tree)
    assert (tree / "var/log/lastlog").stat().st_size == 0


def test_empty_login_records_keep_their_time(tree):
    (tree / "var/log").mkdir(parents=True)
    (records := tree / "var/log/faillog").touch()
    os.utime(records, (1000, 1000))
    accounts.empty_login_records(tree)
    assert records.stat().st_mtime == 1000


CLASHES = [
    NewEntry("/etc", ME, content="x"),
    NewEntry("/etc/file", ME, folder=True),
    NewEntry("/etc/file/x", ME, content="x"),
    NewEntry("/usr/lib", ME, link="x"),
]


@pytest.mark.parametrize("entry", CLASHES, ids=lambda entry: entry.path)
def test_impossible_files_are_refused(tree, tmp_path, entry):
    with pytest.raises(InputError, match=r"^files: (/etc|/etc/file|/usr/lib): "):
        customize.write_entries(tree, [entry], tmp_path)


TABLES = {
    "passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/nonexistent:/x\n",
    "group": "root:x:0:\naudio:x:29:a\nempty:x:30:\n",
    "shadow": "root:*:1:0:99999:7:::\n",
    "gshadow": "root:*::\naudio:*::\n",
}


def user(name="u", uid=500, group=None, groups=()):
    return NewUser(name, uid, group, groups, "/home/u", "/bin/sh")


def test_users_and_groups_are_added():
    accounts = Accounts(TABLES)
    accounts.add_group(NewGroup("g", 400))
    accounts.add_user(user(groups=("audio", "empty", "g")), day=9)
    accounts.add_user(user("v", 501, group="audio"), day=9)
    texts = accounts.texts()
    assert texts["passwd"] == TABLES["passwd"] + "u:x:500:500::/home/u:/bin/sh\nv:x:501:29::/home/u:/bin/sh\n"
    assert texts["group"] == "root:x:0:\naudio:x:29:a,u\nempty:x:30:u\ng:x:400:u\nu:x:500:\n"
    assert texts["shadow"] == TABLES["shadow"] + "u:!:9:0:99999:7:::\nv:!:9:0:99999:7:::\n"
    assert texts["gshadow"] == "root:*::\naudio:*::u\ng:!::u\nu:!::\n"


def test_a_group_of_the_same_name_and_number_is_the_users_own():
    accounts = Accounts(TABLES)
    accounts.add_group(NewGroup("u", 500))
    accounts.add_user(user(), day=9)
    assert accounts.texts()["group"].count("u:x:500:") == 1


def test_missing_account_tables_are_not_created():
    accounts = Accounts({name: TABLES[name] for name in ("passwd", "group")})
    accounts.add_user(user(), day=9)
    assert set(accounts.texts()) == {"passwd", "group"}


@pytest.mark.parametrize(
    ("new", "why"),
    [
        (NewGroup("audio", 400), "audio already"),
        (NewGroup("g", 29), "audio has it"),
        (user("nobody"), "nobody already"),
        (user(uid=65534), "nobody has it"),
        (user(uid=29), "audio has it"),
        (user("audio"), "audio already"),
        (user(group="nix"), "no group nix"),
        (user(groups=("nix",)), "no group nix"),
    ],
)
def test_impossible_accounts_are_refused(new, why):
    accounts = Accounts(TABLES)
    with pytest.raises(InputError, match=why):
        accounts.add_group(new) if isinstance(new, NewGroup) else accounts.add_user(new, day=9)


def plan(tree, *packages, **more):
    here = tree.parent
    epochs = {"epoch": 0, "start_epoch": 0, "base_epoch": 0}
    where = {"work": here, "start": here, "has_base": False, "save_to": {}, "debs": here, "files": here}
    return Plan(tree, **where, architecture="amd64", **epochs, packages=packages, **more)


STATUS = """Package: a
Status: install ok installed
Architecture: amd64
Version: 1:2
Description: x
 Version: 9

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1
"""


@pytest.mark.parametrize(
    ("packages", "said"),
    [
        ([("a", "1:2")], None),
        ([("a", "1:3")], "missing: a_1:3_amd64; not in it: a_1:2_amd64"),
        ([("a", "1:2"), ("b", "1")], "missing: b_1_amd64"),
        ([("a", "1:2"), ("gone", "1")], "missing: gone_1_amd64"),
        ([], "not in it: a_1:2_amd64"),
    ],
)
def test_the_tree_is_the_lock(tree, packages, said):
    (tree / "var/lib/dpkg").mkdir(parents=True)
    (tree / "var/lib/dpkg/status").write_text(STATUS)
    wanted = plan(tree, *(Deb(name, version, "amd64", "", False, False, False) for name, version in packages))
    if said is None:
        dpkg.check_installed(wanted)
    else:
        with pytest.raises(BuildError, match=said):
            dpkg.check_installed(wanted)


def test_packages_of_the_base_image_stay_unless_the_lock_replaces_them(tree):
    (tree / "var/lib/dpkg").mkdir(parents=True)
    (tree / "var/lib/dpkg/status").write_text(STATUS)
    had = {"present": (("a", "1:2", "amd64"),)}
    dpkg.check_installed(plan(tree, **had))
    assert plan(tree, **had).has("a")
    dpkg.check_installed(plan(tree, Deb("a", "1:2", "amd64", "", False, False, False), present=(("a", "1", "amd64"),)))
    with pytest.raises(BuildError, match="missing: b_1_all"):
        dpkg.check_installed(plan(tree, present=(*had["present"], ("b", "1", "all"))))


MARK = "Package: %s\nArchitecture: amd64\nAuto-Installed: 1\n\n"


def test_auto_marks_of_the_base_image_stay_except_for_requested_packages(tree):
    marks = tree / dpkg.MARKS
    marks.parent.mkdir(parents=True)
    marks.write_text(MARK % "old" + MARK % "wanted")
    packages = (Deb("apt", "1", "amd64", "", False, False, False), Deb("new", "1", "amd64", "", False, False, True))
    dpkg.mark_automatic(plan(tree, *packages, include=("wanted",)))
    assert marks.read_text() == MARK % "old" + MARK % "new"


def test_unchanged_auto_marks_are_not_written(tree):
    marks = tree / dpkg.MARKS
    marks.parent.mkdir(parents=True)
    marks.write_text(MARK % "old")
    before = marks.stat().st_ino
    dpkg.mark_automatic(plan(tree, present=(("apt", "1", "amd64"),)))
    assert (marks.stat().st_ino, marks.read_text()) == (before, MARK % "old")


FAILURES = {
    "dpkg: error processing package bad (--configure):\n installed bad package post-installation script": "bad",
    "x\ndpkg: error processing package libc6:amd64 (--configure):\n": "libc6",
    "dpkg: error processing archive /run/baseforge/debs/bad-1_2%3a3_all.deb (--unpack):": "bad-1",
    "dpkg: error processing archive ./bad-2_1_all.deb (--unpack):": "bad-2",
    "E: something else": None,
}


@pytest.mark.parametrize(("output", "package"), FAILURES.items())
def test_a_failing_package_is_named(output, package):
    said = str(dpkg.explain_failure(ProgramFailed("apt-get", 100, output)))
    assert (f"the package {package} could" in said) is (package is not None)


def test_a_failing_package_shows_only_its_own_output():
    lines = [*["Setting up a (1) ...", "fine"], *["Setting up bad (1) ...", "it is broken"]]
    lines += ["dpkg: error processing package bad (--configure):", " installed bad package … exit status 4"]
    error = dpkg.explain_failure(ProgramFailed("apt-get", 100, "\n".join([*lines, "Setting up c (1) ...", "fine"])))
    assert error.output.splitlines() == lines[2:6]


def test_a_time_zone_is_a_link_and_a_name(tree):
    (tree / "usr/share/zoneinfo/Europe").mkdir(parents=True)
    (tree / "usr/share/zoneinfo/Europe/Berlin").write_text("TZif")
    customize.set_timezone(tree, "Europe/Berlin")
    assert str((tree / "etc/localtime").readlink()) == "/usr/share/zoneinfo/Europe/Berlin"
    assert (tree / "etc/timezone").read_text() == "Europe/Berlin\n"


def test_utc_needs_no_file(tree):
    (tree / "etc/localtime").symlink_to("/usr/share/zoneinfo/Europe/Berlin")
    customize.set_timezone(tree, "UTC")
    assert not (tree / "etc/localtime").is_symlink()
    assert (tree / "etc/timezone").read_text() == "UTC\n"


def test_a_locale_that_is_built_in_or_in_locales_all_is_not_generated(tree):
    customize.set_locale(plan(tree), "C.UTF-8")
    assert (tree / "etc/default/locale").read_text() == "LANG=C.UTF-8\n"
    all_locales = Deb("locales-all", "1", "amd64", "locales-all.deb", essential=False, base=False, auto=False)
    customize.set_locale(plan(tree, all_locales, generate_locale=True), "de_DE.UTF-8")
    assert (tree / "etc/default/locale").read_text() == "LANG=de_DE.UTF-8\n"

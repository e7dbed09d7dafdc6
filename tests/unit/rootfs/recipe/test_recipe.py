"""Recipes: valid keys, and errors with their place."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from rootfs.errors import InputError, RecipeInvalid
from rootfs.lock.lock import Lock
from rootfs.recipe.debootstrap import DebootstrapRecipe
from rootfs.recipe.kinds import KINDS
from rootfs.recipe.recipe import digest_recipe, files_folder, find_recipe, image_names, read_recipe, read_recipes
from rootfs.recipe.scratch import ScratchRecipe
from rootfs.recipe.sections import FileEntry
from rootfs.recipe.tarball import TarballRecipe
from rootfs.system.digests import canonical_digest

DEBIAN = "kind: debootstrap\nsuite: trixie\n"
BARE = "kind: scratch\nfiles: [{path: /x, content: x}]\n"
SCRATCH = "kind: scratch\nfiles:\n  - {path: /motd, content: hello}\n"


@pytest.fixture
def write(tmp_path: Path):
    def write(text: str, name: str = "noble.yaml", *files: str) -> Path:
        path = tmp_path / name
        path.write_text(text)
        for file in files:
            path.with_suffix("").mkdir(exist_ok=True)
            (path.with_suffix("") / file).touch()
        return path

    return write


def refusal(path: Path) -> str:
    """The lines of the error, with the folder left out."""
    with pytest.raises(RecipeInvalid) as caught:
        read_recipe(path)
    assert caught.value.status == 2
    return str(caught.value).replace(f"{path.parent}/", "")


def test_a_short_recipe_has_every_default(write):
    recipe = read_recipe(write(DEBIAN))
    assert isinstance(recipe, DebootstrapRecipe)
    assert (recipe.name, recipe.suite, recipe.variant, recipe.engine) == ("noble", "trixie", "minbase", "mmdebstrap")
    assert recipe.pockets == ("updates", "security")
    assert recipe.components == ("main",)
    assert recipe.include == recipe.slim == recipe.smoke == recipe.image.cmd == ()


def test_every_key_of_a_debootstrap_recipe(write):
    recipe = read_recipe(
        write(
            """
description: All of it
kind: debootstrap
suite: trixie
pockets: [security]
components: [main, non-free-firmware]
engine: debootstrap
variant: buildd
include: [g++, libc6-dev]
slim: [docs, man, locales]
image:
  cmd: [bash, -l]
  entrypoint: [/usr/bin/env]
  env: {LANG: C.UTF-8, EMPTY: ""}
  user: nobody:nogroup
  workdir: /srv
  labels: {org.opencontainers.image.title: All}
  expose: [80, 53/udp, "8080", 9/sctp]
  volumes: [/data]
  stop_signal: SIGRTMIN+3
smoke:
  - run: [cat, /etc/os-release]
    status: 3
    stdout: ^ID=
    stderr: ^$
    timeout: 5
"""
        )
    )
    assert isinstance(recipe, DebootstrapRecipe)
    assert recipe.image.expose == ("80/tcp", "53/udp", "8080/tcp", "9/sctp")
    assert recipe.image.env == {"LANG": "C.UTF-8", "EMPTY": ""}
    assert recipe.image.stop_signal == "SIGRTMIN+3"
    (check,) = recipe.smoke
    assert (check.run, check.status, check.stdout, check.stderr, check.timeout) == (
        ("cat", "/etc/os-release"),
        3,
        "^ID=",
        "^$",
        5.0,
    )


def test_every_key_of_a_scratch_recipe(write):
    path = write(
        """
kind: scratch
tools: [gcc]
build: [[gcc, -o, made, made.c]]
files:
  - {path: /bin/made, from: made, mode: "0755", owner: "65532:65532"}
  - {path: /bin/alias, link: made}
  - {path: /etc/motd, content: "", owner: "0:0"}
""",
        "made.yaml",
    )
    recipe = read_recipe(path)
    assert isinstance(recipe, ScratchRecipe)
    assert (recipe.tools, recipe.build) == (("gcc",), (("gcc", "-o", "made", "made.c"),))
    assert [(file.path, file.source, file.content, file.link, file.mode, file.owner) for file in recipe.files] == [
        ("/bin/made", "made", None, None, "0755", "65532:65532"),
        ("/bin/alias", None, None, "made", None, "0:0"),
        ("/etc/motd", None, "", None, None, "0:0"),
    ]


def test_an_image_for_debugging_is_found_and_is_the_same_with_a_shell(write):
    path = write(BARE + "suite: trixie\npackages: [bash]\nnonroot: true\ndebug: true\n", "it.yaml")
    write(BARE, "other.yaml")
    assert image_names(path.parent) == ["it", "it-debug", "other"]
    assert image_names(path.parent, only=["it-debug"]) == ["it-debug"]
    assert find_recipe("it-debug", path.parent) == path
    plain, made = read_recipe(path), read_recipe(path, "it-debug")
    assert isinstance(plain, ScratchRecipe)
    assert isinstance(made, ScratchRecipe)
    assert (made.name, made.packages, made.ingredients, made.nonroot) == ("it-debug", ("bash",), ("debug-shell",), True)
    assert made.container_settings.env["PATH"].endswith(":/sbin:/bin:/busybox")
    assert made.container_settings.cmd == ("/busybox/sh",)
    assert made.smoke[-1].run[0] == "sh"
    assert digest_recipe(plain, path.parent) != digest_recipe(made, path.parent)
    with pytest.raises(InputError, match="there is no recipe"):
        find_recipe("other-debug", path.parent)


def test_recipes_do_not_change(write):
    recipe = read_recipe(write(DEBIAN))
    with pytest.raises(ValueError, match="frozen"):
        recipe.suite = "noble"


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("siute: noble", "3:1: unknown key 'siute'. Did you mean 'suite'?"),
        ("qqqq: noble", "3:1: unknown key 'qqqq'. Known here: kind, description, image, "),
        ("name: noble", "3:1: unknown key 'name': a recipe has the name of its file"),
        ("files: []", None),
        ("files: [{path: /srv/x, folder: true}, {path: /srv/x/y, content: z}]", None),
        (
            "files: [{path: /x, content: z}, {path: /x/y, content: z}]",
            "3:8: /x/y cannot be inside /x, which is no folder",
        ),
        ("tools: [gcc]", "3:1: unknown key 'tools'."),
        ("files: [{path: /x, from: y}]", "3:26: there is no file"),
        ("customise: [run.sh]", "3:13: there is no file"),
        ("customise: [../run.sh]", "3:13: '../run.sh' leads out of the recipe's folder"),
        ("lock: noble.lock", "3:7: there is no file"),
        ("snapshot: yesterday", "3:11: 'yesterday' is not a moment, such as 20261101T000000Z"),
        ("snapshot: 20261101T000000Z", None),
        ("exclude: [mawk, mawk]", "3:10: 'mawk' is there twice"),
        ("recommends: maybe", "3:13: expected true or false, found a string"),
        ("repositories: [{uri: 'ftp://a', suites: [x], keyring: k}]", "3:22: 'ftp://a' is not an archive's address"),
        (
            "repositories: [{uri: 'http://a/b/%2e%2e/c', suites: [x], keyring: k}]",
            "3:22: this address has `.`, `..` or",
        ),
        ("repositories: [{uri: 'http://a', suites: [], keyring: k}]", "3:42: this list needs at least one item"),
        ("repositories: [{uri: 'http://[/x', suites: [x], keyring: k}]", "3:22: this address has a port"),
        (
            "repositories: [{uri: 'http://a:b', suites: [x], keyring: k}]",
            "3:22: this address has a port that is no number",
        ),
        (
            "repositories: [{uri: 'http://a', suites: [./, x], keyring: k}]",
            "3:16: './' is a path: name it in an entry of its own",
        ),
        (
            "repositories: [{uri: 'http://a', suites: [./], components: [main], keyring: k}]",
            "3:16: './' ends in a slash: it is a path",
        ),
        ("repositories: [{uri: 'http://a', suites: [../x/], keyring: k}]", "3:43: '../x/' is not a suite"),
        (
            "repositories: [{uri: 'http://a', suites: [x], architectures: [amd46], keyring: k}]",
            "3:63: 'amd46' is not an architecture",
        ),
        ("repositories: [{uri: 'http://a', suites: [x]}]", "3:16: key 'keyring' is missing"),
        ("repositories: [{uri: 'http://a', suites: [x], keyring: k}]", "3:56: there is no file"),
        ("pins: [{packages: [linux-*], pin: release n=sid, priority: 100}]", None),
        ("pins: [{packages: ['a b'], pin: release n=sid, priority: 100}]", "3:20: 'a b' is not a package's name"),
        ("pins: [{packages: [a], pin: newest, priority: 100}]", "3:29: 'newest' is not a pin"),
        ("pins: [{packages: [a], pin: version 1.2*, priority: 99999}]", "3:53: "),
        ("users: [{name: app, uid: 1000, home: /srv/app}]", None),
        ("users: [{name: App, uid: 1000}]", "3:16: 'App' is not a user's or group's name"),
        ("users: [{name: app, uid: 0}]", "3:26: "),
        ("groups: [{name: app, gid: 1000}]", None),
        ("paths: {exclude: [/usr/share/games/*], include: [/usr/share/games/a]}", None),
        ("paths: {exclude: [usr]}", "3:19: 'usr' is not a pattern of paths"),
        ("locale: de_DE.UTF-8", None),
        ("locale: de DE", "3:9: 'de DE' is not a locale"),
        ("timezone: Europe/Berlin", None),
        ("timezone: Mars/Base", "3:11: there is no time zone 'Mars/Base'. Write a name of the tz database"),
        ("timezone: Europe/Berlim", "3:11: there is no time zone 'Europe/Berlim'. Did you mean 'Europe/Berlin'?"),
        ("timezone: Asia/Calcutta", None),
        ("timezone: ../etc", "3:11: '../etc' is not a time zone"),
        ("package_manager: remove", None),
        ("package_manager: hide", "3:18: "),
        ("pockets: updates", "3:10: expected a list of strings, found a string"),
        ("pockets: [backports]", "3:11: 'backports' is not one of updates, security."),
        ("components: []", "3:13: this list needs at least one item"),
        ("components: [main, main]", "3:13: 'main' is there twice"),
        ("components: [main contrib]", "3:14: 'main contrib' is not a component's name"),
        ("engine: deboostrap", "3:9: 'deboostrap' is not one of mmdebstrap, debootstrap. Did you mean 'debootstrap'?"),
        ("variant: 5", "3:10: expected one of essential, apt, minbase, buildd, important, standard, found a number"),
        ("include: {curl: 1}", "3:10: expected a list of strings, found a mapping"),
        ("include: [curl, 5]", "3:17: expected a string, found a number"),
        ("include: [c]", "3:11: 'c' is not a Debian package name"),
        ("include: [curl=7.1]", "3:11: 'curl=7.1' is not a Debian package name"),
        ("include: [--yes]", "3:11: '--yes' is not a Debian package name"),
        ("slim: [dosc]", "3:8: 'dosc' is not one of docs, man, locales. Did you mean 'docs'?"),
        ("description: 5", "3:14: expected a string, found a number"),
        ("description:", "3:1: expected a string, found nothing"),
        ("description: yes", None),
        ("description: true", "3:14: expected a string, found true"),
        ("image: [cmd]", "3:8: expected a mapping, found a list"),
        ("image: {comand: [x]}", "3:9: unknown key 'comand'. Did you mean 'cmd'?"),
        ("image: {cmd: bash}", "3:14: expected a list of strings, found a string"),
        ("image: {env: {A-B: x}}", "3:15: 'A-B' is not a name of an environment variable"),
        ("image: {env: {A: [5]}}", "3:18: expected a string or a number or true or false, found a list"),
        ("image: {env: {5: a}}", "3:15: expected a key, which is text (put a number in quotes)"),
        ("image: {env: [A=5]}", "3:14: expected a mapping, found a list"),
        ("image: {user: a b}", "3:15: 'a b' is not a user"),
        ("image: {workdir: srv}", "3:18: 'srv' is not a plain absolute path"),
        ("image: {workdir: /srv/../etc}", "3:18: '/srv/../etc' is not a plain absolute path"),
        ("image: {volumes: [/data/]}", "3:19: '/data/' is not a plain absolute path"),
        ("include: [libc6:i386]", None),
        ("include: [libc6:i368]", "3:11: 'libc6:i368': 'i368' is not an architecture of Debian. Did you mean 'i386'?"),
        ("exclude: [libc6:i386]", "3:11: 'libc6:i386' names an architecture, which only `include`"),
        ("foreign_architectures: [i386]", None),
        ("foreign_architectures: [386]", "3:25: expected a string, found a number"),
        ("packages: [curl]", "3:1: unknown key 'packages'. Did you mean 'include'?"),
        ("tests: []", "3:1: unknown key 'tests'. Did you mean 'smoke'?"),
        ("entrypoint: [a]", "3:1: unknown key 'entrypoint'. It belongs below 'image'."),
        ("image: {labels: {a b: x}}", "3:18: 'a b' is not a name of a label"),
        ("image: {expose: [80/icmp]}", "3:18: '80/icmp' is not a port"),
        ("image: {expose: [0]}", "3:18: '0' is not a port"),
        ("image: {expose: [65536]}", "3:18: '65536' is not a port"),
        ("image: {expose: [true]}", "3:18: expected a string or a whole number, found true"),
        ("image: {stop_signal: SIGTREM}", "3:22: 'SIGTREM' is not a signal. Did you mean 'SIGTERM'?"),
        ("image: {stop_signal: 65}", "3:22: '65' is not a signal."),
        ("image: {stop_signal: 9}", None),
        ("smoke: [[cat]]", "3:9: expected a mapping, found a list"),
        ("smoke: [{}]", "3:9: key 'run' is missing"),
        ("smoke: [{run: cat}]", "3:15: expected a list of strings, found a string"),
        ("smoke: [{run: []}]", "3:15: a command needs a program as its first word"),
        ('smoke: [{run: [""]}]', "3:15: a command needs a program as its first word"),
        ('smoke: [{run: [a], status: "5"}]', "3:28: expected a whole number, found a string"),
        ("smoke: [{run: [a], status: true}]", "3:28: expected a whole number, found true"),
        ("smoke: [{run: [a], status: 256}]", "3:28: this should be less than or equal to 255"),
        ("smoke: [{run: [a], timeout: 0}]", "3:29: this should be greater than 0"),
        ("smoke: [{run: [a], timeout: .inf}]", "3:29: this should be"),
        ("smoke: [{run: [a], timeout: .nan}]", "3:29: this should be"),
        ("smoke: [{run: [a], stdout: '['}]", "3:28: '[' is not a regular expression: unterminated character set"),
        ("smoke: [{run: [a], stderr: '[[a]'}]", "3:28: '[[a]' is not a regular expression: Possible nested set"),
        ("engine: debootstrap\nvariant: apt", "4:10: engine debootstrap has no variant 'apt', only minbase, buildd, "),
        ("variant: standard\nengine: debootstrap", "3:10: engine debootstrap has no variant 'standard'"),
    ],
)
def test_debootstrap_keys(write, line, error):
    path = write(DEBIAN + line + "\n")
    if error is None:
        assert read_recipe(path)
    else:
        assert refusal(path).startswith(f"noble.yaml:{error}")
        assert len(refusal(path).splitlines()) == 1


@pytest.mark.parametrize(
    ("entry", "error"),
    [
        ("{path: /a}", "3:5: /a needs just one of 'from', 'content', 'link' and 'folder'"),
        ("{path: /a, content: x, link: y}", "3:5: /a needs just one of 'from', 'content', 'link' and 'folder'"),
        ("{path: /a, link: y, mode: '0777'}", "3:5: /a is a link, which has no 'mode'"),
        ("{path: /a, link: ''}", "3:22: a link has to point somewhere"),
        ("{content: x}", "3:5: key 'path' is missing"),
        ("{path: a, content: x}", "3:12: 'a' is not a plain absolute path"),
        ("{path: /, content: x}", "3:12: '/' is the root folder, not a file"),
        ("{path: //a, content: x}", "3:12: '//a' is not a plain absolute path"),
        ("{path: /../a, content: x}", "3:12: '/../a' is not a plain absolute path"),
        ("{path: /a, content: x, mode: '0855'}", "3:34: '0855' is not a mode"),
        ("{path: /a, content: x, mode: 0o644}", "3:34: '0o644' is not a mode: write it in octal digits, as 0755"),
        ("{path: /a, content: x, mode: 420.0}", "3:34: '420.0' is not a mode"),
        ("{path: /a, content: x, owner: root}", "3:35: 'root' is not an owner"),
        ("{path: /a, content: x, owner: 0:0}", None),
        ("{path: /a, content: x, owner: app:Debian-exim}", None),
        ("{path: /a, content: x, owner: '4294967294:1000680000'}", None),
        ("{path: /a, content: x, owner: '0:4294967295'}", "3:35: 4294967295 is too large: the last number of a user"),
        ("{path: /a, from: ../noble.yaml}", "3:22: '../noble.yaml' leads out of the recipe's folder"),
        ("{path: /a, from: b/../../noble.yaml}", "3:22: 'b/../../noble.yaml' leads out of the recipe's folder"),
        ("{path: /a, from: /etc/passwd}", "3:22: '/etc/passwd' leads out of the recipe's folder"),
        (r'{path: /a, from: "b\nTrusted: yes"}', r"3:22: 'b\nTrusted: yes' has a line break or another character"),
        (r'{path: "/a\e[31m", content: x}', r"3:12: '/a\x1b[31m' has a line break or another character"),
        ("{path: /a, from: .}", "3:22: '.' is not a plain relative path"),
        ("{path: /a, from: absent}", "3:22: there is no file noble/absent"),
        ("{path: /a, from: sub}", "3:22: there is no file noble/sub"),
        (f"{{path: /a, from: {'x' * 300}}}", "3:22: there is no file noble/xxx"),
        ("{path: /a, from: here}", None),
        ("{path: /a, from: sub/below}", None),
        ("{path: /a, content: x}\n  - {path: /a, link: x}", "3:3: /a is there twice"),
        ("{path: /a, content: x}\n  - {path: /a/b/c, link: x}", "3:3: /a/b/c cannot be inside /a, which is no folder"),
    ],
)
def test_files(write, tmp_path, entry, error):
    (tmp_path / "noble/sub").mkdir(parents=True)
    (tmp_path / "noble/here").touch()
    (tmp_path / "noble/sub/below").touch()
    path = write(f"kind: scratch\nfiles:\n  - {entry}\n")
    if error is None:
        assert read_recipe(path)
    else:
        assert refusal(path).startswith(f"noble.yaml:{error}")


CONTRADICTIONS = {
    "files: [{path: /proc/x, content: x}]": "3:16: an image cannot have /proc/x: the kernel's files are there",
    "files: [{path: /etc/resolv.conf, link: x}]": "3:16: an image cannot have /etc/resolv.conf: engines put their own",
    "files: [{path: /tmp/a/b, folder: true}]": "3:16: an image cannot have /tmp/a/b: temporary files are removed",
    "files: [{path: /tmp, folder: true, mode: 1777}]": None,
    "users: [{name: a, uid: 5}, {name: a, uid: 6}]": "3:35: 'a' is there twice",
    "users: [{name: a, uid: 5}, {name: b, uid: 5}]": "3:43: number 5 is there twice",
    "groups: [{name: a, gid: 5}, {name: b, gid: 5}]": "3:44: number 5 is there twice",
    "include: [a1, b1]\nexclude: [b1]": "4:11: 'b1' is in `include`, too",
}


@pytest.mark.parametrize(("line", "error"), CONTRADICTIONS.items())
def test_what_no_image_can_have_is_refused_with_its_place(write, line, error):
    path = write(f"{DEBIAN}{line}\n")
    if error is None:
        assert read_recipe(path)
    else:
        assert refusal(path).startswith(f"noble.yaml:{error}")


@pytest.mark.parametrize("written", ["0644", "'0644'", "644", '"644"'])
def test_a_mode_is_octal_with_and_without_quotes(write, written):
    recipe = read_recipe(write(f"kind: scratch\nfiles: [{{path: /a, content: x, mode: {written}}}]\n"))
    assert int(recipe.files[0].mode, 8) == 0o644


def test_numbers_and_truth_values_of_env_and_labels_are_text_as_written(write):
    said = "{PORT: 8080, MASK: 0022, RATIO: 1.50, DEBUG: True, OFF: false, HEX: 0x1F, TEXT: 'yes'}"
    recipe = read_recipe(write(f"{SCRATCH}image: {{env: {said}, labels: {{build: 007}}}}\n"))
    assert recipe.image.env == {
        "PORT": "8080",
        "MASK": "0022",
        "RATIO": "1.50",
        "DEBUG": "True",
        "OFF": "false",
        "HEX": "0x1F",
        "TEXT": "yes",
    }
    assert recipe.image.labels == {"build": "007"}
    with pytest.raises(RecipeInvalid, match="found nothing"):
        read_recipe(write(f"{SCRATCH}image: {{env: {{EMPTY: }}}}\n"))


def test_ids_go_up_to_the_kernels_last_and_a_containers_to_the_engines(write):
    last = "groups: [{name: g, gid: 4294967294}]\nusers: [{name: u, uid: 4294967294, group: g}]\n"
    assert read_recipe(write(SCRATCH + last)).users[0].uid == 4294967294
    assert "less than or equal to 4294967294" in refusal(write(SCRATCH + last.replace("94}", "95}")))
    assert read_recipe(write(f"{SCRATCH}image: {{user: '2147483647'}}\n"))
    assert "2147483648 is too large" in refusal(write(f"{SCRATCH}image: {{user: '2147483648'}}\n"))


def test_a_file_that_build_may_make_need_not_be_there(write):
    recipe = read_recipe(write("kind: scratch\nbuild: [[make]]\nfiles: [{path: /a, from: out/a}]\n"))
    assert isinstance(recipe, ScratchRecipe)
    assert recipe.files == (FileEntry.model_validate({"path": "/a", "from": "out/a"}),)


@pytest.mark.parametrize("make", [lambda path: path.symlink_to("/etc"), lambda path: path.symlink_to("x"), os.mkfifo])
def test_a_folder_whose_digest_would_not_say_all_is_refused(write, tmp_path, make):
    path = write(SCRATCH)
    (tmp_path / "noble").mkdir()
    make(tmp_path / "noble/x")
    assert re.match(r"noble.yaml:3:3: noble/x is (a link that leads out|neither a file nor)", refusal(path))


@pytest.mark.parametrize("said", [SCRATCH, DEBIAN, "kind: scratch\nfiles: [{path: /a, from: secret}]\n"])
def test_a_folder_that_is_a_link_is_refused(write, tmp_path, said):
    path = write(said)
    (tmp_path / "private").mkdir()
    (tmp_path / "private/secret").write_text("x")
    (tmp_path / "noble").symlink_to("private")
    assert "noble is a link, and a recipe's folder has to be a folder of its own" in refusal(path)


def test_a_folder_with_many_folders_in_each_other_is_refused(write, tmp_path):
    path = write(SCRATCH)
    (tmp_path / "noble" / "/".join("d" * 70)).mkdir(parents=True)
    assert "is more than 64 folders deep" in refusal(path)


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (os.mkfifo, "a recipe is a regular file, and this is none"),
        (lambda path: path.symlink_to("/dev/zero"), "this is a link"),
        (lambda path: path.symlink_to("other"), "this is a link"),
        (lambda path: path.write_text(SCRATCH + "#" * (1 << 20)), "a recipe has at most 1048576 bytes"),
    ],
)
def test_a_recipe_is_a_regular_file_of_a_few_bytes(write, tmp_path, make, error):
    write(SCRATCH, "other")
    path = tmp_path / "noble.yaml"
    make(path)
    assert error in refusal(path)
    assert image_names(tmp_path) == ["noble"], "the others are built none the less"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "1:1: expected a mapping of keys and values"),
        ("# nothing\n", "1:1: expected a mapping of keys and values"),
        ("- a\n", "1:1: expected a mapping of keys and values"),
        ("suite: trixie\n", f"1:1: key 'kind' is missing; it is one of {', '.join(KINDS)}"),
        ("kind: debotstrap\n", "1:7: there is no such kind of recipe. Did you mean 'debootstrap'?"),
        ("kind: {a: b}\n", f"1:7: there is no such kind of recipe. It is one of {', '.join(KINDS)}."),
        ("kind: debootstrap\n", "1:1: key 'suite' is missing"),
        ("kind: scratch\nfiles: []\n", "1:1: the image would be empty: name some `files`, `packages` or `ingredients`"),
        (BARE + "packages: [bash]\n", "1:1: 'packages' needs a 'suite' to take it from"),
        (BARE + "debug: true\n", "1:1: 'debug' needs a 'suite' to take it from"),
        (BARE + "ingredients: [zones]\n", "1:1: 'zones' in 'ingredients' needs a 'suite' to take it from"),
        (BARE + "smoke: [{run: [x], packages: [yy]}]\n", "1:1: 'packages' in 'smoke' needs a 'suite' to take it from"),
        (BARE + "nonroot: true\nimage: {user: '5'}\n", "1:1: 'nonroot' and 'user' in 'image' exclude each other"),
        (
            "kind: scratch\nsuite: trixie\ndebug: true\nfiles: [{path: /busybox/sh, link: x}]\n",
            "1:1: 'debug' makes /busybox, which is in 'files' already",
        ),
        (BARE + "ingredients: [zone]\n", "3:15: "),
        (BARE + "opened: [/lib/libx.so]\nsuite: trixie\n", "3:10: "),
        (BARE + "smoke: [{run: [x], files: [y]}]\n", "3:28: there is no file"),
        (DEBIAN + "smoke: [{run: [x], packages: [yy]}]\n", "3:8: only scratch recipes bring 'packages' for a check"),
        (DEBIAN + "suite: noble\n", "3:1: key 'suite' is there twice"),
        (DEBIAN + "include: [a\n", "4:1: this is not YAML: expected ',' or ']'"),
        (DEBIAN + " include: a\n", "3:9: this is not YAML: mapping values are not allowed here"),
        (DEBIAN + "---\nkind: scratch\n", "3:1: this is not YAML: but found another document"),
        (DEBIAN + "description: a\tb\x07\n", "3:17: unacceptable character #x0007"),
        (DEBIAN + 'description: "\\0"\n', "3:14: this text has a character that no program can take"),
        (DEBIAN + 'description: "\\ud800"\n', "3:14: this text has a character that no program can take"),
        (DEBIAN + "description: &a x\n", "3:14: anchors and aliases are not used in recipes: write the value out"),
        ("&k kind: scratch\n", "1:1: expected a key"),
        ("x: &a [*a]\n", "1:4: anchors and aliases are not used"),
        ("x: *a\n", "1:4: this is not YAML: found undefined alias 'a'"),
        ("<<: {a: b}\nkind: scratch\nfiles: [{path: /a, content: x}]\n", "1:1: unknown key '<<'"),
        ("a: !!python/object:os.system x\n", "1:4: tags are not used in recipes: remove !!python/object:os.system"),
        ("a: !mine [x]\n", "1:4: tags are not used in recipes: remove !mine"),
        ("a: !!int x\n", "1:4: this is not a number that can be read"),
        (f"a: {'9' * 5000}\n", "1:4: this is not a number that can be read"),
        ("[" * 5000, "1:21: this is not YAML: maximum depth"),
        ("%YAML 1.1\n---\nkind: scratch\n", "1:1: a recipe is YAML 1.2 without directives"),
    ],
)
def test_yaml_that_is_no_recipe_is_refused(write, text, error):
    assert refusal(write(text)).startswith(f"noble.yaml:{error}")


def test_yaml_1_2_rules_apply(write):
    recipe = read_recipe(write(DEBIAN + "image: {env: {A: no, B: 12:30:00, C: 2024-01-01, D: =}}\n"))
    assert recipe.image.env == {"A": "no", "B": "12:30:00", "C": "2024-01-01", "D": "="}


def test_bytes_that_are_no_text_are_refused(tmp_path):
    path = tmp_path / "noble.yaml"
    path.write_bytes(b"kind: scratch\nx: \xff\n")
    assert refusal(path) == "noble.yaml:2:4: the file is not UTF-8 text"


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.mkdir()])
def test_a_file_that_cannot_be_read(tmp_path, make):
    path = tmp_path / "noble.yaml"
    make(path)
    assert refusal(path).startswith("noble.yaml:1:1: the file cannot be read: ")


@pytest.mark.parametrize("who", ["joe:s3cret", "s3cret", "s3cret:", "joe:s3/cret", "joe:s3@cret", "joe:s3%2Fcret"])
@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("{DEBIAN}repositories: [{{uri: {uri}, suites: [a], keyring: k}}]\n", "3:22"),
        ("kind: tarball\nsource: {uri}\nsha256: {SHA}\n", "2:9"),
        ("kind: tarball\nsource: x.tar\nsignature: {uri}\nkeyring: k\n", "3:12"),
    ],
)
def test_a_password_in_an_address_is_refused_with_the_place_where_it_belongs(write, text, place, who):
    said = refusal(
        write(text.format(DEBIAN=DEBIAN, SHA=SHA, uri=f"https://{who}@a.example/x"), "it.yaml", "k", "x.tar")
    )
    assert said.startswith(f"it.yaml:{place}: this address has a name or a password in it. Put name and password into")
    assert "/etc/apt/auth.conf.d/" in said
    assert "`auth`" in said
    assert "s3" not in said


def test_a_password_among_a_builders_options_is_refused(write):
    proxy = "env.HTTP_PROXY: 'http://joe:s3cret@a.example'"
    said = refusal(write(f"{DEBIAN}builder: {{lifecycle: ephemeral, options: {{{proxy}}}}}\n"))
    assert re.match(r"noble.yaml:3:\d+: an address in it has a name or a password", said)
    assert "s3cret" not in said


@pytest.mark.parametrize("name", ["Noble", "no ble", "-noble", "noble-", "no--ble", "ñoble", "a..b"])
def test_names_that_no_registry_takes(write, name):
    assert refusal(write(DEBIAN, f"{name}.yaml")).startswith(f"{name}.yaml:1:1: {name!r} is not a name")


@pytest.mark.parametrize("name", ["noble", "trixie-slim", "python3.12", "a_b", "9"])
def test_names_that_registries_take(write, name):
    path = write(DEBIAN, f"{name}.yaml")
    assert read_recipe(path).name == name
    assert files_folder(path) == path.parent / name


def test_all_errors_of_a_file_in_its_order(write):
    lines = refusal(write("kind: debootstrap\nsweet: trixie\nimage:\n  cmd: bash\n  usr: root\n")).splitlines()
    assert [line.split(": ")[0] for line in lines] == [f"noble.yaml:{place}" for place in ("1:1", "2:1", "4:8", "5:3")]


def test_not_more_errors_than_a_person_reads(write):
    lines = refusal(write(DEBIAN + "".join(f"x{number}: 1\n" for number in range(30)))).splitlines()
    assert len(lines) == 11
    assert lines[-1].startswith("… and 20 more")


def test_find(write, tmp_path):
    path = write(DEBIAN)
    assert find_recipe("noble", tmp_path) == path


@pytest.mark.parametrize(
    ("name", "hint"), [("nobel", "Did you mean 'noble'?"), ("zzz", "There are: noble."), ("../noble", "Did you mean")]
)
def test_unknown_recipe(write, tmp_path, name, hint):
    write(DEBIAN)
    with pytest.raises(InputError, match="there is no recipe") as caught:
        find_recipe(name, tmp_path)
    assert isinstance(caught.value, InputError)
    assert str(tmp_path) in caught.value.message
    assert caught.value.hint.startswith(hint)


def test_unknown_recipe_where_there_are_none(tmp_path):
    with pytest.raises(InputError, match="absent"):
        find_recipe("noble", tmp_path / "absent")


def test_read_all_sorts_and_collects(write, tmp_path):
    write(DEBIAN, "trixie.yaml")
    write(DEBIAN, "trixie-slim.yaml")
    assert [recipe.name for recipe in read_recipes(tmp_path)] == ["trixie", "trixie-slim"]
    write("kind: debootstrap\n", "b.yaml")
    write("kind: scratch\nx: y\n", "a.yaml")
    with pytest.raises(RecipeInvalid) as caught:
        read_recipes(tmp_path)
    found = [where.removeprefix(f"{tmp_path}/") for where, _ in caught.value.problems]
    assert found == ["a.yaml:2:1", "b.yaml:1:1"]


class TestDigest:
    """The first link of the chain: what is said, not how it is written."""

    def of(self, write, text: str, name: str = "noble.yaml") -> str:
        path = write(text, name)
        return digest_recipe(read_recipe(path), files_folder(path))

    def test_does_not_change(self, write):
        """Pinned: when this changes, every image of every site is built again."""
        assert self.of(write, DEBIAN) == "sha256:eebc930dfdad5718e31165b562dff2e98febfa7f5b2efc6c155975f67551c085"

    @pytest.mark.parametrize(
        "same",
        [
            "# a comment\n" + DEBIAN,
            "suite: trixie\nkind: debootstrap\n",
            DEBIAN + "variant: minbase\npockets: [updates, security]\n",
            DEBIAN + "description: words\n",
            DEBIAN + "image: {}\n",
        ],
    )
    def test_same_meaning_same_digest(self, write, same):
        assert self.of(write, same) == self.of(write, DEBIAN)

    @pytest.mark.parametrize(
        "other",
        [
            DEBIAN + "variant: apt\n",
            DEBIAN + "pockets: []\n",
            DEBIAN + "image: {labels: {a: b}}\n",
            DEBIAN + "smoke: [{run: ['true']}]\n",
        ],
    )
    def test_other_meaning_other_digest(self, write, other):
        assert self.of(write, other) != self.of(write, DEBIAN)

    def test_default_written_out_is_the_default(self, write):
        short, long = "smoke: [{run: [a]}]\n", "smoke: [{run: [a], timeout: 60, status: 0, stdout: null}]\n"
        assert self.of(write, DEBIAN + short) == self.of(write, DEBIAN + long)

    def test_the_name_counts(self, write):
        assert self.of(write, DEBIAN, "a.yaml") != self.of(write, DEBIAN, "b.yaml")

    def test_files_count(self, write, tmp_path):
        folder = tmp_path / "noble"
        seen = [self.of(write, SCRATCH)]
        folder.mkdir()
        assert self.of(write, SCRATCH) == seen[0]
        file = folder / "main.c"
        for change in (
            lambda: file.write_text("a"),
            lambda: file.write_text("b"),
            lambda: file.chmod(0o755),
            lambda: file.rename(folder / "other.c"),
            lambda: (folder / "link").symlink_to("other.c"),
        ):
            change()
            seen.append(self.of(write, SCRATCH))
        assert len(set(seen)) == len(seen)

    def test_other_bits_and_times_do_not_count(self, write, tmp_path):
        (tmp_path / "noble").mkdir()
        file = tmp_path / "noble/main.c"
        file.write_text("a")
        before = self.of(write, SCRATCH)
        file.chmod(0o600)
        os.utime(file, (1, 1))
        assert self.of(write, SCRATCH) == before

    def test_a_folder_beside_a_recipe_without_files_does_not_count(self, write, tmp_path):
        before = self.of(write, DEBIAN)
        (tmp_path / "noble").mkdir()
        (tmp_path / "noble/notes").touch()
        assert self.of(write, DEBIAN) == before


SHA = "a" * 64
TARBALL = "kind: tarball\nsource: https://archive.example/rootfs.tar.xz\n"


def test_every_key_of_a_tarball_recipe(write):
    text = f"""{TARBALL}sha256: {SHA}
signature: https://archive.example/rootfs.tar.xz.sig
keyring: ring.gpg
leave_out: [/usr/share/doc/*]
setuid: [/bin/su]
devices: true
epoch: 1700000000
largest: 1000000
most: 1000
"""
    path = write(text, "it.yaml", "ring.gpg")
    recipe = read_recipe(path)
    assert isinstance(recipe, TarballRecipe)
    said = recipe.model_dump(exclude_defaults=True)
    assert said["epoch"] == 1_700_000_000
    assert {"sha256", "signature", "keyring", "leave_out", "setuid", "devices", "largest", "most"} <= said.keys()


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (TARBALL, "1:1: a 'source' that is an address needs 'sha256'"),
        (f"{TARBALL}sha256: abc\n", "3:9: 'abc' is not a sha256"),
        (f"{TARBALL}sha256: {SHA}\nsignature: https://a.example/x\n", "1:1: 'signature' and 'keyring' go together"),
        ("kind: tarball\nsource: ../x.tar\n", "2:9: '../x.tar' leads out of the recipe's folder"),
        ("kind: tarball\nsource: ftp://a.example/x\n", "2:9: 'ftp://a.example/x' is not a plain relative path"),
        ("kind: tarball\nsource: x.tar\n", "2:9: there is no file"),
        ("kind: tarball\nsource: x.tar\nsuite: noble\n", "3:1: unknown key 'suite'"),
        ("kind: tarball\nsource: x.tar\nmost: 0\n", "3:7: this should be greater than or equal to 1"),
    ],
)
def test_invalid_tarball_recipes_are_refused(write, text, error):
    assert refusal(write(text)).startswith(f"noble.yaml:{error}")


def test_a_tarball_need_not_be_in_the_folder_where_the_pool_may_have_it(write):
    assert read_recipe(write(f"kind: tarball\nsource: x.tar\nsha256: {SHA}\n"))
    assert read_recipe(write("kind: tarball\nsource: x.tar\n"), pooled=True)


def test_a_tarball_counts_in_the_lock_and_not_in_the_digest_of_its_recipe(write):
    path = write("kind: tarball\nsource: x.tar\nsignature: sig\nkeyring: ring\n", "it.yaml", "x.tar", "sig", "ring")
    before = digest_recipe(read_recipe(path), files_folder(path))
    (files_folder(path) / "x.tar").write_text("other")
    assert digest_recipe(read_recipe(path), files_folder(path)) == before
    (files_folder(path) / "ring").write_text("other")
    assert digest_recipe(read_recipe(path), files_folder(path)) != before


def test_only_a_tarball_makes_it_count_in_a_lock():
    assert Lock().digest == canonical_digest({"releases": [], "packages": []})
    assert len({Lock().digest, Lock(tarball="a").digest, Lock(tarball="b").digest}) == 3

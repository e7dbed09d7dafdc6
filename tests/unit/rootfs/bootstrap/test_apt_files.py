"""The files of apt in a tree: where packages come from, and which versions apt prefers."""

import re
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from rootfs.bootstrap.apt_files import added_files, base_files, keyring_path
from rootfs.bootstrap.bootstrapper import Job
from rootfs.bootstrap.install_plan import StartTree, make_plan
from rootfs.lock.lock import Lock, Package, Release
from rootfs.recipe.base import Packaged
from rootfs.recipe.debootstrap import DebootstrapRecipe
from rootfs.recipe.layer import LayerRecipe

MAIN, SECURITY = "http://main.test/debian", "http://security.test/debian-security"
UBUNTU, UBUNTU_SECURITY = "http://main.test/ubuntu", "http://security.test/ubuntu"
VERSIONS = {
    "trixie": ("3.0.3", "debian-archive-keyring", "2025.1"),
    "bookworm": ("2.6.1", "debian-archive-keyring", "2023.3+deb12u2"),
    "bullseye": ("2.2.4", "debian-archive-keyring", "2021.1.1+deb11u1"),
    "sid": ("3.1", "debian-archive-keyring", "2025.1"),
    "noble": ("2.7.14build2", "ubuntu-keyring", "2023.11.28.1"),
    "jammy": ("2.4.13", "ubuntu-keyring", "2021.03.26"),
}
KEYRING = Path(__file__)  # any file will do
FURTHER = {"uri": "http://other.test/x/", "suites": ("stable",), "components": ("a", "b"), "keyring": KEYRING.name}


def package(name: str, version: str) -> Package:
    said = dict.fromkeys(("architecture", "source", "suite", "path"), "a")
    return Package(name=name, version=version, size=1, sha256="0" * 64, archive=MAIN, **said)


def lock(suite: str, *further: tuple[str, str], packages: bool = True) -> Lock:
    """A lock of a suite and its pockets, as far as the test's archive has them, and of further archives."""
    apt, keyring, version = VERSIONS[suite]
    main, security = (UBUNTU, UBUNTU_SECURITY) if suite in ("noble", "jammy") else (MAIN, SECURITY)
    suites = [(main, suite)]
    if suite != "sid":
        suites += [(main, f"{suite}-updates"), (security, f"{suite}-security")]
    releases = [Release(address=at, suite=name, sha256="a", date=1, signer="F") for at, name in (*suites, *further)]
    debs = (package("apt", apt), package(keyring, version)) if packages else ()
    return Lock(releases=tuple(releases), packages=debs)


def job(recipe: Packaged, known: Lock, *base: Packaged) -> Job:
    place = Path("/nowhere")
    files = {"files": KEYRING.parent, "folder": place, "debs": place, "cache": None, "log": print}
    return Job(recipe=recipe, lock=known, architecture="amd64", base_recipes=base, **files)


def debootstrap(suite: str, **keys: object) -> DebootstrapRecipe:
    given = {"name": "x", "kind": "debootstrap", "suite": suite, **keys}
    return DebootstrapRecipe.model_validate(given, strict=False)


def texts(suite: str, *further: tuple[str, str], **keys: object) -> dict[str, str]:
    """The files of a tree, by path."""
    recipe = debootstrap(suite, **keys)
    return dict(base_files(job(recipe, lock(suite, *further)), recipe))


def stanza(uri: str, suites: str, components: str, keyring: str) -> str:
    signed = f"Signed-By: {keyring}\n" if keyring else ""
    return f"Types: deb\nURIs: {uri}\nSuites: {suites}\nComponents: {components}\n{signed}"


RINGS = "/usr/share/keyrings"
BESIDE = f"{MAIN}-security"
EVERYTHING = "main universe restricted multiverse"


def test_a_suite_without_support_has_the_sources_that_it_moved_to():
    old, security = "http://archive.debian.org/debian", "http://archive.debian.org/debian-security"
    releases = [
        Release(address=at, suite=name, sha256="a", date=1, signer="F")
        for at, name in ((old, "buster"), (security, "buster/updates"))
    ]
    recipe = debootstrap("buster", pockets=("security",))
    known = Lock(releases=tuple(releases), packages=(package("apt", "1.8.2"),))
    assert dict(base_files(job(recipe, known), recipe))["/etc/apt/sources.list"] == (
        f"deb {old} buster main\ndeb {security} buster/updates main\n"
    )


@pytest.mark.parametrize(("suite", "ending"), [("trixie", "pgp"), ("bookworm", "gpg")])
def test_debian_has_its_sources_where_its_own_images_have_them(suite, ending):
    found, ring = texts(suite), f"{RINGS}/debian-archive-keyring.{ending}"
    assert found["/etc/apt/sources.list.d/debian.sources"] == "\n".join(
        [stanza(MAIN, f"{suite} {suite}-updates", "main", ring), stanza(BESIDE, f"{suite}-security", "main", ring)]
    )
    assert "/etc/apt/sources.list" not in found


def test_ubuntu_has_its_sources_and_all_components_where_its_own_images_have_them():
    found, ring = texts("noble"), f"{RINGS}/ubuntu-archive-keyring.gpg"
    suites = "noble noble-updates noble-backports"
    assert found["/etc/apt/sources.list.d/ubuntu.sources"] == "\n".join(
        [
            stanza(f"{UBUNTU}/", suites, EVERYTHING, ring),
            stanza(f"{UBUNTU_SECURITY}/", "noble-security", EVERYTHING, ring),
        ]
    )
    assert "ubuntu.sources" in found["/etc/apt/sources.list"]
    assert all(line.startswith("#") for line in found["/etc/apt/sources.list"].splitlines())


def test_older_suites_have_a_sources_list_as_their_own_images():
    assert texts("bullseye")["/etc/apt/sources.list"].splitlines() == [
        f"deb {MAIN} bullseye main",
        f"deb {MAIN} bullseye-updates main",
        f"deb {BESIDE} bullseye-security main",
    ]
    assert texts("jammy")["/etc/apt/sources.list"].splitlines() == [
        f"deb {UBUNTU}/ jammy {EVERYTHING}",
        f"deb {UBUNTU}/ jammy-updates {EVERYTHING}",
        f"deb {UBUNTU}/ jammy-backports {EVERYTHING}",
        f"deb {UBUNTU_SECURITY}/ jammy-security {EVERYTHING}",
    ]
    assert not [path for path in (*texts("bullseye"), *texts("jammy")) if path.endswith(".sources")]


def test_a_suite_without_pockets_has_only_itself():
    assert "Suites: sid\n" in texts("sid")["/etc/apt/sources.list.d/debian.sources"]


def suites_and_components(suite: str, **keys: object) -> list[tuple[str, ...]]:
    [text] = [
        text for path, text in texts(suite, **keys).items() if path.endswith(("debian.sources", "ubuntu.sources"))
    ]
    fields = [dict(line.split(": ") for line in each.splitlines()) for each in text.split("\n\n")]
    return [(each["Suites"], each["Components"]) for each in fields]


def test_what_the_image_is_made_of_does_not_decide_what_its_apt_may_use():
    assert suites_and_components("trixie", pockets=()) == suites_and_components("trixie")
    asked = {"components": ("main", "contrib")}
    assert suites_and_components("trixie", apt_sources={**asked, "pockets": ("backports",)}) == [
        ("trixie trixie-backports", "main contrib")
    ]
    assert suites_and_components("noble", apt_sources={"components": ("main",), "pockets": ()}) == [("noble", "main")]
    # Else apt would not find newer versions of what the image has.
    assert suites_and_components("trixie", **asked) == [
        ("trixie trixie-updates", "main contrib"),
        ("trixie-security", "main contrib"),
    ]


def test_a_tree_without_apt_has_none_of_its_files():
    recipe = debootstrap("trixie", variant="essential", repositories=[FURTHER])
    assert dict(base_files(job(recipe, lock("trixie", packages=False)), recipe)) == {}


def test_further_archives_have_files_of_their_own():
    found = texts("trixie", ("http://other.test/x", "stable"), repositories=[FURTHER])
    expected = stanza("http://other.test/x/", "stable", "a b", keyring_path(KEYRING))
    assert found["/etc/apt/sources.list.d/further-1.sources"] == expected
    assert "other.test" not in found["/etc/apt/sources.list.d/debian.sources"]


def test_archives_whose_keyrings_have_one_name_do_not_sign_for_each_other(tmp_path):
    for folder, text in (("a", b"one"), ("b", b"two"), ("c", b"one")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a key,.gpg").write_bytes(text)
    others = [{**FURTHER, "uri": f"http://{each}.test", "keyring": f"{each}/a key,.gpg"} for each in "abc"]
    recipe = debootstrap("trixie", repositories=others)
    wanted = replace(job(recipe, lock("trixie")), files=tmp_path)
    made = make_plan(wanted, recipe, base_files(wanted, recipe), StartTree(None, 1), 1)
    named = [made.settings[f"/etc/apt/sources.list.d/further-{number}.sources"].split()[-1] for number in (1, 2, 3)]
    assert all(re.fullmatch(r"/etc/apt/keyrings/key-[0-9a-f]{32}\.gpg", path) for path in named)
    assert [(entry.path, (tmp_path / (entry.source or "")).read_bytes()) for entry in made.entries] == [
        (named[0], b"one"),
        (named[1], b"two"),
    ]
    assert named[2] == named[0] != named[1]


def test_apt_is_told_the_form_of_a_keyring_by_its_ending(tmp_path, key):
    (tmp_path / "x.gpg").write_bytes(key.armoured.read_bytes())
    assert keyring_path(tmp_path / "x.gpg").endswith(".asc")
    assert keyring_path(key.keyring).endswith(".gpg")


def test_a_suite_of_the_images_own_sources_has_one_keyring_also_if_a_recipe_names_it_again():
    """apt refuses to work where two sources of a suite have different keyrings."""
    again = {"uri": UBUNTU, "suites": ("noble", "noble-proposed"), "components": ("universe",), "keyring": KEYRING.name}
    found = texts("noble", (UBUNTU, "noble-proposed"), repositories=[again])
    own = stanza(UBUNTU, "noble-proposed", "universe", keyring_path(KEYRING))
    assert found["/etc/apt/sources.list.d/further-1.sources"] == own
    contrib = {"uri": MAIN, "suites": ("trixie",), "components": ("contrib",), "keyring": KEYRING.name}
    found = texts("trixie", repositories=[contrib])
    ring = f"{RINGS}/debian-archive-keyring.pgp"
    assert found["/etc/apt/sources.list.d/further-1.sources"] == stanza(MAIN, "trixie", "contrib", ring)


PINS = [
    {"packages": ("a", "b*"), "pin": "version 1.2*", "priority": 1001},
    {"packages": ("c",), "pin": "origin other.test", "priority": -1, "in_image": False},
]
PINNED = "Package: a b*\nPin: version 1.2*\nPin-Priority: 1001\n"


def preferences(files: Iterator[tuple[str, str]]) -> dict[str, str]:
    return {path: text for path, text in files if path.startswith("/etc/apt/preferences.d/")}


def test_pins_are_in_the_image_but_those_that_are_left_out():
    recipe = debootstrap("trixie", pins=PINS)
    assert preferences(base_files(job(recipe, lock("trixie")), recipe)) == {
        "/etc/apt/preferences.d/baseforge-01": PINNED
    }
    assert preferences(iter(texts("trixie", pins=PINS[1:]).items())) == {}


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("http://other.test/x", 'Package: *\nPin: origin "other.test"\nPin-Priority: 100\n'),
        # The distribution's own packages come from the same host.
        (
            "http://main.test/x",
            "Package: *\nPin: release n=stable\nPin-Priority: 100\n\n"
            "Package: *\nPin: release a=stable\nPin-Priority: 100\n",
        ),
        # Another suite of the distribution's own archive, such as backports.
        (
            MAIN,
            "Package: *\nPin: release n=stable\nPin-Priority: 100\n\n"
            "Package: *\nPin: release a=stable\nPin-Priority: 100\n",
        ),
    ],
)
def test_the_priority_of_a_further_archive_is_in_the_image(uri, expected):
    asked = {**FURTHER, "uri": uri, "priority": 100}
    found = preferences(iter(texts("trixie", (uri, "stable"), repositories=[asked]).items()))
    assert found == {"/etc/apt/preferences.d/baseforge-01": expected}


def test_a_layer_adds_files_to_those_of_its_base_image():
    base = debootstrap("trixie", repositories=[FURTHER], pins=PINS)
    given = {"name": "y", "kind": "layer", "from": "x", "pins": PINS[:1], "repositories": [FURTHER]}
    layer = LayerRecipe.model_validate(given, strict=False)
    files = dict(added_files(job(layer, lock("trixie", packages=False), base), layer))
    assert sorted(files) == ["/etc/apt/preferences.d/baseforge-02", "/etc/apt/sources.list.d/further-2.sources"]
    assert files["/etc/apt/preferences.d/baseforge-02"] == PINNED


def layer_sources(suite: str, *components: str, below: tuple[str, ...] = (), **keys: object) -> dict[str, str]:
    """The files that a layer with these components adds."""
    base = debootstrap(suite)
    middle = [LayerRecipe.model_validate({"name": "m", "kind": "layer", "from": "x", "components": below})] * bool(
        below
    )
    layer = LayerRecipe.model_validate({"name": "y", "kind": "layer", "from": "x", "components": components, **keys})
    return dict(added_files(job(layer, lock(suite, packages=False), base, *middle), layer))


def test_apt_finds_newer_versions_of_what_a_layer_takes_from_another_component():
    ring = f"{RINGS}/debian-archive-keyring.pgp"
    both = [stanza(MAIN, "trixie trixie-updates", "contrib", ring), stanza(BESIDE, "trixie-security", "contrib", ring)]
    assert layer_sources("trixie", "contrib") == {"/etc/apt/sources.list.d/debian-1.sources": "\n".join(both)}
    assert list(layer_sources("trixie", "non-free", below=("contrib",))) == ["/etc/apt/sources.list.d/debian-2.sources"]
    assert layer_sources("trixie", "contrib", below=("contrib",)) == {}
    assert layer_sources("noble", "universe") == {}
    assert "Signed-By" not in layer_sources("bullseye", "contrib")["/etc/apt/sources.list.d/debian-1.sources"]


@pytest.mark.parametrize("suite", ["trixie", "bookworm", "bullseye", "noble", "jammy"])
def test_apt_reads_the_files(tmp_path, suite):
    folder = tmp_path / "etc/apt"
    keys = {"pins": PINS, "repositories": [{**FURTHER, "priority": 100}], "apt_sources": {"pockets": ("backports",)}}
    for path, text in texts(suite, ("http://other.test/x", "stable"), **keys).items():
        (file := tmp_path / path.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    (tmp_path / "status").touch()
    given = {
        "Dir::Etc": folder,
        "Dir::State": tmp_path,
        "Dir::State::status": tmp_path / "status",
        "Dir::Cache": tmp_path,
    }
    options = [f"--option={name}={value}" for name, value in given.items()]
    (tmp_path / "lists/partial").mkdir(parents=True)
    said = [
        subprocess.run([*words, *options], capture_output=True, text=True, check=True)
        for words in (["apt-get", "update", "--print-uris"], ["apt-cache", "policy"])
    ]
    main = UBUNTU if suite in ("noble", "jammy") else MAIN
    assert f"{main}/dists/{suite}-backports/InRelease" in said[0].stdout
    assert [each.stderr for each in said] == ["", ""]

"""`baseforge verify` reproduces builds a day later without network, and explains those that differ."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import tarfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.engine.variation import CLOCK
from tests.support.factory import BASEFORGE, Done, Factory
from tests.support.home import own_home
from tests.support.parameters import some_in_full
from tests.support.shelf import Shelf

LOCAL_NAME = "baseforge-verify"
DEBIAN = ("noble", "trixie", "trixie-slim")
LAYERS = ("bytecode", "python3-dev", "noble-standard", "trixie-standard")
BYTECODE = "kind: layer\nfrom: trixie-slim\ninclude: [python3-minimal]\n"  # the scripts of its packages compile modules
RUNTIMES = ("static", "base", "python3")  # images from nothing
TINY = "kind: scratch\nfiles: [{path: /motd, from: motd}, {path: /run, from: run}]\n"
RANDOM = (
    "kind: scratch\nbuild: [[sh, -c, 'cat /proc/sys/kernel/random/uuid >id']]\nfiles: [{path: /etc/id, from: id}]\n"
)
KEYED = """\
kind: scratch
tools: [openssl]
build: [[openssl, genpkey, -algorithm, ed25519, -out, key]]
files: [{path: /etc/app.key, from: key}]
"""
WEB = """\
kind: layer
from: trixie-slim
include: [apache2, openssh-server]
paths: {exclude: [/etc/ssh/ssh_host_*]}
customise: [folders.sh]
"""
FOLDERS = "#!/bin/sh\nset -e\ninstall --directory --owner=www-data --mode=0700 /run/web\n"
START = """\
test "$(stat -c '%U %a' /run/web)" = "www-data 700"
mkdir -p /var/lock/app
apache2ctl start
ssh-keygen -A >/dev/null
/usr/sbin/sshd -t
timeout 30 sh -c 'until test -s /run/apache2/apache2.pid; do sleep 0.2; done'
"""
LINKS = ["recipe", "lock", "input", "diff id", "layer", "config", "manifest"]
# Nothing but a loopback, over which the command line talks to its own Prefect server.
# The other clock leaves files in /dev/shm, which is therefore one of its own.
CUT_OFF = [
    "unshare",
    "--net",
    "--mount",
    "sh",
    "-ec",
    'ip link set lo up; mount -t tmpfs tmpfs /dev/shm; exec "$@"',
    "sh",
]
VERIFY_EACH = r'for image; do "$0" verify "$image" --json; printf "\0"; done'
# A day later for the command line and its Prefect server; what they start has a clean environment. Sleeping until
# a moment fails with this clock, which is how Python sleeps.
TOMORROW = {
    "LD_PRELOAD": str(CLOCK),
    "FAKETIME": "+1d",
    "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    "NO_FAKE_STAT": "1",
}
SLEEP = "import select, time\ntime.sleep = lambda seconds: select.select([], [], [], seconds) and None\n"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Factory]:
    """A site with a data folder, and so a Prefect server, of its own, and two builds."""
    folder = tmp_path_factory.mktemp("site")
    made = Factory(folder, {**own_home(folder / "home"), "BASEFORGE_LOCAL_NAME": LOCAL_NAME})
    made.recipe("tiny", TINY, motd="hello\n", run="x\n")
    made.recipe("random", RANDOM, unused="")
    made.built("tiny", "random")
    yield made
    made.run("stop")
    made.remove_images()


def record(site: Factory, image: str) -> dict[str, str]:
    found: dict[str, str] = site.run("show", image, "--json").json
    return found


def verified(site: Factory, *words: str, status: int = 0) -> Done:
    done = site.run("verify", *words)
    assert done.status == status, done.stderr
    assert "Traceback" not in done.stderr
    assert site.leftovers() == []
    return done


def test_every_link_of_the_chain_is_compared(site):
    found = verified(site, "tiny", "--json").json
    assert (found["image"], found["status"], found["differences"]) == ("tiny", "reproduced", [])
    assert [link["name"] for link in found["links"]] == LINKS
    assert all(link["same"] for link in found["links"])
    assert found["links"][-1]["found"] == record(site, "tiny")["manifest_digest"]
    assert {"recall", "tree", "pack", "assemble", "compare"} <= set(found["seconds"])


def test_verify_prints_the_same_for_people(site):
    done = verified(site, f"tiny@{record(site, 'tiny')['build'][:12]}")
    lines = done.stdout.splitlines()
    assert [line.split("  ")[0].strip() for line in lines] == ["LINK", *LINKS]
    assert "differs" not in done.stdout
    assert "reproduced: sha256:" in done.stderr


def test_verify_uses_the_recorded_recipe(site, tmp_path):
    changed = Factory(tmp_path / "site", site.settings)
    shutil.copytree(site.folder / "store", changed.folder / "store")
    changed.recipe("tiny", TINY, motd="something else\n", run="")
    assert verified(changed, "tiny", "--json").json["status"] == "reproduced"
    shutil.rmtree(changed.recipes)
    assert verified(changed, "tiny", "--json").json["status"] == "reproduced"


def test_a_build_that_is_not_repeatable_fails_to_verify(site):
    done = verified(site, "random", "--json", status=1)
    assert done.json["status"] == "differs"
    assert [link["name"] for link in done.json["links"] if link["same"]] == ["recipe", "lock", "input"]
    [said] = done.json["differences"]
    assert said.startswith("etc/id: content")
    people = verified(site, "random", status=1)
    assert "etc/id: content" in people.stdout
    assert "random@" in people.stderr
    assert "another diff id, layer, config, manifest" in people.stderr


def test_a_build_names_what_differs_each_time_and_a_recipe_accepts_it_with_a_reason(site):
    site.recipe("counted", RANDOM, unused="")
    done = site.run("build", "counted")
    assert "counted: warning: a second build will differ in /etc/id (identifier)" in done.stderr
    assert "`repeatable: {no_because: …}`" in done.stderr
    site.recipe("counted", f"{RANDOM}repeatable: {{no_because: each has a number}}\n", unused="")
    done = site.run("build", "counted")
    assert (done.status, "warning" in done.stderr) == (0, False)
    told = verified(site, "counted")
    assert "etc/id: content" in told.stdout
    assert "not repeatable: each has a number" in told.stderr
    assert verified(site, "counted", "--json").json["status"] == "not repeatable"


def test_a_private_key_is_refused_unless_the_recipe_says_why_and_never_shown(site):
    site.recipe("keyed", KEYED, unused="")
    refused = site.run("build", "keyed")
    assert refused.status == 1
    for words in ("private keys", "/etc/app.key: private key in PEM", "private_keys: [{path: …, why: …}]"):
        assert words in refused.stderr
    assert not [build for build in site.builds() if build.startswith("keyed@")]
    site.recipe("keyed", f"{KEYED}private_keys: [{{path: /etc/*.key, why: a test}}]\n", unused="")
    [built] = site.built("keyed")
    done = verified(site, "keyed", status=1)
    assert "etc/app.key: content\n    content differs (private key, not shown)" in done.stdout
    with tarfile.open(fileobj=io.BytesIO(unpacked(site, built["layer_digest"]))) as layer:
        content = layer.extractfile("etc/app.key")
        assert content
        line = content.read().decode().splitlines()[1]
    assert line not in done.stdout + done.stderr + refused.stdout + refused.stderr


def unpacked(site: Factory, digest: str) -> bytes:
    command = ["zstd", "--decompress", "--stdout", blob(site, digest)]
    return subprocess.run(command, capture_output=True, check=True).stdout


def test_against_another_image(site):
    tiny, random = (record(site, image)["manifest_digest"] for image in ("tiny", "random"))
    assert verified(site, "tiny", "--against", tiny, "--json").json["status"] == "reproduced"
    done = verified(site, "tiny", "--against", random, "--json", status=1)
    assert "etc/id: missing: was a file" in done.json["differences"]
    unknown = verified(site, "tiny", "--against", "ab" * 32, status=1)
    assert "cannot show what differs" in unknown.stdout


BAD = [(("nothing",), 2, "no image"), (("tiny@2001",), 2, "2001"), (("tiny", "--against", "latest"), 2, "not a digest")]


@pytest.mark.parametrize(("words", "status", "said"), BAD)
def test_invalid_names_and_options_are_refused(site, words, status, said):
    assert said in verified(site, *words, status=status).stderr


def copied(site: Factory, folder: Path) -> Factory:
    """The same site with a store of its own, that may be harmed."""
    made = Factory(folder, site.settings)
    shutil.copytree(site.folder / "store", made.folder / "store")
    return made


def blob(site: Factory, digest: str) -> Path:
    return site.folder / "store/blobs/sha256" / digest.removeprefix("sha256:")


def test_a_changed_record_is_noticed(site, tmp_path):
    harmed = copied(site, tmp_path / "site")
    [path] = (harmed.folder / "store/images/tiny/builds").glob("*.json")
    said = json.loads(path.read_text())
    path.chmod(0o644)
    path.write_text(json.dumps({**said, "tools": {"zstd": "0.0.1"}}))
    done = verified(harmed, "tiny", status=1)
    assert done.stdout.startswith("made with other tools: zstd ")
    assert "another input" in done.stderr


def test_lost_or_damaged_sources_are_named(site, tmp_path):
    harmed = copied(site, tmp_path / "site")
    digest = record(harmed, "tiny")["ingredients"]
    place = blob(harmed, digest)
    place.chmod(0o644)
    place.write_bytes(place.read_bytes()[:-1] + b"x")
    assert "is damaged" in verified(harmed, "tiny", status=1).stderr
    place.unlink()
    assert f"no blob {digest}" in verified(harmed, "tiny", status=1).stderr


@pytest.fixture
def debian(shelf: Shelf) -> Factory:
    """The site of the shelf, whose images are built: no archive is needed any more."""
    assert shelf.first.status == 0, shelf.first.stderr
    return shelf.site


@pytest.fixture(scope="module")
def runtimes(site: Factory) -> Factory:
    """Images of packages that were unpacked and not installed, and those to look around in, which come along."""
    before = volumes()
    site.shelf(*RUNTIMES)
    made = [each["image"] for each in site.built(*RUNTIMES)]
    assert made == [name for each in RUNTIMES for name in (each, f"{each}-debug")]
    assert volumes() - before == set()  # what their checks brought along
    return site


def volumes() -> set[str]:
    return set(
        subprocess.run(["docker", "volume", "ls", "-q"], capture_output=True, text=True, check=True).stdout.split()
    )


def test_an_image_for_debugging_has_a_shell_for_its_user(runtimes):
    command = [
        "docker",
        "run",
        "--rm",
        "--network=none",
        f"{LOCAL_NAME}/base-debug",
        "sh",
        "-c",
        "id -un; pwd; which ls; ls -ld /busybox/busybox /run/lock /var/lock/. | cut -c 1-10",
    ]
    shown = record(runtimes, "base-debug")["example"]
    done = subprocess.run([*command[:5], *shown], capture_output=True, text=True, check=True)
    assert "busybox\n" in done.stdout
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "nonroot\n/home/nonroot\n/busybox/ls\n-rwxr-xr-x\ndrwxrwxrwt\ndrwxrwxrwt\n"


def test_verify_reproduces_scratch_images_a_day_later_without_network(runtimes, tmp_path):
    verified_tomorrow(runtimes, tmp_path, *RUNTIMES)


@pytest.mark.parametrize("image", some_in_full(DEBIAN, "noble", "trixie"))
def test_verify_reproduces_a_day_later_without_network(debian, image, tmp_path):
    verified_tomorrow(debian, tmp_path, image)


def verified_tomorrow(site: Factory, tmp_path: Path, *images: str) -> None:
    """With one Prefect server for all of them, which starts in there."""
    assert site.run("stop").status == 0
    (tmp_path / "sitecustomize.py").write_text(SLEEP)
    begun = f"{datetime.now(UTC) + timedelta(days=1):%Y%m%dT%H%M%S}"
    command = [*CUT_OFF, "sh", "-ec", VERIFY_EACH, BASEFORGE, *images]
    environment = {**site.environment, **TOMORROW, "PYTHONPATH": str(tmp_path), "DOCKER_HOST": "unix:///nowhere"}
    try:
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, timeout=600, cwd=site.folder, env=environment
        )
    finally:
        server = site.folder / "home/prefect/server.json"
        os.kill(json.loads(server.read_text())["pid"], signal.SIGTERM)  # nobody else gets to its port
        server.unlink()
    assert done.returncode == 0, done.stderr
    documents = done.stdout.split("\0")[:-1]
    for image, found in zip(images, map(json.loads, documents), strict=True):
        assert (found["image"], found["status"]) == (image, "reproduced")
        [log] = [log for log in (site.folder / f"home/logs/{image}").glob("*.log") if log.name >= begun]
        assert " is cached as " not in log.read_text()
        assert found["links"][-1]["found"] == record(site, image)["manifest_digest"]
    assert site.leftovers() == []


@pytest.mark.parametrize("image", DEBIAN)
def test_var_lock_leads_to_a_folder_that_everybody_can_write_to(debian, image):
    script = "mkdir -p /var/lock/app && stat -c '%a %u' /run/lock && runuser -u nobody touch /var/lock/mine"
    name = f"{debian.settings['BASEFORGE_LOCAL_NAME']}/{image}"
    command = ["docker", "run", "--rm", "--network=none", name, "sh", "-ec", script]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "1777 0\n"


def test_servers_start_that_need_folders_below_run_and_keys_of_their_own(debian):
    debian.recipe("web", WEB, folders_sh=FOLDERS)
    debian.built("web")
    name = f"{debian.settings['BASEFORGE_LOCAL_NAME']}/web"
    subprocess.run(["docker", "run", "--rm", "--network=none", name, "sh", "-ec", START], check=True)


@pytest.mark.full
def test_the_keystore_of_java_is_the_same_again(debian):
    include = "include: [openjdk-21-jre-headless, ca-certificates-java]\nunlinked: [/usr/lib/jvm/*]\n"
    debian.recipe("java-layer", f"kind: layer\nfrom: trixie-slim\n{include}")
    debian.built("java-layer")
    assert verified(debian, "java-layer", "--json").json["status"] == "reproduced"


@pytest.mark.parametrize("image", some_in_full(LAYERS, *LAYERS[1:]))
def test_a_layer_is_the_same_again(debian, image):
    if image == "bytecode":
        debian.recipe(image, BYTECODE)
    else:
        debian.shelf(image)
    debian.built(image)
    assert verified(debian, image, "--json").json["status"] == "reproduced"


@pytest.mark.parametrize("image", some_in_full(DEBIAN, "noble", "trixie"))
def test_cached_trees_give_the_same_image(debian, image):
    before = record(debian, image)["manifest_digest"]
    [done] = debian.built(image, "--force")
    assert done["manifest_digest"] == before
    log = debian.folder / f"home/logs/{image}/{done['build']}.log"
    assert "the tree of base packages is cached" in log.read_text()


def test_a_damaged_deb_in_the_pool_is_named(debian, tmp_path):
    harmed = Factory(tmp_path / "site", debian.settings)
    shutil.copytree(debian.folder / "store", harmed.folder / "store", copy_function=os.link)
    package = next(each for each in record(harmed, "trixie")["lock"]["packages"] if each["name"] == "bash")
    place = blob(harmed, package["sha256"])
    flipped = bytearray(place.read_bytes())
    flipped[1000] ^= 1
    place.unlink()  # the other site has the same file
    place.write_bytes(flipped)
    assert "bash" in verified(harmed, "trixie", status=1).stderr
    place.unlink()
    assert "bash" in verified(harmed, "trixie", status=1).stderr

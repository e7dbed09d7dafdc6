"""Images of Dockerfiles, through BuildKit and through an engine's own, with base images and secrets."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.authorities import authority
from tests.support.factory import Factory
from tests.support.keys import pem
from tests.support.outcome import complains, start, stop
from tests.support.services.buildkit import IMAGE, Buildkitd, buildkitd
from tests.support.services.kubernetes import GONE, Cluster
from tests.support.services.workshop import Workshop

SETTINGS = """
builder = "far"

[builders.far]
lifecycle = "persistent"
driver = "remote"
endpoint = "{address}"

[builders.container]
lifecycle = "ephemeral"
options = {{ image = "{image}", network = "none" }}

[builders.pod]
lifecycle = "ephemeral"
driver = "kubernetes"
options = {{ image = "{image}" }}

[secrets]
token = "{token}"
"""
TOKEN = "s3cr3t-and-long-enough"
COPY = r"""
#include <stdio.h>
#include <unistd.h>
int main(int count, char **words) {
    char buffer[4096];
    FILE *from = fopen(words[1], "r"), *to = count > 2 ? fopen(words[2], "w") : stdout;
    if (!from || !to) { perror("copy"); return 3; }
    fwrite(buffer, 1, fread(buffer, 1, sizeof buffer, from), to);
    fflush(to);
    if (count > 3) sleep(600);
    return 0;
}
"""
# SSH_AGENTC_REQUEST_IDENTITIES and its answer (draft-ietf-sshm-ssh-agent): length, type 12, count.
ASK = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
int main(int count, char **words) {
    struct sockaddr_un agent = {AF_UNIX, ""};
    strncpy(agent.sun_path, getenv("SSH_AUTH_SOCK"), sizeof agent.sun_path - 1);
    unsigned char answer[9] = {0};
    int there = socket(AF_UNIX, SOCK_STREAM, 0), got = 0, more;
    if (connect(there, (struct sockaddr *)&agent, sizeof agent)) { perror("connect"); return 3; }
    if (write(there, "\0\0\0\1\13", 5) != 5) return 4;
    while (got < 9 && (more = read(there, answer + got, 9 - got)) > 0) got += more;
    FILE *to = fopen(words[1], "w");
    fprintf(to, "%d keys\n", answer[8]);
    return fclose(to) || answer[4] != 12;
}
"""
BASE = """FROM scratch AS tools
COPY copy /bin/copy
COPY copy motd /rubbish/

FROM tools
COPY motd /etc/motd
RUN ["/bin/copy", "/etc/motd", "/etc/issue"]
ENV GREETING=hello
HEALTHCHECK --interval=5s CMD ["/bin/copy", "/etc/motd"]
LABEL com.example.one=1
USER 65532:65532
ENTRYPOINT ["/bin/copy"]
CMD ["/etc/motd"]
"""
CHILD = 'FROM base\nUSER 0:0\nCOPY --from=base /etc/motd /etc/copied\nRUN ["/bin/copy", "/etc/motd", "/etc/more"]\n'


@pytest.fixture(scope="module")
def daemon() -> Iterator[Buildkitd]:
    with buildkitd() as running:
        yield running


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A static program that copies a file, or shows it."""
    folder = tmp_path_factory.mktemp("copy")
    (folder / "copy.c").write_text(COPY)
    subprocess.run(["gcc", "-static", "-O1", "-s", "-o", folder / "copy", folder / "copy.c"], check=True)
    return folder / "copy"


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A static program that asks an SSH agent how many keys it has, and writes that to a file."""
    folder = tmp_path_factory.mktemp("ask")
    (folder / "ask.c").write_text(ASK)
    subprocess.run(["gcc", "-static", "-O1", "-s", "-o", folder / "ask", folder / "ask.c"], check=True)
    return folder / "ask"


@pytest.fixture
def site(daemon: Buildkitd, workshop: Workshop, tmp_path: Path) -> Iterator[Factory]:
    made = Factory(tmp_path / "site", {"BASEFORGE_LOCAL_NAME": "baseforge-dockerfile"})
    made.folder.mkdir()
    (tmp_path / "token").write_text(TOKEN + "\n")
    settings = SETTINGS.format(address=daemon.address, image=IMAGE, token=tmp_path / "token")
    (made.folder / "baseforge.toml").write_text(settings)
    images = workshop.engine.client.api.images
    before = set(images(quiet=True, all=True))
    yield made
    left = {name.removeprefix("far") for name in workshop.leftovers()}
    assert (left - {""}, made.leftovers()) == (set(), [])
    for image in images(all=True):
        names = image["RepoTags"] or []
        ours = [name for name in names if name.startswith("baseforge-dockerfile/")]
        assert image["Id"] in before or (ours and ours == names), image  # nothing else is left, nor without a name
        for name in ours:
            workshop.engine.client.api.remove_image(name, force=True)


def recipe(site: Factory, name: str, dockerfile: str, copy: Path, more: str = "") -> None:
    site.recipe(name, f"kind: dockerfile\n{more}", motd="hello\n")
    (site.recipes / name / "Dockerfile").write_text(dockerfile)
    shutil.copy(copy, site.recipes / name / "copy")


def built(site: Factory, *words: str) -> list[dict[str, Any]]:
    done = site.run("build", *words, "--json")
    assert done.status == 0, done.stderr
    return list(done.json)


def config_of(site: Factory, record: dict[str, Any]) -> dict[str, Any]:
    digest = record["config_digest"].removeprefix("sha256:")
    return dict(json.loads((site.folder / "store/blobs/sha256" / digest).read_bytes()))


def named_base(site: Factory, record: dict[str, Any]) -> tuple[str, str] | None:
    """The base image that the manifest's annotations name, and its digest."""
    digest, prefix = record["manifest_digest"].removeprefix("sha256:"), "org.opencontainers.image.base"
    said = json.loads((site.folder / "store/blobs/sha256" / digest).read_bytes())["annotations"]
    return (said[f"{prefix}.name"], said[f"{prefix}.digest"]) if f"{prefix}.name" in said else None


def names_in(site: Factory, image: str, tmp_path: Path) -> list[str]:
    assert site.run("export", image, str(tmp_path / "rootfs.tar")).status == 0
    told = subprocess.run(["tar", "-tf", tmp_path / "rootfs.tar"], capture_output=True, text=True, check=True)
    return told.stdout.splitlines()


def test_a_multi_stage_dockerfile_becomes_one_layer_and_keeps_its_settings(
    site: Factory, copy: Path, tmp_path: Path
) -> None:
    image = "image: {labels: {b: c}, user: '1:1'}\nsmoke: [{run: [/etc/issue], stdout: hello}]\n"
    bundle = "FROM tools\nCOPY other.crt /etc/ssl/certs/ca-certificates.crt\n"
    recipe(site, "base", BASE.replace("FROM tools\n", bundle), copy, f"certificates: [ours.crt]\n{image}")
    ours, _ = authority(site.recipes / "base", "ours"), authority(site.recipes / "base", "other")
    for key in (site.recipes / "base").glob("*.key"):
        key.unlink()
    [first] = built(site, "base")
    config = config_of(site, first)
    assert len(config["rootfs"]["diff_ids"]) == 1
    assert config["config"]["Env"][1:] == ["GREETING=hello"]
    assert config["config"]["Labels"] == {"b": "c", "com.example.one": "1"}
    assert config["config"]["User"] == "1:1"
    assert config["config"]["Healthcheck"] == {"Test": ["CMD", "/bin/copy", "/etc/motd"], "Interval": 5000000000}
    assert {"./", "bin/copy", "etc/motd", "etc/issue", "rubbish/motd"} <= set(names_in(site, "base", tmp_path))
    words = ["tar", "-xOf", tmp_path / "rootfs.tar", "etc/ssl/certs/ca-certificates.crt"]
    trusted = subprocess.run(words, capture_output=True, check=True).stdout
    assert trusted == (site.recipes / "base/other.crt").read_bytes() + ours.read_bytes()
    [again] = built(site, "base")
    assert (again["status"], again["manifest_digest"]) == ("unchanged", first["manifest_digest"])
    [other] = built(site, "base", "--force", "--builder", "container")
    assert other["manifest_digest"] == first["manifest_digest"]
    assert other["builder"]["driver"] == "docker-container"
    assert site.run("verify", "base", "--json").json["status"] == "reproduced"


def test_a_kubernetes_builder_makes_the_same_image(
    site: Factory, cluster: Cluster, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig))
    recipe(site, "base", BASE, copy)
    recipe(site, "child", CHILD, copy, "contexts: {base: base}\nlayers: kept\n")
    here = built(site, "child")
    there = built(site, "base", "child", "--force", "--builder", "pod")
    assert [record["builder"]["driver"] for record in there] == ["kubernetes"] * 2
    assert [record["manifest_digest"] for record in there] == [record["manifest_digest"] for record in here]
    assert cluster.leftovers(wait=GONE) == []


def test_from_another_recipe_s_image_and_its_own_layers_kept(site: Factory, copy: Path, tmp_path: Path) -> None:
    recipe(site, "base", BASE, copy)
    recipe(site, "child", CHILD, copy, "contexts: {base: base}\nlayers: kept\n")
    base, child = built(site, "child")
    assert [(parent["image"], parent["manifest_digest"]) for parent in child["bases"]] == [
        ("base", base["manifest_digest"])
    ]
    assert (named_base(site, base), named_base(site, child)) == (None, ("base", base["manifest_digest"]))
    diff_ids = config_of(site, child)["rootfs"]["diff_ids"]
    assert diff_ids[0] == base["diff_id"]
    assert len(diff_ids) == 3
    assert len(list((site.folder / "store/blobs/sha256").glob(base["layer_digest"][7:]))) == 1
    assert {"etc/copied", "etc/more", "etc/motd"} <= set(names_in(site, "child", tmp_path))
    assert site.run("verify", "child", "--json").json["status"] == "reproduced"
    (site.recipes / "base/motd").write_text("something else\n")
    changed = built(site, "child")
    assert [record["status"] for record in changed] == ["published", "published"]
    refused = site.run("build", "child", "--builder", "default", "--force")
    complains(refused, 2, "layers that are to be `kept`")


def test_through_the_engine_s_own_buildkit(site: Factory, copy: Path) -> None:
    recipe(site, "base", f"{BASE}COPY plugin /opt/plugin\n", copy, "unlinked: [/opt/*]\n")
    shutil.copy("/bin/true", site.recipes / "base/plugin")  # what base images may lack, images on them may lack too
    recipe(site, "other", BASE.replace("ENV", "COPY copy /bin/other\nENV"), copy)
    contexts = "contexts: {base: base, other: other}\n"
    dockerfile = CHILD.replace("=base", "=other")
    recipe(site, "child", dockerfile, copy, f"{contexts}smoke: [{{run: [/etc/more], stdout: hello}}]\n")
    recipe(site, "one", dockerfile, copy, f"{contexts}layers: one\n")
    base, _, child, one = built(site, "child", "one", "--builder", "default")
    assert named_base(site, child) == named_base(site, one) == ("base", base["manifest_digest"])
    assert base["builder"]["driver"] == child["builder"]["driver"] == "docker"
    config = config_of(site, child)
    assert config["config"]["Labels"] == {"com.example.one": "1"}
    assert config["rootfs"]["diff_ids"] == [base["diff_id"], child["diff_id"]], "the base image's layer is shared"
    assert [entry["created_by"] for entry in config["history"]] == ["baseforge build base", "baseforge build child"]
    done = site.run("verify", "child", "--json", env={"BASEFORGE_BUILDER": "default"})
    assert (done.status, done.json["status"]) == (0, "reproduced"), done.stderr


RANDOM = 'FROM scratch\nCOPY copy /copy\nRUN ["/copy", "/proc/sys/kernel/random/uuid", "/id"]\n'


def test_a_recipe_that_is_not_repeatable_must_say_so(site: Factory, copy: Path) -> None:
    recipe(site, "silent", RANDOM, copy)
    recipe(site, "honest", RANDOM, copy, "repeatable: {no_because: it makes an id}\n")
    built(site, "silent", "honest")
    done = site.run("verify", "silent", "--json")
    assert (done.status, done.json["status"]) == (1, "differs")
    assert done.json["differences"][0].startswith("id: content")
    told = site.run("verify", "honest")
    assert told.status == 0
    assert "not repeatable: it makes an id" in told.stderr


@pytest.mark.parametrize("layers", ["one", "kept"])
def test_a_private_key_in_a_dockerfile_s_image_is_refused(site: Factory, copy: Path, layers: str) -> None:
    recipe(site, "keyed", "FROM scratch\nCOPY copy /copy\nCOPY key /etc/key\n", copy, f"layers: {layers}\n")
    (site.recipes / "keyed/key").write_bytes(pem("OPENSSH "))
    done = site.run("build", "keyed")
    assert done.status == 1
    assert "/etc/key: private key in PEM" in done.stderr


def everything(site: Factory) -> bytes:
    """All that the site, its store and its logs hold."""
    logs = Path(site.environment["BASEFORGE_HOME"]) / "logs"
    files = [path for folder in (site.folder, logs) for path in folder.rglob("*") if path.is_file()]
    return b"".join(path.read_bytes() for path in files)


SHOWS = 'FROM scratch\nCOPY copy /copy\nRUN --mount=type=secret,id=token ["/copy", "/run/secrets/token"]\n'
STEALS = SHOWS.replace('token"]', 'token", "/stolen"]')
LATE = STEALS + "FROM scratch\nCOPY copy /copy\nCOPY --from=0 /stolen /deep/below\n"


@pytest.mark.parametrize("builder", ["far", "default"])
def test_a_secret_is_used_and_never_seen(site: Factory, copy: Path, builder: str) -> None:
    recipe(site, "shows", SHOWS, copy, "secrets: [token]\n")
    recipe(site, "steals", LATE, copy, "secrets: [token]\n")
    [done] = built(site, "shows", "--builder", builder)
    assert TOKEN not in json.dumps(done)
    assert "•••" in site.run("log", "shows").stdout
    stolen = site.run("build", "steals", "--builder", builder)
    complains(stolen, 1, "the secret 'token' is in the layer of 'COPY /stolen /deep/below")
    assert TOKEN not in stolen.stderr
    assert TOKEN.encode() not in everything(site)


ASKS = 'FROM scratch\nCOPY copy ask /\nRUN --mount=type=ssh ["/ask", "/keys"]\n'


@pytest.mark.parametrize("builder", ["far", "container", "default"])
def test_a_key_is_used_through_its_agent_and_stays_with_the_site(
    site: Factory, copy: Path, ask: Path, tmp_path: Path, builder: str
) -> None:
    key = tmp_path / "key"
    subprocess.run(["openssl", "genrsa", "-out", key, "2048"], check=True, capture_output=True)
    with (site.folder / "baseforge.toml").open("a") as settings:
        settings.write(f'\n[ssh]\ndefault = "{key}"\n')
    recipe(site, "asks", ASKS, copy, 'ssh: [default]\nsmoke: [{run: [/copy, /keys], stdout: "^1 keys$"}]\n')
    shutil.copy(ask, site.recipes / "asks")
    built(site, "asks", "--builder", builder)
    assert key.read_bytes().splitlines()[3] not in everything(site)


FAULTS = {
    "a word that is none": ("FROM scratch\nCOPPY x y\n", "", 1, ["bad/Dockerfile:2:1:", "did you mean COPY"]),
    "a file that is not there": ("FROM scratch\nCOPY nothing /\n", "", 1, ["Dockerfile:2:1:", '"/nothing": not found']),
    "a stage that is not there": ("FROM scratch\nCOPY motd /\n", "target: other\n", 1, ["other", "could not be found"]),
    "a command that fails": (
        'FROM scratch\nCOPY copy /\n\nRUN ["/copy", "/missing"]\n',
        "",
        1,
        ["bad/Dockerfile:4:1:", "exit code: 3", "copy: No such file or directory"],
    ),
    "an image from elsewhere": ("FROM debian:12\n", "", 2, ["bad/Dockerfile:1:1:", "debian:12 would be fetched"]),
    "a file from elsewhere": ("FROM scratch\nADD http://localhost:1/x /\n", "", 2, ["http://localhost:1/x would be"]),
    "another frontend": ("# syntax=docker/dockerfile:1\nFROM scratch\n", "", 2, ["Dockerfile:1:1:", "remove the line"]),
    "triggers": ("FROM scratch\nCOPY motd /\nONBUILD COPY x /\n", "", 2, ["ONBUILD"]),
    "nothing": ("FROM scratch\nENV A=b\n", "", 2, ["makes no file"]),
    "a secret that the site does not have": ("FROM scratch\nCOPY motd /\n", "secrets: [key]\n", 3, ["[secrets], key"]),
    "a parent that is not there": ("FROM base\n", "contexts: {base: basis}\n", 2, ["no recipe 'basis'"]),
    "itself": ("FROM base\n", "contexts: {base: bad}\n", 2, ["bad.yaml:2:18", "an image cannot build on itself"]),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_errors_are_reported_with_their_place(site: Factory, copy: Path, name: str) -> None:
    dockerfile, more, status, said = FAULTS[name]
    recipe(site, "bad", dockerfile, copy, more)
    complains(site.run("build", "bad"), status, *said)


SLOW = 'FROM scratch\nCOPY copy /copy\nRUN ["/copy", "/proc/version", "/made", "and sleep"]\n'


@pytest.mark.parametrize("builder", ["container", "default"])
def test_an_interrupt_leaves_nothing(site: Factory, copy: Path, builder: str) -> None:
    recipe(site, "base", "FROM scratch\nCOPY motd /\n", copy)
    built(site, "base")
    recipe(site, "slow", SLOW.replace("FROM scratch", "FROM base"), copy, "contexts: {base: base}\n")
    running = start(site, "build", "slow", "--builder", builder)
    logs = Path(site.environment["BASEFORGE_HOME"]) / "logs/slow"

    def runs(_said: str) -> bool:
        return any('RUN ["/copy"' in path.read_text() for path in logs.glob("*.log"))

    complains(stop(running, runs, signal.SIGINT, pause=0.5), 130, "interrupted")
    shutil.rmtree(logs)

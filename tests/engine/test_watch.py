"""The watch: an update in the archive becomes a published, tested image by itself."""

from __future__ import annotations

import json
import socket
import time
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from tests.support.debian import POCKETS, SUITE, Archive, Deb, own_addresses, served, signer
from tests.support.factory import Factory
from tests.support.home import own_home
from tests.support.receivers import webhook
from tests.support.waiting import until

RECIPE = """\
kind: scratch
suite: trixie
packages: [app]
smoke:
  - {run: [/usr/bin/app, say, works], stdout: works}
"""
CHANGELOG = """\
app (2) trixie-security; urgency=high

  * Fix a use after free (CVE-2026-12345)

 -- Nobody <nobody@example.org>  Mon, 30 Nov 2026 12:00:00 +0000
"""
PROMISED = 15 * 60  # seconds
MOST = 180.0  # seconds that it takes here: a minute until the watch is due, and two runs
OFTEN = {"PREFECT_RUNNER_POLL_FREQUENCY": "1"}  # seconds from one look for due runs to the next, usually 10


def app(version: str, program: bytes, **files: str) -> Deb:
    return Deb("app", version, "amd64", programs={"usr/bin/app": program}, files=files)


def test_security_update_becomes_a_published_and_tested_image_unattended(tmp_path: Path, probe: bytes) -> None:
    site = Factory(tmp_path / "site", {**own_home(tmp_path / "home"), "BASEFORGE_LOCAL_NAME": "baseforge-watch"})
    site.folder.mkdir()
    with signer(tmp_path / "keys") as key, served(tmp_path / "archive") as server, webhook() as hook:
        archive = Archive(tmp_path / "archive", key)
        archive.publish(app("1", probe))
        for pocket in POCKETS:
            archive.publish(suite=f"{SUITE}-{pocket}")
        site.recipe("app", RECIPE)
        site.recipe("other", "kind: scratch\nfiles: [{path: /a, content: a}]\n")
        mirrors = json.dumps(dict.fromkeys(own_addresses(), server.address))
        keyrings = json.dumps({"debian": str(key.keyring)})
        archives = {"BASEFORGE_MIRRORS": mirrors, "BASEFORGE_KEYRINGS": keyrings, "BASEFORGE_NOTIFY": hook.address}
        archives["BASEFORGE_METRICS_FILE"] = str(figures := tmp_path / "figures.prom")
        done = site.run("build", "app", "other", env=archives)
        assert done.status == 0, done.stderr
        text = {"usr/share/doc/app/changelog.Debian": CHANGELOG}
        archive.publish(app("2", probe, **text), suite=f"{SUITE}-security", date=datetime.now(UTC))
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        often = {**OFTEN, "BASEFORGE_WATCH_CRON": "* * * * *", "BASEFORGE_METRICS_PORT": str(port)}
        began = time.time()
        with site.served(env={**archives, **often}):
            until(lambda: hook.posts, MOST)
            text = httpx.get(f"http://127.0.0.1:{port}/metrics").text
            until(lambda: json.loads((site.folder / "store/nights/newest.json").read_bytes())["nights"], MOST)
        assert time.time() - began < PROMISED
        ages = {each.name: each.samples for each in text_string_to_metric_families(text)}
        assert {each.labels["image"] for each in ages["baseforge_image_build_age_seconds"]} == {"app", "other"}
        [message] = hook.posts
        assert message["title"].endswith(": 1 fixed")
        assert "app: CVE-2026-12345\n    app 1 → 2" in message["message"]
        assert 'baseforge_image_built_timestamp_seconds{image="app"}' in figures.read_text()
        record = site.run("show", "app", "--json").json
        assert [package["version"] for package in record["lock"]["packages"]] == ["2"]
        assert record["smoke"]["passed"] == 1
        times = record["times"]
        assert sorted(times.values()) == [times[name] for name in ("archive", "seen", "built", "tested", "published")]
        assert began - 60 < times["archive"] < began + 1
        latency = site.run("latency", "--json").json
        [fixed] = latency["cves"]
        assert (fixed["cve"], fixed["images"]) == ("CVE-2026-12345", ["app"])
        assert latency["total"]["max"] == pytest.approx(times["published"] - times["archive"], abs=0.01)
        assert "CVE-2026-12345" in site.run("latency").stdout
    site.run("stop")
    site.remove_images()

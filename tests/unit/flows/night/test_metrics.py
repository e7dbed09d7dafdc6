"""Figures: what Prometheus' own parsers read in the file and at /metrics."""

from __future__ import annotations

import base64
import http.client
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as prometheus

from flows.config.settings import Settings
from flows.night import metrics_server
from flows.night.document import NewestNights, NightSummary
from flows.night.figures import read_figures
from flows.night.metrics import render, write_metrics
from flows.night.metrics_server import serving_metrics
from flows.publish.newest import move_latest
from flows.publish.record import Record
from flows.store.folder import FolderStore
from rootfs.errors import InputError, MachineError

BUILT = 1_795_831_200.0  # 2026-11-28T02:00:00Z
LABELS = {"image": "web", "distribution": 'Deb "12" \\', "platforms": "linux/amd64,linux/arm64"}


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    """Two nights; `web` was built in the first one, `noble` has failed since, and `new` was never built."""
    store = FolderStore(tmp_path / "store")
    for image in ("web", "noble"):
        record = Record(
            image=image,
            build="20261128T020000Z-1a2b3c4d",
            status="published",
            platforms=("linux/amd64", "linux/arm64"),
            manifest_digest=f"sha256:{'a' * 64}",
            distribution='Deb "12" \\',
            seconds={"tree": 20.5, "pack": 1.5},
            size=1000,
            unpacked=3000,
            packages=80,
        )
        store.create_document(record.key, record.model_dump_json().encode())
        move_latest(store, image, record.build, "a new build")
    first = NightSummary(date="1", started="2026-11-28T02:00:00Z", ended="2026-11-28T02:10:00Z", summary={})
    second = NightSummary(
        date="2",
        started="2026-11-29T02:00:00Z",
        ended="2026-11-29T02:01:40Z",
        summary={"unchanged": 1, "failed": 1},
        failed=("noble",),
    )
    partial = second.model_copy(update={"only": ("other",), "failed": ()})
    nights = NewestNights(nights=(partial, second, first))
    store.create_document("nights/newest.json", nights.model_dump_json().encode())
    return store


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    folder = tmp_path / "recipes"
    folder.mkdir()
    for image in ("web", "noble", "new"):
        (folder / f"{image}.yaml").write_text("kind: debootstrap\nsuite: trixie\n")
    return Settings(recipes=(folder,), metrics_file=tmp_path / "figures/baseforge.prom")


def values(text: str, parser: Any = openmetrics) -> dict[tuple[str, str], float]:
    """The values by name and image, or by name and status."""
    samples = [sample for family in parser(text) for sample in family.samples]
    found = {}
    for sample in samples:
        if not (sample.name == "baseforge_image_status" and not sample.value):
            what = sample.labels.get("image") or sample.labels.get("status", "")
            status = sample.labels.get("status", "") if "image" in sample.labels else ""
            found[sample.name.removeprefix("baseforge_"), f"{what} {status}".strip()] = sample.value
    return found


@pytest.mark.parametrize("parser", [openmetrics, prometheus])
def test_file_has_the_figures_of_images_and_of_the_last_night(
    settings: Settings, store: FolderStore, parser: Any
) -> None:
    said: list[str] = []
    write_metrics(settings, store, said.append)
    assert said == []
    assert settings.metrics_file
    assert stat.S_IMODE(settings.metrics_file.stat().st_mode) == 0o644
    found = values(settings.metrics_file.read_text(), parser)
    expected = {
        ("image_status", "web ok"): 1,
        ("image_status", "noble failed"): 1,
        ("image_status", "new ok"): 1,
        ("image_checked_timestamp_seconds", "web"): BUILT + 86400,
        ("image_checked_timestamp_seconds", "noble"): BUILT,
        ("image_built_timestamp_seconds", "web"): BUILT,
        ("image_build_duration_seconds", "web"): 22,
        ("image_size_bytes", "web"): 1000,
        ("image_unpacked_bytes", "web"): 3000,
        ("image_packages", "web"): 80,
        ("image_info", "web"): 1,
        ("night_start_timestamp_seconds", ""): BUILT + 86400,
        ("night_duration_seconds", ""): 100,
        ("night_images", "failed"): 1,
    }
    assert {key: found.get(key) for key in expected} == expected
    assert ("image_built_timestamp_seconds", "new") not in found
    assert not [name for name, _ in found if "age" in name.split("_")]


def test_labels_are_read_as_they_were(store: FolderStore) -> None:
    text = render(read_figures(store, ["web"]))
    (info,) = [sample for family in openmetrics(text) for sample in family.samples if "image_info" in sample.name]
    assert {name: info.labels[name] for name in LABELS} == LABELS


def test_damaged_document_costs_only_its_image(settings: Settings, store: FolderStore, tmp_path: Path) -> None:
    (tmp_path / "store/images/web/newest.json").write_text("{")
    found = values(render(read_figures(store, ["web", "noble"])))
    assert found["image_status", "web damaged"] == 1
    assert found["image_size_bytes", "noble"] == 1000


def test_store_without_builds_or_nights(tmp_path: Path) -> None:
    assert values(render(read_figures(FolderStore(tmp_path), ["web"])))["image_status", "web ok"] == 1


def test_file_that_cannot_be_written_is_said_and_no_error(
    settings: Settings, store: FolderStore, tmp_path: Path
) -> None:
    (tmp_path / "figures").write_text("a file")
    said: list[str] = []
    write_metrics(settings, store, said.append)
    assert len(said) == 1
    assert "baseforge.prom is not written" in said[0]


def test_file_that_was_just_written_is_left_alone(settings: Settings, store: FolderStore) -> None:
    assert settings.metrics_file
    write_metrics(settings, store, print, pause=60)
    settings.metrics_file.write_text("x")
    write_metrics(settings, store, print, pause=60)
    assert settings.metrics_file.read_text() == "x"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def ask(port: int, path: str = "/metrics", method: str = "GET", **headers: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


@pytest.fixture
def port(settings: Settings, store: FolderStore) -> Iterator[int]:
    number = free_port()
    with serving_metrics(settings.model_copy(update={"metrics_port": number}), store) as address:
        assert address == f"http://127.0.0.1:{number}/metrics"
        yield number


def test_endpoint_has_the_ages(port: int) -> None:
    status, text = ask(port)
    found = values(text)
    assert status == 200
    assert found["image_check_age_seconds", "web"] == pytest.approx(time.time() - BUILT - 86400, abs=60)
    assert found["image_build_age_seconds", "noble"] == pytest.approx(time.time() - BUILT, abs=60)


def test_endpoint_answers_no_other_path_host_or_method(port: int) -> None:
    assert ask(port, "/")[0] == 404
    assert ask(port, method="POST")[0] == 501
    assert ask(port, Host="evil.example:80")[0] == 421


def test_endpoint_asks_for_the_login_of_the_settings(settings: Settings, store: FolderStore, tmp_path: Path) -> None:
    file = tmp_path / "login"
    file.write_text("prometheus:pa55word\n")
    file.chmod(0o600)
    port = free_port()
    with serving_metrics(settings.model_copy(update={"metrics_port": port, "metrics_login": file}), store):
        assert ask(port)[0] == 401
        wrong, right = (base64.b64encode(f"prometheus:{word}".encode()).decode() for word in ("x", "pa55word"))
        assert ask(port, Authorization=f"Basic {wrong}")[0] == 401
        assert ask(port, Authorization=f"Basic {right}")[0] == 200
    file.chmod(0o640)
    with pytest.raises(InputError, match="others than its owner"):
        metrics_server.read_login(file)


def test_taken_port_is_an_error_that_names_the_setting(settings: Settings, store: FolderStore) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(MachineError, match="Address already in use") as refused,
            serving_metrics(settings.model_copy(update={"metrics_port": port}), store),
        ):
            pass
    assert refused.value.where == "metrics_port"

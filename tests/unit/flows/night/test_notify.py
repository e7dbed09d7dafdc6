"""Messages about nights: what they say, when they are sent, and that a receiver that is down fails nothing."""

from __future__ import annotations

import logging
import os
import re
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path

import pytest

from flows.config.settings import Settings, load
from flows.night import notify as module
from flows.night.document import ImageNight, NightDocument, PackageChange
from flows.night.message import Told, night_message
from flows.night.notify import check_receivers, last_problems, notify_of_alarms, notify_of_night, unusable_receivers
from flows.store.folder import FolderStore
from rootfs.errors import InputError
from tests.support.receivers import Mailbox, Webhook, smtp_server, webhook
from tests.support.services.tls import identity

# Apprise looks for optional modules, and one of Python's own is deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")

OPENSSL = PackageChange(name="libssl3", old="3.0.14-1", new="3.0.15-1", cves=("CVE-2024-6119", "CVE-2024-5535"))
FAILED = ImageNight(image="noble", status="failed", reason="it: no route to archive 10.0.0.1:8080\n  Check the mirror.")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.send, "__kwdefaults__", {"pauses": (0.01, 0.01)})


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    with smtp_server() as server:
        yield server


@pytest.fixture
def hook() -> Iterator[Webhook]:
    with webhook() as server:
        yield server


class Factory:
    """Nights in a store, and what the terminal says about them."""

    def __init__(self, folder: Path, *receivers: str, **settings: object) -> None:
        self.store, self.said = FolderStore(folder), list[str]()
        self.settings = Settings.model_validate({"notify": receivers, **settings})

    def night(self, *images: ImageNight, only: tuple[str, ...] = (), alarms: tuple[str, ...] = ()) -> tuple[str, ...]:
        return notify_of_night(self.settings, self.store, night(*images, only=only, alarms=alarms), self.said.append)

    def alarms(self, *alarms: str, source: str = "freshness") -> tuple[str, ...]:
        return notify_of_alarms(self.settings, self.store, source, alarms, self.said.append)


def night(*images: ImageNight, only: tuple[str, ...] = (), alarms: tuple[str, ...] = ()) -> NightDocument:
    times = {"started": "2026-12-01T02:00:00Z", "ended": "2026-12-01T02:10:00Z"}
    return NightDocument(date="2026-12-01", host="h", images=images, only=only, alarms=alarms, **times)


def good(image: str, status: str = "unchanged", *changes: PackageChange) -> ImageNight:
    return ImageNight(image=image, status=status, changes=changes)


def test_one_mail_has_everything_about_a_night(tmp_path: Path, mailbox: Mailbox) -> None:
    factory = Factory(tmp_path, mailbox.address)
    assert factory.night(good("web"), ImageNight(image="old", status="failed", reason="x")) == ()
    held = ImageNight(image="app", status="held", reason="base image noble failed")
    images = (FAILED, held, good("old"), good("web", "published", OPENSSL), good("cc"))
    assert factory.night(*images, alarms=("trixie is stale: checked 40 h ago",)) == ()
    _, mail = mailbox.mails
    assert mail["From"].addresses[0].addr_spec == "factory@example.org"
    assert mail["To"] == "team@example.org"
    assert mail["Subject"] == ("Baseforge, night of 2026-12-01: 1 failed, 1 held, 1 recovered, 1 alarm, 1 fixed")
    body = mail.get_body(("html",)).get_content()
    text = " ".join(re.sub(r"<[^>]+>", " ", body).split())
    for part in (
        "Failed noble it: no route to archive 10.0.0.1:8080 Check the mirror.",
        "Held: a base image failed app base image noble failed",
        "Recovered old",
        "trixie is stale: checked 40 h ago",
        "web: CVE-2024-5535, CVE-2024-6119 libssl3 3.0.14-1 → 3.0.15-1",
        "1 failed, 1 held, 2 unchanged, 1 published",
    ):
        assert part in text


def test_webhook_gets_plain_text(tmp_path: Path, hook: Webhook) -> None:
    Factory(tmp_path, hook.address).night(FAILED)
    (post,) = hook.posts
    assert post["title"] == "Baseforge, night of 2026-12-01: 1 failed"
    assert post["message"].startswith(
        "Failed:\n  noble\n    it: no route to archive 10.0.0.1:8080\n      Check the mirror.\n"
    )


def test_nothing_is_sent_about_a_quiet_night(tmp_path: Path, hook: Webhook) -> None:
    factory = Factory(tmp_path, hook.address)
    factory.night(good("web"), good("noble", "published"))
    assert hook.posts == []
    Factory(tmp_path, hook.address, notify_always=True).night(good("web"))
    assert hook.posts[0]["title"].endswith("nothing new")


def test_failure_is_told_once_and_its_recovery_is_a_message(tmp_path: Path, hook: Webhook) -> None:
    factory = Factory(tmp_path, hook.address)
    later = FAILED.model_copy(update={"reason": "it: no route to archive 10.0.0.1:9191\n  Check the mirror."})
    factory.night(FAILED)
    factory.night(later)
    factory.night(ImageNight(image="noble", status="paused", reason="tried again in 2 nights"))
    factory.night(later)
    assert len(hook.posts) == 1
    factory.night(FAILED.model_copy(update={"reason": "a smoke check failed"}))
    factory.night(good("web"), only=("web",))
    factory.night(good("noble"))
    factory.night(good("noble"))
    factory.night(FAILED)
    titles = [post["title"].partition(": ")[2] for post in hook.posts]
    assert titles == ["1 failed", "1 failed", "1 recovered", "1 failed"]
    assert [post["type"] for post in hook.posts] == ["failure", "failure", "success", "failure"]


def test_alarm_is_told_once_by_whoever_raises_it(tmp_path: Path, hook: Webhook) -> None:
    factory = Factory(tmp_path, hook.address)
    factory.alarms("noble is stale: checked 37 h ago")
    factory.alarms("noble is stale: checked 38 h ago")
    factory.night(good("noble"), alarms=("noble is stale: checked 38 h ago",))
    assert [(post["title"], post["type"]) for post in hook.posts] == [("Baseforge: 1 alarm", "warning")]
    factory.alarms()
    factory.night(good("noble"))
    factory.alarms("noble is stale: checked 37 h ago")
    assert len(hook.posts) == 2


def test_receiver_that_is_down_for_a_moment_is_tried_again(tmp_path: Path, hook: Webhook) -> None:
    hook.statuses = [503, 503]
    assert Factory(tmp_path, hook.address).night(FAILED) == ()
    assert (hook.requests, len(hook.posts)) == (3, 1)


def test_receiver_that_is_down_is_named_without_its_address(
    tmp_path: Path, hook: Webhook, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    caplog.set_level(logging.DEBUG)
    down = f"json://user:pa55word@127.0.0.1:{port}/s3cret-token?verify=no"
    factory = Factory(tmp_path, down, hook.address)
    (problem,) = factory.night(FAILED)
    assert problem.startswith("receiver 1 (json): ")
    assert len(hook.posts) == 1
    assert factory.said == [f"warning: not told: {problem}"]
    (remembered,) = last_problems(factory.store)
    assert remembered.endswith(problem)
    shown = problem + caplog.text + (tmp_path / "nights/told.json").read_text()
    assert "pa55word" not in shown
    assert "s3cret" not in shown


def test_receiver_whose_certificate_is_of_the_sites_own_authority(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BASEFORGE_HOME", str(tmp_path / "home"))
    tls, environment = identity(tmp_path / "tls"), dict(os.environ)
    with webhook(tls) as hook:
        (refused,) = Factory(tmp_path / "store", hook.address).night(FAILED)
        assert Factory(tmp_path / "store", hook.address, ca_bundle=tls.certificate).night(FAILED) == ()
    assert refused.startswith("receiver 1 (jsons): ")
    assert len(hook.posts) == 1
    assert dict(os.environ) == environment


def test_what_nobody_could_be_told_is_told_the_next_night(tmp_path: Path, hook: Webhook) -> None:
    hook.statuses = [500, 500, 500]
    factory = Factory(tmp_path, hook.address)
    assert factory.night(FAILED) == (
        "receiver 1 (json): Failed to send JSON POST notification: Internal server error., error=500.",
    )
    assert factory.night(FAILED) == ()
    assert len(hook.posts) == 1
    assert last_problems(factory.store) == ()


def test_address_that_apprise_does_not_understand(tmp_path: Path) -> None:
    factory = Factory(tmp_path, "nothing://token-of-mine/x")
    expected = ("receiver 1 (nothing): Apprise does not understand this address",)
    assert unusable_receivers(factory.settings) == expected
    with pytest.raises(InputError, match="receiver 1"):
        check_receivers(factory.settings)
    assert factory.night(FAILED) == expected


def test_damaged_memory_counts_as_none(tmp_path: Path, hook: Webhook) -> None:
    factory = Factory(tmp_path, hook.address)
    factory.store.create_document("nights/told.json", b"{")
    assert factory.night(FAILED) == ()
    assert factory.night(FAILED) == ()
    assert len(hook.posts) == 1


def test_reasons_do_not_break_the_markdown() -> None:
    reason = "``` <script> # x\n" + "line\n" * 50
    message = night_message(night(ImageNight(image="noble", status="failed", reason=reason)), Told())
    assert "    ````\n    ``` <script> # x\n" in message.markdown
    assert "… and 39 more lines" in message.markdown


def test_receivers_come_from_the_environment_and_from_a_private_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "receivers"
    file.write_text("# the team\njson://host/token\n\nmailto://user:word@host\n")
    file.chmod(0o600)
    monkeypatch.setenv("BASEFORGE_NOTIFY", "slack://a/b/c json://host/token")
    monkeypatch.setenv("BASEFORGE_NOTIFY_FILE", str(file))
    settings = load()
    assert settings.receivers == ("slack://a/b/c", "json://host/token", "mailto://user:word@host")
    assert "token" not in f"{settings!r}{settings.model_dump_json()}{settings.model_dump(mode='json')}"


@pytest.mark.parametrize("text", ["s3cret", "json://a b", "://x"])
def test_receiver_that_is_no_address_is_refused_and_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "baseforge.toml").write_text(f'notify = ["{text}"]\n')
    (tmp_path / "recipes").mkdir()
    with pytest.raises(InputError, match="a receiver is an address of Apprise") as refused:
        load()
    assert refused.value.where.endswith("baseforge.toml:1:1")
    assert text not in str(refused.value)


def test_file_of_receivers_that_others_may_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "receivers"
    file.write_text("json://host/token\n")
    file.chmod(0o644)
    with pytest.raises(InputError, match=r"`notify_file`.*others than its owner may read"):
        _ = Settings(notify_file=file).receivers
    file.chmod(0o600)
    file.write_text("# x\nhost token\n")
    with pytest.raises(InputError, match="is no address") as refused:
        _ = Settings(notify_file=file).receivers
    assert refused.value.where == f"{file}:2"


def test_lasting_alarm_is_told_again_after_a_day_if_it_is_to_be(
    tmp_path: Path, hook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    factory, now = Factory(tmp_path, hook.address), [datetime(2026, 12, 1, 12, tzinfo=UTC)]

    class Clock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return now[0]

    def hour(*alarms: str) -> int:
        """An hour later: how many messages there are."""
        now[0] += timedelta(hours=1)
        notify_of_alarms(factory.settings, factory.store, "freshness", alarms, factory.said.append, daily=True)
        return len(hook.posts)

    monkeypatch.setattr(module, "datetime", Clock)
    assert [hour("web: stale: checked 40 h ago") for _ in range(24)] == [1] * 24
    assert [hour("web: stale: checked 64 h ago") for _ in range(24)] == [2] * 24
    assert hour("web: stale: checked 88 h ago", "app: stale: checked 40 h ago") == 3
    assert (hour(), hour("web: stale: checked 40 h ago"), hour("web: stale: checked 41 h ago")) == (3, 4, 4)


def test_same_alarm_of_images_that_differ_in_a_number_is_told_of_each(tmp_path: Path, hook: Webhook) -> None:
    factory = Factory(tmp_path, hook.address)
    factory.alarms("web1: stale: checked 40 h ago")
    factory.alarms("web1: stale: checked 41 h ago", "web2: stale: checked 40 h ago")
    assert ["web2" in post["message"] for post in hook.posts] == [False, True]
    assert "web1" not in hook.posts[1]["message"]

"""Send messages about nights through Apprise: mail, chats, webhooks. A receiver that is down never fails a night.

Addresses contain passwords and tokens. Errors name a receiver by its number and the scheme of its address, and nothing
else of the address is shown.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import unquote

from flows.config.settings import Settings
from flows.night.document import NightDocument
from flows.night.message import TOLD, Message, Told, alarm_message, causes, night_message, told_after_night
from flows.publish import documents
from flows.publish.checks import time_of, time_text
from flows.store.errors import Conflict
from flows.store.store import Store, StoredDocument
from rootfs.errors import BaseforgeError, InputError
from rootfs.mask import MASK, masked
from rootfs.system.digests import canonical_json

UNKNOWN = "Apprise does not understand this address"
COUNTED = "Correct `notify` or the file that `notify_file` names; receivers are counted in this order."
DAY = timedelta(days=1)
PAUSES = (1.0, 5.0)  # seconds before the second and the third try
LOGGERS = ("apprise", "urllib3")  # the first says why a message was not sent
TRIES = 5  # attempts to note what was told, beside other processes
SECRET = re.compile(r"[^/:?&=@#,\s]{4,}")  # parts of an address that may be secret

Say = Callable[[str], None]


def notify_of_night(settings: Settings, store: Store, night: NightDocument, say: Say) -> tuple[str, ...]:
    """Send one message about a night, if there is something to tell. Returns what went wrong, which is also said."""

    def change(told: Told) -> tuple[Message, Told]:
        return night_message(night, told), told_after_night(night, told)

    return _notify(settings, store, change, say, always=settings.notify_always)


def notify_of_alarms(
    settings: Settings, store: Store, source: str, alarms: Sequence[str], say: Say, *, daily: bool = False
) -> tuple[str, ...]:
    """Send the alarms that are new, if any. `source` says who raises them: it has raised all that are not in `alarms`.

    With `daily` alarms that last are told again after a day. Returns what went wrong, which is also said.
    """
    now = datetime.now(UTC)

    def change(told: Told) -> tuple[Message, Told]:
        last = time_of(told.repeated.get(source, "")) if daily and alarms else now
        again = last is not None and not timedelta() <= now - last < DAY
        message = alarm_message(alarms, told.model_copy(update={"alarms": {}}) if again else told)
        repeated = {key: at for key, at in told.repeated.items() if key != source or alarms}
        if again or last is None:
            repeated[source] = time_text(now)
        update = {"alarms": {**told.alarms, source: causes(alarms)}, "repeated": repeated}
        return message, told.model_copy(update=update)

    return _notify(settings, store, change, say)


def unusable_receivers(settings: Settings) -> tuple[str, ...]:
    """The receivers whose addresses Apprise does not understand, with the reason. Raises InputError."""
    with _captured():
        return tuple(
            f"{_label(number, address)}: {UNKNOWN}"
            for number, address in enumerate(settings.receivers, 1)
            if _plugin(address) is None
        )


def check_receivers(settings: Settings) -> None:
    """Raises InputError for a file of receivers that cannot be read, and for addresses that nobody understands."""
    if problems := unusable_receivers(settings):
        raise InputError("; ".join(problems), where="notify", hint=COUNTED)


def last_problems(store: Store) -> tuple[str, ...]:
    """What went wrong when the newest message was sent. Raises RecordDamaged and what the store raises."""
    told = documents.read(store, TOLD, Told)
    return tuple(f"{told.at}: {problem}" for problem in told.problems) if told else ()


def send(receivers: Sequence[str], message: Message, *, pauses: Sequence[float] = PAUSES) -> tuple[str, ...]:
    """Send a message to all receivers at once, trying each several times. Returns what went wrong."""
    with _captured() as logged, ThreadPoolExecutor(max(1, len(receivers))) as threads:
        work = [
            threads.submit(_send_to, number, address, message, pauses, logged)
            for number, address in enumerate(receivers, 1)
        ]
        return tuple(problem for each in work if (problem := each.result()))


def _notify(
    settings: Settings, store: Store, change: Callable[[Told], tuple[Message, Told]], say: Say, *, always: bool = False
) -> tuple[str, ...]:
    problems: tuple[str, ...] = ()
    try:
        if not (receivers := settings.receivers):
            return ()
        message, _ = change(_told(store))
        if message.news or always:
            with _authorities(settings):
                problems = send(receivers, message)
            sent = {"problems": problems, "at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"}
        else:
            sent = {}
        anyone = len(problems) < len(receivers)  # else the next night tells it
        _remember(store, lambda told: (change(told)[1] if anyone else told).model_copy(update=sent))
    except BaseforgeError as error:
        problems = (*problems, f"notifications: {error}")
    for problem in problems:
        say(f"warning: not told: {problem}")
    return problems


def _told(store: Store) -> Told:
    """What was told before. A damaged document counts as none. Raises RecordNewer."""
    return _parsed(store, store.read_document(TOLD))


def _parsed(store: Store, document: StoredDocument | None) -> Told:
    return documents.parse_if_valid(store, TOLD, document, Told) or Told()


def _remember(store: Store, change: Callable[[Told], Told]) -> None:
    """Write what was told. Raises Conflict if other processes keep changing it."""
    for _ in range(TRIES):
        document = store.read_document(TOLD)
        before = _parsed(store, document)
        after = change(before)
        if document and after == before:
            return
        data = canonical_json(after.model_dump(mode="json")) + b"\n"
        if documents.write(store, TOLD, data, document):
            return
    raise Conflict(store.address, TOLD)


def _send_to(number: int, address: str, message: Message, pauses: Sequence[float], logged: dict[int, list[str]]) -> str:
    """Send to one receiver. Returns what went wrong, or an empty text."""
    if (plugin := _plugin(address)) is None:
        return f"{_label(number, address)}: {UNKNOWN}"
    reasons = logged.setdefault(threading.get_ident(), [])
    for pause in (*pauses, None):
        reasons.clear()
        try:
            if _sent(plugin, message):
                return ""
        except Exception as error:  # a library's: no night may fail because of it
            reasons.append(f"{type(error).__name__}: {error}")
        if pause is not None:
            time.sleep(pause)
    reason = _without_secrets(" ".join(reasons[-3:]), address) or "Apprise does not say why"
    return f"{_label(number, address)}: {reason}"


def _sent(plugin: Any, message: Message) -> bool:  # noqa: ANN401 - Apprise has no types
    """Send to one receiver, once: Markdown where it shows that, else plain text."""
    import apprise

    rich = plugin.notify_format in (apprise.NotifyFormat.HTML, apprise.NotifyFormat.MARKDOWN)
    sender = apprise.Apprise()
    sender.add(plugin)
    form = apprise.NotifyFormat.MARKDOWN if rich else apprise.NotifyFormat.TEXT
    body = message.markdown if rich else message.text
    return bool(sender.notify(body, title=message.subject, body_format=form, notify_type=message.kind))


def _plugin(address: str) -> Any:  # noqa: ANN401 - Apprise has no types
    """What Apprise makes of an address; None if it does not understand it."""
    import apprise

    return apprise.Apprise.instantiate(address, suppress_exceptions=True)


def _label(number: int, address: str) -> str:
    return f"receiver {number} ({address.partition(':')[0].lower()})"


def _without_secrets(text: str, address: str) -> str:
    """The text without any part of the address that is not its scheme or its host, as it is and decoded."""
    rest = address.partition("://")[2]
    host = re.split(r"[/?]", rest, maxsplit=1)[0].rpartition("@")[2].partition(":")[0]
    secrets = {part for each in (rest, unquote(rest)) for part in SECRET.findall(each)} - {host, "localhost"}
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, MASK)
    return masked(" ".join(text.split()))[:500]


@contextlib.contextmanager
def _captured() -> Iterator[dict[int, list[str]]]:
    """Collect Apprise's own messages by thread. Nothing else is logged: it would contain parts of addresses."""
    logged: dict[int, list[str]] = {}

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            logged.setdefault(threading.get_ident(), []).append(record.getMessage())

    handler = Collect(logging.WARNING)
    before = {logger: logger.propagate for logger in map(logging.getLogger, LOGGERS)}
    for logger in before:
        logger.propagate = False
    logging.getLogger(LOGGERS[0]).addHandler(handler)
    try:
        yield logged
    finally:
        logging.getLogger(LOGGERS[0]).removeHandler(handler)
        for logger, propagate in before.items():
            logger.propagate = propagate


@contextlib.contextmanager
def _authorities(settings: Settings) -> Iterator[None]:
    """Let Apprise trust the site's certificate authorities: requests and ssl know them by variables alone."""
    if settings.ca_bundle is None:
        yield
        return
    names = ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, str(settings.authorities.file())))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value

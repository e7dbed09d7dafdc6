"""Compare addresses by scheme, host, port and whole segments: …/debian is not the start of …/debian-security."""

from __future__ import annotations

from urllib.parse import SplitResult, unquote, urlsplit

PORTS = {"http": 80, "https": 443}


def canonical_address(address: str) -> str:
    """The form of an address that is compared: without user name, default port and slashes at the end."""
    parts = urlsplit(address)
    return f"{parts.scheme}://{_host(parts)}{_joined(segments(parts.path))}"


def path_below(address: str, start: str) -> str | None:
    """The rest of an address below another one, empty or `/PATH`; None where it is not below it."""
    parts, above = urlsplit(address), urlsplit(start)
    if (parts.scheme, _host(parts)) != (above.scheme, _host(above)) or not is_below(parts.path, above.path):
        return None
    return _joined(tuple(filter(None, parts.path.split("/")))[len(segments(above.path)) :])


def is_below(path: str, start: str) -> bool:
    """Whether a path is another one or below it. One that is not plain may lead elsewhere: it is not below."""
    above = segments(start)
    return is_plain(path) and segments(path)[: len(above)] == above


def is_plain(path: str) -> bool:
    """Whether a path has no segment `.` or `..` and no slash in a segment, however they are encoded."""
    return not any(each in (".", "..") or "/" in each for each in segments(path))


def segments(path: str) -> tuple[str, ...]:
    """The segments of an address's path, decoded."""
    return tuple(unquote(each) for each in path.split("/") if each)


def without_userinfo(address: str) -> str:
    """An address without a user name and password."""
    parts = urlsplit(address)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _joined(parts: tuple[str, ...]) -> str:
    return "".join(f"/{each}" for each in parts)


def _host(parts: SplitResult) -> str:
    """Host and port; the port only where it is not the scheme's own."""
    port = "" if parts.port in (None, PORTS.get(parts.scheme)) else f":{parts.port}"
    return f"{parts.hostname or ''}{port}"

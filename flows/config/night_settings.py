"""Settings of what happens by itself: the schedules, and who is told about nights."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from pydantic import Field, ValidationInfo, field_validator
from pydantic_settings import BaseSettings

from flows.config.receivers import Receivers, addresses
from rootfs.errors import nearest
from rootfs.recipe.types import Duration

EVERY = ("@yearly", "@annually", "@monthly", "@weekly", "@daily", "@hourly")


class NightSettings(BaseSettings):
    """Schedules, messages and figures."""

    nightly_cron: str = Field("0 2 * * *", description="when `baseforge serve` runs the nightly flow")
    timezone: str = Field("UTC", description="the time zone of nightly_cron and watch_cron")
    watch_cron: str = Field(
        "*/10 * * * *",
        description="when `baseforge serve` asks the archives for changes and builds the images whose packages have"
        " changed; empty: never",
    )
    fresh_within: Duration = Field(
        "36h", description="the longest time between checks of an image, such as 36h or 2d; recipes may have another"
    )
    notify: Receivers = Field(
        (),
        description="who is told about nights: addresses of Apprise (`mailto://…`, `json://…`, `slack://…`), which are"
        " never shown",
    )
    notify_file: Path | None = Field(
        None, description="a file of such addresses, one a line, that only its owner may read"
    )
    notify_always: bool = Field(False, description="whether a message is sent also when there is nothing to tell")

    metrics_file: Path | None = Field(
        None,
        description="a file of figures for Prometheus, ending in .prom, that is written after each night and build",
    )
    metrics_port: int = Field(
        0,
        ge=0,
        le=65535,
        description="port on 127.0.0.1 where `baseforge serve` shows the figures at /metrics; 0: none",
    )
    metrics_login: Path | None = Field(
        None, description="a file with NAME:PASSWORD, which only its owner may read, that /metrics asks for"
    )

    @field_validator("nightly_cron", "watch_cron")
    @classmethod
    def _schedule(cls, value: str, info: ValidationInfo) -> str:
        if value in EVERY or (not value and info.field_name == "watch_cron"):
            return value
        from cronsim import CronSim, CronSimError

        try:
            CronSim(value, datetime(2000, 1, 1, tzinfo=UTC))
        except CronSimError as error:
            text = f"{value!r} is no schedule ({error}). Write minute, hour, day, month and weekday, as `0 2 * * *`"
            raise ValueError(text) from None
        return value

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        if value == "UTC":  # which needs no table of zones
            return value
        import zoneinfo

        known = zoneinfo.available_timezones() - {"localtime"}  # what Prefect takes, and it means the same everywhere
        if value not in known:
            raise ValueError(f"there is no time zone {value!r}. {nearest(value, known)}".rstrip())
        return value

    @property
    def receivers(self) -> tuple[str, ...]:
        """The addresses that messages are sent to, which are secrets. Raises InputError for a file that is unusable."""
        return addresses(self.notify, self.notify_file)

"""What a recipe or a site may say of the builder that an image is imported through. Data only: flows/ creates it."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from rootfs.mask import has_credentials
from rootfs.recipe import types

Lifecycle = Literal["existing", "persistent", "ephemeral"]
Driver = Literal["docker-container", "kubernetes", "remote"]


class BuilderPlan(BaseModel):
    """The description of a builder: an existing one, a persistent one, or one for a single flow run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    lifecycle: Lifecycle = Field(
        description="existing: used by its name; persistent: created if it does not exist, and kept;"
        " ephemeral: created for a flow run and removed at its end"
    )
    name: types.BuilderName = Field(default="", description="the builder's name; an ephemeral builder has none")
    driver: Driver = Field(default="docker-container", description="what runs BuildKit")
    endpoint: str = Field(
        default="",
        description="remote: the daemon's address, tcp://HOST:PORT or unix://SOCKET; otherwise a docker context",
    )
    options: dict[types.DriverOption, types.Written] = Field(
        default={}, description="options of the driver, as buildx names them"
    )
    config: str = Field(default="", description="a configuration file for buildkitd")
    flags: tuple[str, ...] = Field(default=(), description="flags for buildkitd")
    platforms: tuple[types.Platform, ...] = Field(
        default=(), description="platforms that the builder takes: linux/arm64, …"
    )
    timeout: float = Field(
        default=300.0, strict=True, gt=0, le=3600, allow_inf_nan=False, description="seconds until it must be up"
    )

    @model_validator(mode="after")
    def _without_passwords(self) -> Self:
        if any(map(has_credentials, (self.endpoint, *self.options.values(), *self.flags))):
            raise ValueError(
                "an address in it has a name or a password, which other users of this machine would see: name a proxy"
                " or a daemon that needs none"
            )
        return self

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.lifecycle == "ephemeral" and self.name:
            raise ValueError("an ephemeral builder is named after the flow run: leave 'name' out")
        if self.lifecycle != "ephemeral" and not self.name:
            raise ValueError(f"a builder that is {self.lifecycle} needs a 'name'")
        if self.lifecycle == "existing" and self.model_fields_set - {"lifecycle", "name", "timeout"}:
            raise ValueError("an existing builder is used as it is: say no more than its 'name'")
        if self.driver == "remote" and not self.endpoint:
            raise ValueError("a remote builder needs an 'endpoint', such as tcp://builder.example:1234")
        return self


def existing_builder(name: str) -> BuilderPlan:
    """The builder of this name, as it is."""
    return BuilderPlan(lifecycle="existing", name=name)


def _plan(value: object) -> object:
    return {"lifecycle": "existing", "name": value} if isinstance(value, str) else value


# A name alone means the builder of that name.
NamedOrPlanned = Annotated[BuilderPlan, BeforeValidator(_plan, json_schema_input_type=BuilderPlan | str)]

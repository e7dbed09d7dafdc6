"""What a site decides: `baseforge.toml` beside the recipes, then `BASEFORGE_*` in the environment, then options."""

from __future__ import annotations

import json
import os
import re
import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple, get_origin
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, ByteSize, Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from flows.config.night_settings import NightSettings
from flows.config.paths import SERVED, cache_folder, data_folder, may_be_folder
from flows.config.site_folders import SHELF, SiteFolders, existing_folders, find_site, placed, split_folders
from flows.config.toml_position import position
from rootfs.apt.sources import Site
from rootfs.errors import InputError, nearest
from rootfs.mask import MASK, has_credentials
from rootfs.network.authorities import Authorities, read_bundle
from rootfs.process.host import native_architecture
from rootfs.process.sandbox import DISK, PROCESSES, SECONDS, Limits, default_memory
from rootfs.recipe import types
from rootfs.recipe.builder import BuilderPlan
from rootfs.system import private
from rootfs.system.platforms import platform_name
from rootfs.system.text import is_unicode

# HOST[:PORT][/PREFIX] as in the reference grammar of the distribution project; a host may be an IPv6 address.
REGISTRY = re.compile(r"(?:[a-zA-Z0-9.-]+|\[[0-9a-fA-F:]+\])(?::\d+)?(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*/?")
MEMORY_LEAST = 64 << 20  # bytes: dpkg alone needs half of it
BYTES_MOST, SECONDS_MOST = 1 << 60, 30 * 86400
# Variables of ours that are no settings.
OTHER_VARIABLES = {"BASEFORGE_HOME", "BASEFORGE_CACHE", SERVED}
PARALLEL_MOST = 64
PROCESSES_MOST = 1 << 22  # as many as the kernel can have (PID_MAX_LIMIT)
Address = Annotated[str, AfterValidator(types.without_credentials)]
AS_BOTO3 = "Leave the keys to AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or to another place where boto3 finds them."
AS_SKOPEO = "Leave name and password out: skopeo finds them where `skopeo login` puts them."


class LocalServer(NamedTuple):
    """The local Prefect server as the settings describe it."""

    port: int
    days: int
    authorities: Authorities = Authorities()


class Settings(NightSettings):
    """Every setting, with its default. In the environment nested ones are JSON, as `BASEFORGE_MIRRORS='{"…": "…"}'`."""

    model_config = SettingsConfigDict(env_prefix="BASEFORGE_", frozen=True, extra="forbid")

    recipes: Annotated[tuple[Path, ...], NoDecode] = Field(
        (SHELF,), description="folders of recipes, whose names differ; default ./recipes, else the shelf (`shelf`)"
    )
    store: str = Field("", description="where images are kept: a folder or s3://bucket/prefix")
    s3_endpoint: str = Field("", description="address of an S3-compatible server; default AWS")
    s3_region: str = Field("", description="region of the bucket")
    registry: str = Field("", description="registry to push to, as host[:port][/prefix]")
    registry_insecure: bool = Field(False, description="whether the registry speaks plain http")
    local_name: types.RepositoryName = Field(
        "baseforge",
        description="images are called LOCAL_NAME/IMAGE:latest in the engine, for other platforms :latest-ARCHITECTURE",
    )
    work: Path = Field(Path(tempfile.gettempdir()), description="where work folders are made")
    memory: Path | None = Field(
        Path("/dev/shm"),  # noqa: S108 - folders with a lock are made there
        description="a tmpfs where trees are made if they take at most half of what is free; empty: always in `work`",
    )
    sandbox_memory: ByteSize | None = Field(
        None,
        ge=MEMORY_LEAST,
        le=BYTES_MOST,
        description="memory, as 8GiB, for all that one recipe's commands, packages and scripts run at a time, with "
        "files in a tmpfs; default three quarters of the machine's, at least 2 GiB",
    )
    sandbox_processes: int = Field(
        PROCESSES, ge=16, le=PROCESSES_MOST, description="how many processes and threads these may be"
    )
    sandbox_seconds: float = Field(
        SECONDS, gt=0, le=SECONDS_MOST, description="how long each of a recipe's commands may take, or a tree"
    )
    sandbox_disk: ByteSize = Field(
        ByteSize(DISK),
        ge=MEMORY_LEAST,
        le=BYTES_MOST,
        description="how large a file of these, and all files of a tree together, may be",
    )
    mirrors: dict[Address, Address] = Field(
        {}, description="archive address, or one above it (whole folders) = mirror to fetch from"
    )
    snapshots: dict[Address, Address] = Field(
        {}, description="archive address = address of its snapshots, for `snapshot:`"
    )
    auth: Path | None = Field(
        None,
        description="a file of names and passwords for archives (apt_auth.conf(5)) that only its owner may read;"
        " /etc/apt/auth.conf.d counts too",
    )
    ca_bundle: Path | None = Field(
        None,
        description="a file of certificates (PEM) that archives, downloads, the registry, S3 and Prefect are checked"
        " with, besides the machine's store",
    )
    keyrings: dict[str, Path] = Field({}, description="distribution = keyring file to check its signatures with")
    builder: str = Field("", description="the builder that images are imported through; default the selected one")
    builders: dict[types.BuilderName, BuilderPlan] = Field({}, description="name = what this builder is")
    secrets: dict[types.SecretId, Path] = Field({}, description="id = file of a secret that Dockerfiles may use")
    ssh: dict[types.SecretId, Path] = Field(
        {}, description="id = private key, or socket of an agent, that Dockerfiles may use; default: SSH_AUTH_SOCK"
    )
    toolchains: Annotated[tuple[Path, ...], NoDecode] = Field(
        (), description="folders with tools in `bin` for `tools` of recipes, such as /usr/local/go"
    )
    parallel: int = Field(
        0, ge=0, le=PARALLEL_MOST, description="how many images are built at once; 0: as many as there are processors"
    )
    builder_jobs: int = Field(
        0, ge=0, le=PARALLEL_MOST, description="how many of these use one builder at once; 0: any number"
    )
    work_pool: str = Field(
        "", description="the work pool whose workers build a night's images; empty: the machine of the night itself"
    )
    server_port: int = Field(
        0,
        ge=0,
        le=65535,
        description="port of the local Prefect server; 0: a free one, if possible the same as before",
    )
    server_days: int = Field(
        30, ge=1, description="days that the local Prefect server keeps runs that have ended, from its next start on"
    )

    @field_validator("recipes", mode="before")
    @classmethod
    def _several(cls, value: object) -> object:
        return split_folders(value) if isinstance(value, str) else value

    @field_validator("toolchains", mode="before")
    @classmethod
    def _several_toolchains(cls, value: object) -> object:
        return split_folders(value) if isinstance(value, str) else value

    @field_validator("toolchains")
    @classmethod
    def _trusted_toolchains(cls, value: tuple[Path, ...]) -> tuple[Path, ...]:
        """Their programs make images: nobody else may change them."""
        for folder in value:
            if not folder.is_absolute() or not (folder / "bin").is_dir():
                raise ValueError(f"{str(folder)!r} is not the absolute path of a folder that has a folder `bin`")
            for path in (folder, folder / "bin"):
                status = path.stat()
                if not private.is_trusted(status.st_uid) or status.st_mode & 0o022:
                    raise ValueError(f"others than you and root can change {str(path)!r}")
        return value

    @field_validator("store")
    @classmethod
    def _default_store(cls, value: str) -> str:
        return value or str(data_folder() / "store")

    @field_validator("store", "s3_endpoint")
    @classmethod
    def _without_keys(cls, value: str) -> str:
        return types.without_credentials(value, AS_BOTO3)

    @field_validator("store")
    @classmethod
    def _no_file(cls, value: str) -> str:
        path = unquote(urlsplit(value).path) if value.startswith("file:") else value
        if "://" in path:
            return value
        try:
            possible = may_be_folder(Path(path).expanduser().absolute())
        except RuntimeError:  # ~NAME, where there is no such user
            possible = False
        if not possible:
            raise ValueError(f"{path!r} is not a folder, nor a place where one can be made")
        return value

    @field_validator("registry")
    @classmethod
    def _without_password(cls, value: str) -> str:
        if "@" in value:
            raise ValueError(f"this has a name or a password in it. {AS_SKOPEO}")
        return value

    @field_validator("registry")
    @classmethod
    def _address_of_registry(cls, value: str) -> str:
        if value and not REGISTRY.fullmatch(value):
            raise ValueError("a registry is HOST[:PORT][/PREFIX], in lower case and without https://")
        return value

    @field_validator("ca_bundle")
    @classmethod
    def _certificates(cls, value: Path | None) -> Path | None:
        if value is None:
            return None
        read_bundle(value)
        return value.absolute()

    @field_validator("memory", mode="before")
    @classmethod
    def _no_memory(cls, value: object) -> object:
        return value or None

    @field_validator("builders", mode="before")
    @classmethod
    def _named(cls, value: object) -> object:
        """A builder that outlives a run has the name of its table, unless it has another one."""
        if not isinstance(value, dict):
            return value
        durable = ("existing", "persistent")
        return {
            name: {"name": name, **plan} if isinstance(plan, dict) and plan.get("lifecycle") in durable else plan
            for name, plan in value.items()
        }

    def local_reference(self, image: str, platform: str) -> str:
        """An image's name in the engine: classic stores have one of a name, so `latest` is that for the machine."""
        own = platform_name(native_architecture())
        suffix = "" if platform == own else f"-{platform.partition('/')[2].replace('/', '-')}"
        return f"{self.local_name}/{image}:latest{suffix}"

    @property
    def limits(self) -> Limits:
        """What commands of a recipe, packages and scripts may use."""
        return Limits(
            self.sandbox_memory or default_memory(), self.sandbox_processes, self.sandbox_seconds, self.sandbox_disk
        )

    @property
    def authorities(self) -> Authorities:
        """The certificate authorities that connections trust."""
        return Authorities(self.ca_bundle, cache_folder() / "authorities")

    @property
    def site(self) -> Site:
        """What concerns archives."""
        return Site(self.mirrors, self.keyrings, self.snapshots, self.auth, self.authorities)

    @property
    def server(self) -> LocalServer:
        """What concerns the local Prefect server."""
        return LocalServer(self.server_port, self.server_days, self.authorities)

    @property
    def images_at_once(self) -> int:
        """How many images are built at once; by workers as many as they take, up to the most there can be."""
        return self.parallel or (PARALLEL_MOST if self.work_pool else len(os.sched_getaffinity(0)))

    @property
    def places(self) -> tuple[Path, ...]:
        """Where runs have their folders."""
        return (self.work, self.memory) if self.memory else (self.work,)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the signature is pydantic's
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment comes before what is handed in, which is the file's content."""
        return env_settings, init_settings


def load(recipes: Sequence[Path] | None = None) -> Settings:
    """The settings in force, with the folders of `recipes` where they are given.

    Raises InputError, which names the file and line, or the variable.
    """
    _check_environment()
    site = find_site(recipes or ())
    file, values = site.file, _read(site.file)
    try:
        settings = Settings(**{"store": "", **values})
    except ValidationError as error:
        raise _explained(error, file) from None
    except (SettingsError, RecursionError):  # of a table's variable; the error names it in prose alone
        raise InputError("not a JSON object", where=_unreadable()) from None
    return settings.model_copy(update={"recipes": _recipe_folders(site, settings if "recipes" in values else None)})


def _recipe_folders(site: SiteFolders, settings: Settings | None) -> tuple[Path, ...]:
    """The named folders of recipes, else those of the settings in which they are named, else the usual ones."""
    if site.named or settings is None:
        return existing_folders(site.named or site.usual, site.origin)
    start = site.file.parent
    folders = [placed(each, Path() if start == Path.cwd() else start) for each in settings.recipes]
    return existing_folders(folders, position(site.file, ["recipes"]))


def _check_environment() -> None:
    """Raises InputError for variables that no field checks."""
    for name, value in os.environ.items():
        if name.startswith("BASEFORGE_") and not is_unicode(value):
            raise InputError("this is not UTF-8 text", where=name)
    if not may_be_folder(data_folder()):
        raise InputError(
            f"{data_folder()} is not a folder",
            where="BASEFORGE_HOME" if os.environ.get("BASEFORGE_HOME") else "",
            hint="Let BASEFORGE_HOME name a folder, or a place where one can be made.",
        )


def misspelt_variables() -> tuple[str, ...]:
    """What to say about variables that look like a setting and are none. Others may have names that begin alike."""
    known = {f"BASEFORGE_{name.upper()}" for name in Settings.model_fields} | OTHER_VARIABLES
    ours = (name for name in os.environ if name.startswith("BASEFORGE_") and name not in known)
    return tuple(f"{name} is no setting. {hint}" for name in sorted(ours) if (hint := _nearest_variable(name, known)))


def _nearest_variable(name: str, known: set[str]) -> str:
    """`Did you mean …?`, judged without the beginning that all have."""
    hint = nearest(name.removeprefix("BASEFORGE_"), [each.removeprefix("BASEFORGE_") for each in known])
    return hint.replace("'", "'BASEFORGE_", 1)


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text()) if file.is_file() else {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(str(error), where=str(file)) from None
    except RecursionError:
        raise InputError("it is nested too deeply", where=str(file)) from None
    except OSError as error:
        hint = "Make it readable for this user, or name other recipes by --recipes."
        raise InputError(f"the file cannot be read: {error.strerror}", where=str(file), hint=hint) from None


def _explained(error: ValidationError, file: Path) -> InputError:
    found = error.errors()
    first = next((each for each in found if each["type"] == "extra_forbidden"), found[0])  # else a key that it replaces
    names = [str(step) for step in first["loc"]]
    name, last = names[0], names[-1]
    full = ".".join(MASK if has_credentials(each) else each for each in names).removesuffix(".[key]")
    variable = f"BASEFORGE_{name.upper()}"
    where = variable if variable in os.environ else position(file, names)
    if first["type"] == "extra_forbidden":
        known = Settings.model_fields if last == name else BuilderPlan.model_fields
        return InputError(f"unknown setting {full!r}", where=where, hint=nearest(last, known))
    return InputError(f"{full}: {first['msg'].removeprefix('Value error, ')}", where=where)


def _unreadable() -> str:
    """The first variable of a table that holds no JSON."""
    tables = (name for name, field in Settings.model_fields.items() if get_origin(field.annotation) is dict)
    for variable in (f"BASEFORGE_{name.upper()}" for name in tables):
        try:
            json.loads(os.environ.get(variable, "{}"))
        except (ValueError, RecursionError):
            return variable
    return "BASEFORGE_*"


def origins(site: SiteFolders) -> dict[str, str]:
    """Where each setting comes from: `default`, the file, the variable, or the option that names recipes."""
    in_file = _read(site.file)
    found = {
        name: variable
        if (variable := f"BASEFORGE_{name.upper()}") in os.environ
        else str(site.file)
        if name in in_file
        else "default"
        for name in Settings.model_fields
    }
    return {**found, "recipes": site.origin or found["recipes"]}

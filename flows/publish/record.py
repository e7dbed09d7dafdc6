"""A build's record: the JSON document that says what was made, of what, with which tools, and how it was tested."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from rootfs.lock.lock import Lock
from rootfs.process.host import native_architecture
from rootfs.system.document_format import FIRST
from rootfs.system.platforms import platform_name

# Names of documents and blobs are made of these values: a reader of a store must not trust others.
StoreName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._+:@-]{0,199}$")]  # as in flows.store.keys
Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
StoreNameOrEmpty = Annotated[str, Field(pattern=r"^([A-Za-z0-9_][A-Za-z0-9._+:@-]{0,199})?$")]
DigestOrEmpty = Annotated[str, Field(pattern=r"^(sha256:[0-9a-f]{64})?$")]
Cve = Annotated[str, Field(pattern=r"^CVE-[0-9]{4}-[0-9]{4,}$")]
Count = Annotated[int, Field(ge=0)]
Platform = Annotated[str, Field(pattern=r"^[a-z0-9]+/[a-z0-9]+(/[a-z0-9.]+)?$")]

Status = Literal["published", "unchanged", "moved", "built", "failed", "damaged", "held", "paused"]
FORMAT = 1  # of the documents in a store; raised when an older Baseforge can no longer read them
Format = Annotated[int, Field(ge=FIRST, le=FORMAT)]


def key_of(image: str, build: str) -> str:
    """The key of a build's record in the store."""
    return f"images/{image}/builds/{build}.json"


class Frozen(BaseModel):
    """A document of a store, or a part of one."""

    model_config = ConfigDict(frozen=True)


class UsedBuilder(Frozen):
    """The builder an image was imported through, why it was chosen, and its BuildKit's version if it has its own."""

    name: str
    driver: str
    why: str = ""
    buildkit: str = ""


class BaseImageBuild(Frozen):
    """A build of a base image, and its manifest digest for one platform."""

    image: StoreName
    build: StoreName
    manifest_digest: Digest


class Times(Frozen):
    """When an update came and went on its way: seconds since 1970, 0 where it is not known.

    `archive` is the `Date` of the Release file that first had a package which the build before had in another version;
    of several suites, the earliest. It is 0 if no package is newer or the recipe has changed too. `seen` is when that
    was looked up, `built` when the image was imported, `tested` when its smoke tests had ended, and `published` when
    the record was written.
    """

    archive: float = 0
    seen: float = 0
    built: float = 0
    tested: float = 0
    published: float = 0


OLDER = ("ahead", "early")  # in records of earlier versions: seconds that are also in those of other steps


class SmokeCounts(Frozen):
    """How many of the recipe's smoke checks passed and failed. Where it has none, `untested` says what is known."""

    passed: Count
    failed: Count
    untested: str = ""


class Record(Frozen):
    """One build of one image. Sizes are in bytes, `seconds` is wall time by step, `packages` is the number of installed
    packages, `distribution` the name in the tree's os-release.

    `ingredients` is a blob with the recipe and its files, as they were. `status` is one of
    - `published`: the build is in the store, and names point to it;
    - `built`: the build was not published, as asked;
    - `unchanged`: the build named in `build` has the same inputs, and all names point to it;
    - `moved`: that build has the same inputs, and names were moved to it; `reason` says why;
    - `failed`: `reason` says why;
    - `damaged`: the store has a record that cannot be read; `reason` says why;
    - `held`, `paused`: a night did not build it, because its base image failed, or because it keeps failing.

    `transient` is set for a failure that may pass by itself, such as that of a network.

    `number` orders the builds of an image: it only grows, whatever the clock says. `registry` is the pushed image, with
    its digest. `example` has the arguments for `docker run` that show the image working. A layer image names its base
    image in `parent`, a Dockerfile those of its contexts in `bases`. `layer_digest` and `diff_id` are of the highest
    layer; `size`, `unpacked` (its layers' tars) and `packages` are of the whole image.

    An image for several platforms is an index, and `manifest_digest` is the index's digest. `parts` has a record for
    each platform. `packages`, `distribution` and `example` are those of the part for the machine that built it (see
    `own`); `size`, `unpacked` and `smoke` are sums. `versions` has the packages whose version is not the same in all
    parts, by name and platform.
    """

    format: Format = FORMAT
    image: StoreName
    build: StoreNameOrEmpty = ""
    number: Count = 0
    status: Status
    platforms: tuple[Platform, ...] = ()
    input_digest: DigestOrEmpty = ""
    recipe_digest: DigestOrEmpty = ""
    lock: Lock = Lock()
    lock_digest: DigestOrEmpty = ""
    parent: BaseImageBuild | None = None
    bases: tuple[BaseImageBuild, ...] = ()
    tools: dict[str, str] = {}
    manifest_digest: DigestOrEmpty = ""
    config_digest: DigestOrEmpty = ""
    layer_digest: DigestOrEmpty = ""
    diff_id: DigestOrEmpty = ""
    size: Count = 0
    unpacked: Count = 0
    packages: Count = 0
    distribution: str = ""
    inventory: DigestOrEmpty = ""
    ingredients: DigestOrEmpty = ""
    log: DigestOrEmpty = ""
    builder: UsedBuilder | None = None
    seconds: dict[str, float] = {}
    smoke: SmokeCounts | None = None
    registry: str = ""
    created: str = ""
    times: Times | None = None
    fixes: tuple[Cve, ...] = ()
    example: tuple[str, ...] | None = None
    reason: str = ""
    exit_status: int = 0
    transient: bool = False
    parts: tuple[Record, ...] = ()
    versions: dict[str, dict[str, str]] = {}

    def of(self, platform: str) -> Record | None:
        """The build for a platform: this one or a part; None if there is none."""
        return next((each for each in self.parts or (self,) if platform in each.platforms), None)

    @property
    def index(self) -> str:
        """The digest of the index of the parts; empty without parts."""
        return self.manifest_digest if self.parts else ""

    @property
    def base_builds(self) -> tuple[BaseImageBuild, ...]:
        """The builds that it was built on: a layer's base image, or those of a Dockerfile."""
        return (*([self.parent] if self.parent else []), *self.bases)

    @property
    def own(self) -> Record:
        """The build for this machine's platform, or else the first one."""
        return self.of(platform_name(native_architecture())) or (self.parts or (self,))[0]

    @property
    def took(self) -> float:
        """Seconds of all steps."""
        return sum(seconds for step, seconds in self.seconds.items() if step not in OLDER)

    @property
    def key(self) -> str:
        """Its key in the store."""
        return key_of(self.image, self.build)

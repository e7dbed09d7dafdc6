"""A build's record: the one JSON document that says what was made, of what, by what, and how it was tested."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from rootfs.lock.lock import Lock
from rootfs.process.host import native_architecture
from rootfs.system.document_format import FIRST
from rootfs.system.platforms import platform_name

# What names of documents and blobs are made of, and what a reader of a store may believe of it.
Part = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._+:@-]{0,199}$")]  # as in flows.store.keys
Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
PartOrNone = Annotated[str, Field(pattern=r"^([A-Za-z0-9_][A-Za-z0-9._+:@-]{0,199})?$")]
DigestOrNone = Annotated[str, Field(pattern=r"^(sha256:[0-9a-f]{64})?$")]
Count = Annotated[int, Field(ge=0)]
Platform = Annotated[str, Field(pattern=r"^[a-z0-9]+/[a-z0-9]+(/[a-z0-9.]+)?$")]

Status = Literal["published", "unchanged", "moved", "built", "failed", "damaged"]
FORMAT = 1  # of the documents in a store; raised when an older Baseforge can no longer read them
Format = Annotated[int, Field(ge=FIRST, le=FORMAT)]


def key_of(image: str, build: str) -> str:
    """The place of a build's record in the store."""
    return f"images/{image}/builds/{build}.json"


class Frozen(BaseModel):
    """A part of a record."""

    model_config = ConfigDict(frozen=True)


class UsedBuilder(Frozen):
    """The builder an image came through, why that one, and the version of its BuildKit where it is not the engine."""

    name: str
    driver: str
    why: str = ""
    buildkit: str = ""


class ParentBuild(Frozen):
    """A build that another image is made of, and the image that it is, for one platform."""

    image: Part
    build: Part
    manifest_digest: Digest


OLDER = ("ahead", "early")  # in records of earlier versions: seconds that are also in those of other steps


class Smoke(Frozen):
    """How many of the recipe's smoke checks held."""

    passed: Count
    failed: Count


class Record(Frozen):
    """One build of one image. Sizes are bytes, `seconds` is wall time by step, `packages` counts what is installed,
    `distribution` is what the tree calls itself.

    `ingredients` is a blob with the recipe and its files, as they were. `status` is one of
    - `published`: the build is in the store, and names point to it;
    - `built`: it was asked not to publish;
    - `unchanged`: the build named in `build` has the same inputs, and all names point to it;
    - `moved`: that build has the same inputs, and names were moved to it; `reason` says why;
    - `failed`: `reason` says why;
    - `damaged`: the store has a record that cannot be read; `reason` says why.

    `number` orders the builds of an image: it only grows, whatever the clock says. `registry` is what was pushed, by
    digest; `example` are the arguments of a `docker run` that shows it working. A layer on another image names its
    `parent`, a Dockerfile the `bases` of its contexts; `layer_digest`, `diff_id` and `unpacked` are those of the
    highest layer, `size` and `packages` the whole image's.

    An image for several platforms is an index, whose digest is its `manifest_digest`. What is said of one platform is
    in its `parts`, a record each; `packages`, `distribution` and `example` are those of the part for the machine that
    it was built on (see `own`), `size` and `smoke` are of them all. `versions` has the packages of which the parts do
    not have the same version: by name and platform.
    """

    format: Format = FORMAT
    image: Part
    build: PartOrNone = ""
    number: Count = 0
    status: Status
    platforms: tuple[Platform, ...] = ()
    input_digest: DigestOrNone = ""
    recipe_digest: DigestOrNone = ""
    lock: Lock = Lock()
    lock_digest: DigestOrNone = ""
    parent: ParentBuild | None = None
    bases: tuple[ParentBuild, ...] = ()
    tools: dict[str, str] = {}
    manifest_digest: DigestOrNone = ""
    config_digest: DigestOrNone = ""
    layer_digest: DigestOrNone = ""
    diff_id: DigestOrNone = ""
    size: Count = 0
    unpacked: Count = 0
    packages: Count = 0
    distribution: str = ""
    inventory: DigestOrNone = ""
    ingredients: DigestOrNone = ""
    log: DigestOrNone = ""
    builder: UsedBuilder | None = None
    seconds: dict[str, float] = {}
    smoke: Smoke | None = None
    registry: str = ""
    created: str = ""
    example: tuple[str, ...] | None = None
    reason: str = ""
    exit_status: int = 0
    parts: tuple[Record, ...] = ()
    versions: dict[str, dict[str, str]] = {}

    def of(self, platform: str) -> Record | None:
        """What was built for a platform: itself, or a part; None where nothing was."""
        return next((each for each in self.parts or (self,) if platform in each.platforms), None)

    @property
    def index(self) -> str:
        """The digest of the index over the parts; empty where it has none."""
        return self.manifest_digest if self.parts else ""

    @property
    def own(self) -> Record:
        """What was built for this machine's platform, or else for the first one."""
        return self.of(platform_name(native_architecture())) or (self.parts or (self,))[0]

    @property
    def took(self) -> float:
        """Seconds of all steps together."""
        return sum(seconds for step, seconds in self.seconds.items() if step not in OLDER)

    @property
    def key(self) -> str:
        """Its place in the store."""
        return key_of(self.image, self.build)

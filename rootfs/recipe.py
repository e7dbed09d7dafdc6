"""A recipe: one YAML file that says what an image is. The models, and how a file becomes one.

Every key's description is shown by editors (`recipes/recipe.schema.json` is made from these models).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator

from rootfs import fields, reader
from rootfs.builder import NamedOrPlanned
from rootfs.complaints import complaints
from rootfs.contents import contents, is_file, strays
from rootfs.digests import digest_of
from rootfs.errors import RecipeInvalid, UnknownRecipe, nearest

DEBOOTSTRAP_VARIANTS = ("minbase", "buildd", "important")


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class ImageSettings(_Model):
    """What a container of the image starts with, as in the OCI image configuration."""

    cmd: tuple[str, ...] = Field(
        default=(), description="the command, or the arguments of the entry point, as a list of words"
    )
    entrypoint: tuple[str, ...] = Field(default=(), description="the program that always runs, as a list of words")
    env: dict[fields.EnvName, str] = Field(
        default={}, description="environment variables; PATH is added where it is missing"
    )
    user: fields.User = Field(
        default="", description="the user it runs as: NAME, NUMBER or USER:GROUP; root where none is said"
    )
    workdir: fields.FolderPath = Field(default="", description="the folder it starts in, an absolute path")
    labels: dict[fields.Label, str] = Field(default={}, description="labels of the image")
    expose: tuple[fields.Port, ...] = Field(default=(), description="ports it listens on: 80, 80/tcp, 53/udp")
    volumes: tuple[fields.FolderPath, ...] = Field(default=(), description="folders that hold data, absolute paths")
    stop_signal: fields.StopSignal = Field(
        default="", description="the signal that stops it: SIGTERM, SIGRTMIN+3 or a number"
    )


class SmokeCheck(_Model):
    """One command that runs in a fresh container of the image, and what must be true of its end."""

    run: fields.Command = Field(description="the command, as a list of words")
    status: int = Field(default=0, ge=0, le=255, description="the exit status it must have")
    stdout: fields.Regex | None = Field(default=None, description="a regular expression found in its standard output")
    stderr: fields.Regex | None = Field(default=None, description="a regular expression found in its standard error")
    timeout: float = Field(default=60.0, gt=0, le=3600, allow_inf_nan=False, description="seconds it may take")


class _Common(_Model):
    name: fields.Name = Field(description="the image's name: the file's name without .yaml")
    description: str = Field(default="", description="what the image is for, in a sentence; not part of the digest")
    image: ImageSettings = Field(default_factory=ImageSettings, description="what a container of the image starts with")
    smoke: tuple[SmokeCheck, ...] = Field(
        default=(), description="commands that must work before the image is published"
    )
    builder: NamedOrPlanned | None = Field(
        default=None,
        description="the builder to import the image through: a name, or what it shall be; not part of the digest",
    )


class DebootstrapRecipe(_Common):
    """A Debian or Ubuntu tree, made of packages from the distribution's own archive."""

    kind: Literal["debootstrap"] = Field(description="a tree of packages from a Debian or Ubuntu archive")
    suite: fields.Suite = Field(description="the distribution's code name: noble, trixie, …")
    pockets: Annotated[tuple[Literal["updates", "security"], ...], *fields.Distinct] = Field(
        default=("updates", "security"), description="suites with newer packages that come with it"
    )
    components: Annotated[tuple[fields.Component, ...], *fields.Distinct, *fields.NotEmpty] = Field(
        default=("main",), description="parts of the archive that packages may come from"
    )
    engine: Literal["mmdebstrap", "debootstrap"] = Field(
        default="mmdebstrap", description="the program that makes the tree"
    )
    variant: Literal["essential", "apt", "minbase", "buildd", "important", "standard"] = Field(
        default="minbase",
        description="how many packages to begin with, few to many; engine debootstrap knows only three",
    )
    include: Annotated[tuple[fields.Package, ...], *fields.Distinct] = Field(default=(), description="further packages")
    slim: Annotated[tuple[Literal["docs", "man", "locales"], ...], *fields.Distinct] = Field(
        default=(), description="files to leave out: documentation (copyright files stay), manual pages, translations"
    )

    @field_validator("variant")
    @classmethod
    def _known_to_engine(cls, variant: str, info: ValidationInfo) -> str:
        if info.data.get("engine") == "debootstrap" and variant not in DEBOOTSTRAP_VARIANTS:
            raise ValueError(f"engine debootstrap has no variant {variant!r}, only {', '.join(DEBOOTSTRAP_VARIANTS)}")
        return variant


class FileEntry(_Model):
    """One file or link of a scratch image. Just one of `from`, `content` and `link` says what it is."""

    path: fields.FilePath = Field(description="where it is in the image, an absolute path")
    source: fields.Inside | None = Field(
        default=None, alias="from", description="a file of the recipe's folder, or one that `build` makes"
    )
    content: str | None = Field(default=None, description="the text of the file")
    link: fields.Target | None = Field(default=None, description="where a symbolic link points")
    mode: fields.Mode | None = Field(
        default=None, description="permissions, as '0644'; 0755 for what can be run, else 0644"
    )
    owner: fields.Owner = Field(default="0:0", description="UID:GID in numbers")

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if sum(origin is not None for origin in (self.source, self.content, self.link)) != 1:
            raise ValueError(f"{self.path} needs just one of 'from', 'content' and 'link'")
        if self.link is not None and self.mode is not None:
            raise ValueError(f"{self.path} is a link, which has no 'mode'")
        return self


class ScratchRecipe(_Common):
    """An image of nothing but the files that are named here."""

    kind: Literal["scratch"] = Field(description="an image of nothing but the files named here")
    files: Annotated[tuple[FileEntry, ...], *fields.NotEmpty] = Field(description="the files of the image")
    build: tuple[fields.Command, ...] = Field(
        default=(), description="commands, lists of words, run in a copy of the recipe's folder to make files"
    )
    tools: Annotated[tuple[fields.Package, ...], *fields.Distinct] = Field(
        default=(),
        description="Debian packages of the machine that `build` needs; their versions are part of the input digest",
    )

    @field_validator("files")
    @classmethod
    def _possible_together(cls, files: tuple[FileEntry, ...]) -> tuple[FileEntry, ...]:
        seen: set[PurePosixPath] = set()
        for path in sorted(PurePosixPath(entry.path) for entry in files):
            if path in seen:
                raise ValueError(f"{path} is there twice")
            if above := seen.intersection(path.parents):
                raise ValueError(f"{path} cannot be below {above.pop()}, which is no folder")
            seen.add(path)
        return files


Recipe = DebootstrapRecipe | ScratchRecipe
KINDS: dict[str, type[Recipe]] = {"debootstrap": DebootstrapRecipe, "scratch": ScratchRecipe}


def find(name: str, folder: Path) -> Path:
    """The file of the recipe of this name. Raises UnknownRecipe with the nearest name."""
    known = [path.stem for path in _recipes(folder)]
    if name not in known:
        raise UnknownRecipe(name, folder, known)
    return folder / f"{name}.yaml"


def folder_of(path: Path) -> Path:
    """The folder beside a recipe's file that holds the files it names; a recipe without such files has none."""
    return path.parent / path.stem


def read(path: Path) -> Recipe:
    """The recipe in a file. Raises RecipeInvalid with everything that is wrong in it."""
    document = reader.load(path)
    model = _model(document)
    wrong = []
    if "name" in document.values:
        wrong.append((document.key(("name",)), "unknown key 'name': a recipe has the name of its file"))
    try:
        recipe = model.model_validate({**document.values, "name": path.stem})
    except ValidationError as error:
        raise RecipeInvalid(wrong + complaints(error, document, model)) from None
    if isinstance(recipe, ScratchRecipe):
        wrong.extend(_missing(recipe, document, folder_of(path)))
    if wrong:
        raise RecipeInvalid(wrong)
    return recipe


def read_all(folder: Path) -> list[Recipe]:
    """Every recipe of a folder, by name. Raises RecipeInvalid with what is wrong in any of them."""
    recipes: list[Recipe] = []
    wrong: list[tuple[str, str]] = []
    for path in _recipes(folder):
        try:
            recipes.append(read(path))
        except RecipeInvalid as error:
            wrong.extend(error.problems)
    if wrong:
        raise RecipeInvalid(wrong)
    return recipes


def digest(recipe: Recipe, folder: Path) -> str:
    """`sha256:HEX` of what a recipe says, defaults included, and of the files in its `folder` (see `folder_of`).

    The description and the builder do not count: a better sentence makes no other image, nor does another builder.
    Raises RecipeInvalid for a file that cannot be read.
    """
    said = recipe.model_dump(mode="json", by_alias=True, exclude={"description", "builder"})
    files = contents(folder) if isinstance(recipe, ScratchRecipe) else []
    return digest_of({"recipe": said, "files": files})


def _recipes(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.yaml"), key=lambda path: path.stem)


def _model(document: reader.Document) -> type[Recipe]:
    kind = document.at(("kind",))
    if kind is None:
        raise RecipeInvalid([(document.place(("kind",)), f"key 'kind' is missing; it is one of {', '.join(KINDS)}")])
    if not isinstance(kind, str) or kind not in KINDS:
        hint = nearest(str(kind), KINDS) or f"It is one of {', '.join(KINDS)}."
        raise RecipeInvalid([(document.place(("kind",)), f"there is no such kind of recipe. {hint}")])
    return KINDS[kind]


def _missing(recipe: ScratchRecipe, document: reader.Document, folder: Path) -> Iterator[tuple[str, str]]:
    """The files that a recipe names and nothing can bring."""
    for path, why in strays(folder):
        yield document.place(("files",)), f"{path} {why}"
    for index, entry in enumerate(recipe.files):
        if entry.source is not None and not recipe.build and not is_file(folder / entry.source):
            yield document.place(("files", index, "from")), f"there is no file {folder / entry.source}"

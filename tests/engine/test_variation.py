"""One lock gives one digest, for every user, folder, clock, language, order and number of processors."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import pytest

from flows.config.settings import load
from flows.store.open import open_store
from flows.store.store import Store
from rootfs.apt.resolve import Apt
from rootfs.apt.sources import Site
from rootfs.packages import pool
from rootfs.process.host import native_architecture
from rootfs.recipe.recipe import files_folder, read_recipe
from rootfs.tree.compare import compare_layers
from tests.engine.variation import CLOCK, Cooked, Dish, Machine, cook
from tests.support.factory import SHELF

RECIPES = ("noble", "trixie", "trixie-slim")
# Not one that we ship: for what takes too long with more packages.
SMALL = "small"
SMALL_RECIPE = "kind: debootstrap\nsuite: trixie\nvariant: essential\ninclude: [netbase]\n"
UNPACKED = "python3"  # an image of packages that are not installed
ALONE = {
    "umask": Machine(umask=0o077),
    "time zone": Machine(environment={"TZ": "Asia/Tokyo"}),
    "language": Machine(environment={"LANG": "de_DE.UTF-8", "LC_ALL": "C.UTF-8", "LANGUAGE": "de"}),
    "folder": Machine(folder="/".join(["a-long-way-down"] * 10)),
    "a year on": Machine(later=True),
    "one processor": Machine(one_cpu=True),
    "ordinary user": Machine(ordinary=True),
    "disk": Machine(memory=False),
    "order of files": Machine(shuffled="packing"),
}
COMMON = ("umask", "time zone", "language", "folder", "a year on", "one processor")
SHUFFLED = "all as root, files in another order each time when packed"
USER = "all as an ordinary user, on disk"  # a file system in user space has no files for subordinate ids
ROOT = "all as root, on disk"
TOGETHER = {SHUFFLED: (*COMMON, "order of files"), USER: (*COMMON, "ordinary user", "disk"), ROOT: (*COMMON, "disk")}
BUILDING = "order of files while it is built"
SLOW = Machine(shuffled="building")
BY_ENGINE = {"mmdebstrap": (SHUFFLED, USER), "debootstrap": (ROOT,)}
WORDS = ("recipe", "engine", "name")
# Each way once for each distribution, engine and kind; a full run has every way for every recipe.
ROWS = [
    ("noble", "mmdebstrap", SHUFFLED),
    (SMALL, "mmdebstrap", USER),
    ("trixie-slim", "debootstrap", ROOT),
    (SMALL, "mmdebstrap", BUILDING),
    (UNPACKED, "mmdebstrap", USER),  # it has no engine in truth
    (UNPACKED, "mmdebstrap", ROOT),
]
ALL_WAYS = [(recipe, engine, name) for recipe in RECIPES for engine, names in BY_ENGINE.items() for name in names]
ROWS += [pytest.param(*row, marks=pytest.mark.full) for row in ALL_WAYS if row not in ROWS]


def machine(name: str) -> Machine:
    """One that differs in one thing, or in many."""
    made = Machine()
    for each in TOGETHER.get(name, (name,)):
        made |= SLOW if each == BUILDING else ALONE[each]
    return made


Dishes = Callable[[str], Dish]


@pytest.fixture(scope="module")
def dishes() -> Iterator[Dishes]:
    """A recipe by its name, with its lock of today, and the debs of that lock, where an ordinary user can read them."""
    folder = Path(tempfile.mkdtemp(prefix="bf-dishes-"))
    folder.chmod(0o755)
    site, store = load().site, open_store(str(folder / "store"))
    apt = Apt(folder / "apt", site, log=str)
    try:
        shelf = {name: SHELF / f"{name}.yaml" for name in (*RECIPES, UNPACKED)}
        shelf[SMALL] = folder / f"{SMALL}.yaml"
        shelf[SMALL].write_text(SMALL_RECIPE)
        yield cache(lambda name: dish(folder, shelf[name], apt, store, site))
    finally:
        shutil.rmtree(folder)


def dish(folder: Path, recipe: Path, apt: Apt, store: Store, site: Site) -> Dish:
    name, debs = recipe.stem, folder / f"{recipe.stem}.debs"
    said = read_recipe(recipe)
    assert said.apt_request is not None
    lock = apt.lock(
        said.apt_request,
        files_folder(recipe),
        native_architecture(),
        without_dependencies=said.standalone,
        optional=said.optional_packages,
    )
    (folder / f"{name}.json").write_text(lock.model_dump_json())
    pool.fill_pool(lock.packages, store, site.mirror, offline=False, log=str, folder=folder / "partial")
    debs.mkdir()
    assert pool.write_debs(lock.packages, store, debs) == {}
    shutil.copy(CLOCK, debs)
    return Dish(recipe, folder / f"{name}.json", debs)


Plainly = Callable[[str, str], Cooked]


@pytest.fixture(scope="module")
def plainly(dishes: Dishes) -> Iterator[Plainly]:
    """A recipe's image as an engine makes it on the usual machine."""
    with ExitStack() as made:

        @cache
        def plain(recipe: str, engine: str) -> Cooked:
            return made.enter_context(cook(dishes(recipe), Machine(), engine))

        yield plain


@pytest.mark.parametrize(WORDS, ROWS, ids=lambda value: value)
def test_the_digest_is_the_same(dishes, plainly, recipe, engine, name, tmp_path):
    """Machines differ in many things at once; only where that counts is it tried with one thing at a time."""
    usual, other = plainly(recipe, engine), machine(name)
    with cook(dishes(recipe), other, engine) as made:
        if made.manifest != usual.manifest:
            differences = compare_layers(usual.layer, made.layer, tmp_path, str)
            causes = [each for each in TOGETHER.get(name, ()) if differs(dishes(recipe), each, engine, usual)]
            pytest.fail("\n".join([f"alone: {causes}", *map(str, differences[:20])]))
        assert made.year == usual.year + other.later
    assert usual.year == datetime.now(UTC).year


def differs(dish: Dish, name: str, engine: str, usual: Cooked) -> bool:
    """Whether the image is another one where only this is not usual."""
    with cook(dish, ALONE[name], engine) as made:
        return made.manifest != usual.manifest


def test_a_different_tree_is_noticed(dishes, plainly, tmp_path):
    """What all these comparisons would say if something did depend on the machine: here on the recipe."""
    one, two = plainly(SMALL, "mmdebstrap"), plainly("noble", "mmdebstrap")
    assert one.manifest != two.manifest
    assert len(compare_layers(one.layer, two.layer, tmp_path, str)) > 100

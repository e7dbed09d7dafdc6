"""Trees that are made ahead: taken by the steps they were made for, or gone without a trace."""

import threading
import time
from contextlib import ExitStack
from dataclasses import replace

import pytest

from flows import ahead, inputs
from flows.ahead import Ahead
from flows.choice import Choice
from flows.inputs import Meant
from flows.publish import publication
from flows.publish.record import Record
from flows.session import session
from flows.settings import Settings
from flows.smoke.errors import SmokeFailed
from rootfs.errors import ProgramFailed
from rootfs.lock import Lock, Package
from rootfs.run import run
from tests.support.waiting import until

SCRATCH = "kind: scratch\nfiles: [{path: /%s, content: x}]\n"
SOON = 20.0  # seconds


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A session with the recipes `a`, `b` and `c`, of a file each that is called so."""
    monkeypatch.setenv("BASEFORGE_HOME", str(tmp_path / "home"))
    recipes = tmp_path / "recipes"
    recipes.mkdir()
    for name in "abc":
        (recipes / f"{name}.yaml").write_text(SCRATCH % name)
    (work := tmp_path / "work").mkdir()
    settings = Settings(store=str(tmp_path / "store"), recipes=recipes, work=work, memory=None)
    with session(settings) as here:
        yield here


@pytest.fixture
def works():
    """What makes trees ahead, once its images are known; at the end it is over, and nothing is left."""
    begun = []

    def begin(*images, **chosen):
        begun.append(making := Ahead(images, Choice(**chosen)))
        making.start()
        return making

    yield begin
    for each in begun:
        each.end()


def left(site):
    return sorted(site.settings.work.glob("baseforge-*/*"))


def trees(site):
    return sum(path.is_dir() for path in left(site))


def meant(image):
    return inputs.meant(image, Choice()).parts[0]


def names(members):
    return [member.path for member in members]


def taken(works, image):
    """The tree of an image as the steps take it, or None where they have to make it."""
    wanted = meant(image)
    with ExitStack() as running:
        if works.debs(wanted):
            return names(works.tree(wanted, running, print))
        assert works.tree(wanted, running, print) is None
    return None


def test_each_tree_is_there_when_its_turn_comes_and_gone_when_it_was_read(site, works):
    making = works("a", "b", "c")
    for image in "abc":
        until(lambda: left(site))
        assert image in taken(making, image)
    until(lambda: left(site) == [])


def test_only_one_is_made_before_it_is_taken(site, works):
    making = works("a", "b")
    until(lambda: left(site))
    before = left(site)
    time.sleep(0.2)
    assert left(site) == before
    assert "a" in taken(making, "a")
    until(lambda: left(site) and left(site) != before)


@pytest.mark.parametrize("processors", [1, 2, 3])
def test_where_packing_needs_all_processors_the_next_one_waits_for_its_end(processors, site, works, monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(processors)))
    making = works("a", "b")
    until(lambda: left(site))
    with ExitStack() as running:
        wanted = meant("a")
        assert making.debs(wanted)
        assert "a" in names(making.tree(wanted, running, print))
        until(lambda: trees(site) > 1) if processors > 2 else time.sleep(0.3)
        assert trees(site) == (2 if processors > 2 else 1)
    until(lambda: trees(site) == 1)
    assert "b" in taken(making, "b")


def test_what_nobody_took_is_removed(site, works):
    making = works("a", "b")
    until(lambda: left(site))
    making.end()
    assert left(site) == []


def test_an_image_that_is_passed_over_holds_nobody_up(site, works):
    making = works("a", "b", "c")
    until(lambda: left(site))
    assert taken(making, "c") in (None, [".", "c"])
    making.end()
    assert left(site) == []


def test_what_is_unchanged_is_not_made_unless_it_must_be(site, works):
    wanted = meant("a")
    known = Record(image="a", build="20261101T000000Z-1", status="published", input_digest=wanted.digest)
    publication.keep_record(site.store, known)
    making = works("a", "b")
    until(lambda: left(site))
    assert taken(making, "a") is None
    assert "b" in taken(making, "b")


def test_a_forced_build_is_made_though_it_is_unchanged(site, works):
    known = Record(image="a", build="20261101T000000Z-1", status="published", input_digest=meant("a").digest)
    publication.keep_record(site.store, known)
    making = works("a", force=True)
    until(lambda: left(site))
    assert "a" in taken(making, "a")


def test_what_only_comes_along_is_not_forced(site, works):
    known = Record(image="a", build="20261101T000000Z-1", status="published", input_digest=meant("a").digest)
    publication.keep_record(site.store, known)
    making = works("a", "b", force=True, named=("b",))
    until(lambda: left(site))
    assert taken(making, "a") is None
    assert "b" in taken(making, "b")


def test_a_layer_on_another_image_is_left_to_its_steps(site, works):
    (site.settings.recipes / "a.yaml").write_text("kind: layer\nfrom: c\n")
    making = works("a", "b")
    until(lambda: left(site))
    assert "b" in taken(making, "b")


def test_a_recipe_that_has_changed_meanwhile_is_made_by_the_steps(site, works):
    making = works("a")
    until(lambda: left(site))
    (site.settings.recipes / "a.yaml").write_text(SCRATCH % "other")
    assert taken(making, "a") is None


def test_a_recipe_that_cannot_be_read_is_left_to_the_steps(site, works):
    (site.settings.recipes / "a.yaml").write_text("kind: nothing\n")
    making = works("a", "unknown", "b")
    until(lambda: left(site))
    assert "b" in taken(making, "b")


def test_images_of_other_commands_and_second_tries_are_the_steps_own(site, works):
    making = works("a")
    until(lambda: left(site))
    assert taken(making, "b") is None
    assert "a" in taken(making, "a")
    assert taken(making, "a") is None


def test_what_the_pool_lacks_is_fetched_by_the_steps(site, works, monkeypatch):
    common = dict.fromkeys(("name", "version", "architecture", "source", "archive", "suite", "path"), "x")
    lock = Lock(packages=(Package(sha256="0" * 64, size=1, **common),))
    wanted = replace(meant("a"), lock=lock)
    monkeypatch.setattr(inputs, "meant", lambda *_: Meant((wanted,)))
    making = works("a")
    assert taken(making, "a") is None
    making.end()
    assert left(site) == []


def test_a_tree_that_fails_fails_where_it_is_waited_for_and_its_output_comes_along(site, works, monkeypatch):
    begun = threading.Event()

    def fail(*_, log, **__):
        begun.set()
        log("said before")
        raise SmokeFailed(1, 1, "")

    monkeypatch.setattr(ahead, "grow", fail)
    making, wanted, said = works("a"), meant("a"), []
    assert begun.wait(SOON)
    assert making.debs(wanted)
    with ExitStack() as running, pytest.raises(SmokeFailed):
        making.tree(wanted, running, said.append)
    assert said == ["said before"]
    until(lambda: left(site) == [])


def test_it_is_told_once_how_long_a_tree_was_in_the_making(site, works, monkeypatch):
    monkeypatch.setattr(ahead, "grow", lambda *_, **__: time.sleep(0.3) or [])
    making = works("a")
    assert making.spent("a", "resolve") < 0.3
    assert making.debs(meant("a"))
    until(lambda: not making._busy.locked())
    assert 0.3 <= making.spent("a", "tree") < SOON
    assert making.spent("a", "tree") == making.spent("b", "tree") == 0


def test_it_begins_before_anybody_else_does(site, works, monkeypatch):
    def grow(*_, **__):
        time.sleep(0.3)
        run(["sleep", "600"])

    monkeypatch.setattr(ahead, "grow", grow)
    began = time.monotonic()
    works("a")
    assert 0.3 <= time.monotonic() - began <= ahead.PATIENCE


def test_an_end_in_the_middle_ends_its_programs_and_clears_away(site, works, monkeypatch):
    running, ended = threading.Event(), []

    def grow(*_, **__):
        running.set()
        try:
            run(["sleep", "600"])
        except ProgramFailed as failure:
            ended.append(failure)
            raise

    monkeypatch.setattr(ahead, "grow", grow)
    making = works("a", "b")
    assert running.wait(SOON)
    began = time.monotonic()
    making.end()
    assert time.monotonic() - began < SOON
    assert len(ended) == 1
    assert left(site) == []


def test_of_two_one_inside_the_other_the_outer_does_the_work(site):
    with ahead.ahead(["a"], Choice()):
        outer = ahead._ahead.get()
        with ahead.ahead(["b"], Choice()):
            assert ahead._ahead.get() is outer
    assert ahead.debs(meant("a")) is None
    assert left(site) == []

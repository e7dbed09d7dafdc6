"""One platform's part of an image: how it becomes an image in the engine, and where that is done."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from flows import dockerfile_build
from flows.builders import image_import
from flows.builders.engine import Engine
from flows.builders.select import Chosen
from flows.config.options import Choice
from flows.config.paths import cache_folder
from flows.image.oci import Image
from flows.inputs.parents import Ground, size_of
from flows.inputs.resolve import Inputs, Meant
from flows.orchestration import outage
from flows.publish.record import Record
from flows.runtime.context import current
from flows.runtime.leftovers import clear_away
from flows.runtime.memory import needed, roomy_folder
from flows.runtime.workdir import note_image, work_folder
from flows.tasks import Packed, assemble, check_closure, fetch, lay_parent, make_tree, pack_tree, signature
from rootfs.layer import compress
from rootfs.process import host


@dataclass(frozen=True)
class Part:
    """What was made for one platform: an image that is in the engine and has passed its tests."""

    wanted: Inputs
    image: Image
    image_id: str
    packed: Packed
    record: Record


@dataclass(frozen=True)
class Bench:
    """Where a run makes its parts: its work folder, a place for trees, the engine and the builder that was chosen.

    `undo` is done when the run ends.
    """

    folder: Path
    place: Path
    engine: Engine
    chosen: Chosen
    run_id: str
    undo: ExitStack

    def watch(self, image: Image) -> str:
        """The id that the engine will have the image by; it goes with the run unless it gets a name."""
        image_id = self.engine.image_id(image)
        if self.engine.inspect(image_id) is None:
            note_image(self.folder, image_id)
            self.undo.callback(
                image_import.discard, self.engine, [image_id]
            )  # which keeps an image that has got a name
        return image_id


def bench(wanted: Meant, choice: Choice, undo: ExitStack) -> Bench:
    """A clean one, on which all parts can be made. Raises MachineError, and what builders and the engine raise."""
    run_id, settings, store = outage.run_id(), current().settings, current().store
    chosen = current().builder(choice.builder, wanted.recipe.builder)
    clear_away(settings.places)
    store.sweep()
    reached = current().engine()
    for each in wanted.parts:
        see_it_runs(each, reached)
    folder = undo.enter_context(work_folder(settings.work, run_id))
    size = sum(needed(each.lock, size_of(store, each.parent) if each.parent else 0) for each in wanted.parts)
    place = undo.enter_context(roomy_folder(settings.memory, size, folder, run_id))
    return Bench(folder, place, reached, chosen, run_id, undo)


def see_it_runs(wanted: Inputs, reached: Engine | None) -> None:
    """See that programs of the image run here where they have to: here, or in an engine here. Raises MachineError.

    What is only unpacked and not tested needs no emulation.
    """
    if why := wanted.recipe.runs_programs:
        host.require_emulation(wanted.recipe.name, wanted.architecture, why)
    elif wanted.recipe.smoke and reached and reached.local:
        host.require_emulation(wanted.recipe.name, wanted.architecture, "its smoke checks have to run")


def make_image(wanted: Inputs, place: Path, way: dockerfile_build.Way, *, offline: bool) -> tuple[Image, Packed]:
    """The image, and the layer that it has of its own, in which every program finds what it needs."""
    ground = lay_parent(wanted.parent, place) if wanted.parent else None
    if make_layers := dockerfile_build.LAYER_MAKERS.get(wanted.recipe.kind):
        packed, ground = make_layers(wanted, place, way, memo=cache_folder() / compress.FOLDER)
    else:
        packed = make_layer(wanted, place, ground, offline=offline)
    check_closure(wanted, packed, offline=offline)
    return assemble(wanted, packed, place / "layout", ground), packed


def make_layer(wanted: Inputs, place: Path, ground: Ground | None, *, offline: bool) -> Packed:
    """From the pool to a layer, with whatever earlier builds have left that saves work."""
    cache = cache_folder()
    with ExitStack() as running:
        debs = fetch(wanted, place, offline=offline)
        if (tarball := wanted.recipe.tarball) and tarball.signature:
            signature(wanted, tarball, debs, offline=offline)
        members = make_tree(wanted, debs, place, running, cache=cache, ground=ground)
        return pack_tree(wanted, members, place, running, memo=cache / compress.FOLDER, ground=ground)

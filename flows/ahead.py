"""What needs no Prefect is done ahead: while the flow begins, and while the image before is packed and tested.

A thread goes through the images of a command. It resolves each, and makes the tree of one that has changed, if the pool
has all its packages: one tree at a time, none before the last one is taken (packed, where that needs all processors),
and none of a layer on another image. The steps of the flow find it done, or wait for it; what goes wrong before a tree
is begun they meet themselves.
"""

from __future__ import annotations

import contextlib
import contextvars
import os
import threading
import uuid
from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

from flows import inputs
from flows.choice import Choice
from flows.early import Stage, Step, Work
from flows.folders import cache_folder
from flows.inputs import Inputs
from flows.memory import needed, roomy_folder
from flows.session import current
from flows.trees import empty_folder, grow
from flows.work import work_folder
from rootfs import pool
from rootfs.dockerfile import DockerfileRecipe
from rootfs.members import Members
from rootfs.parents import parents_of
from rootfs.programs import Programs
from rootfs.recipe import find
from rootfs.run import Log

PATIENCE = 1.0  # seconds
BUSY = 2  # processors that packing needs, and an engine that takes the layer in meanwhile
FULL = {Stage.READY, Stage.TAKEN}


class Ahead:
    """The images of a command, one before the other."""

    def __init__(self, images: Iterable[str], choice: Choice) -> None:
        self._choice, self._works = choice, [Work(image) for image in dict.fromkeys(images)]
        self._change, self._over = threading.Condition(), False
        self._programs, self._busy = Programs(), threading.Lock()

    def start(self) -> None:
        """Begin; returns when the first program runs, or there will be none so soon.

        Python runs one thread at a time: what else is begun would only hold up what others wait for.
        """
        threading.Thread(target=contextvars.copy_context().run, args=(self._run,), daemon=True).start()
        self._programs.busy.wait(PATIENCE)

    def end(self) -> None:
        """End what is being done, and remove what nobody took."""
        with self._change:
            self._over = True
            self._change.notify_all()
        self._programs.end()
        with self._busy:  # which is free while nothing is there that would have to go
            self._drop(self._works)

    def spent(self, image: str, step: Step) -> float:
        """Seconds in which a step of the image has been under way so far; told only once."""
        return next((work.watches[step].told() for work in self._works if work.image == image), 0.0)

    def debs(self, wanted: Inputs) -> Path | None:
        """Where the debs of an image are whose tree is being made; None where none is, and the steps have to."""
        with self._change:
            work = next((work for work in self._works if work.image == wanted.recipe.name), None)
            if work is None:
                return None
            self._drop(self._works[: self._works.index(work)])  # whose steps have come to another end
            self._change.wait_for(lambda: work.stage is not Stage.BEGUN)
            if work.stage in (Stage.GROWING, Stage.READY) and work.wanted == wanted:
                return work.debs
            if work.stage is Stage.WAITING:
                work.stage = Stage.LEFT
            return None

    def tree(self, wanted: Inputs, running: ExitStack, log: Log) -> Members | None:
        """The members of the tree that is being made for these inputs, which is there until `running` is closed.

        None where none is. Raises whatever making it raised.
        """
        with self._change:
            work = next((work for work in self._works if work.wanted == wanted), None)
            if work is None or work.stage not in (Stage.GROWING, Stage.READY):
                return None
            work.said.to(log)
            self._change.wait_for(lambda: work.stage is Stage.READY)
            running.callback(self._to, work, Stage.LEFT)
            running.push(work.undo.pop_all())
            self._to(work, Stage.LEFT if len(os.sched_getaffinity(0)) > BUSY else Stage.TAKEN)
        if work.failure:
            raise work.failure
        return work.members

    def _run(self) -> None:
        """In the thread, which stays until all is over: a program dies with the thread that started it."""
        with self._programs.gathered():
            for work in self._works:
                with contextlib.suppress(Exception):  # whatever it is, the steps meet it too
                    self._prepare(work)
                self._to(work, Stage.LEFT, unless=FULL)
                self._programs.busy.set()
        with self._change:
            self._change.wait_for(lambda: self._over)

    def _prepare(self, work: Work) -> None:
        if parents_of(find(work.image, current().settings.recipes)):
            return  # what it is laid on may be just what is being built
        with work.watches["resolve"]:
            meant = inputs.meant(work.image, self._choice)
        wanted = meant.parts[0]  # whose tree is the first to be made
        if wanted.lock.tarball or isinstance(wanted.recipe, DockerfileRecipe):
            return
        if not self._choice.forces(work.image) and inputs.built(meant):
            return
        with self._change:
            self._change.wait_for(lambda: self._over or all(each.stage not in FULL for each in self._works))
            if work.stage is not Stage.WAITING or self._over:
                return
            work.wanted, work.stage = wanted, Stage.BEGUN
        with self._busy, ExitStack() as undo:
            place = self._place(wanted, undo)
            work.debs = empty_folder(place / "debs")
            if pool.lay_out(wanted.lock.packages, current().store, work.debs):
                return
            self._to(work, Stage.GROWING)
            self._grow(work, wanted, place, undo)

    def _place(self, wanted: Inputs, undo: ExitStack) -> Path:
        """A work folder of its own, which lives as long as the tree."""
        settings, run_id = current().settings, str(uuid.uuid4())
        folder = undo.enter_context(work_folder(settings.work, run_id))
        return undo.enter_context(roomy_folder(settings.memory, needed(wanted.lock), folder, run_id))

    def _grow(self, work: Work, wanted: Inputs, place: Path, undo: ExitStack) -> None:
        try:
            with work.watches["tree"]:
                said, limits = work.said, current().settings.limits
                work.members = grow(wanted, work.debs, place, undo, cache=cache_folder(), log=said, limits=limits)
            work.undo = undo.pop_all()
        except Exception as failure:  # raised again where the tree is waited for
            work.failure = failure
        self._to(work, Stage.READY)

    def _to(self, work: Work, stage: Stage, *, unless: Collection[Stage] = ()) -> None:
        with self._change:
            if work.stage not in unless:
                work.stage = stage
            self._change.notify_all()

    def _drop(self, works: Iterable[Work]) -> None:
        """Remove trees that nobody will take."""
        for work in works:
            if work.stage is Stage.READY:
                work.undo.close()
                self._to(work, Stage.LEFT)


_ahead: contextvars.ContextVar[Ahead | None] = contextvars.ContextVar("ahead", default=None)


@contextlib.contextmanager
def ahead(images: Iterable[str], choice: Choice) -> Iterator[None]:
    """While the block lasts, work ahead on these images, unless somebody does so already."""
    if _ahead.get():
        yield
        return
    token = _ahead.set(works := Ahead(images, choice))
    try:
        works.start()
        yield
    finally:
        _ahead.reset(token)
        works.end()


def debs(wanted: Inputs) -> Path | None:
    """As `Ahead.debs`, of the command that is running."""
    works = _ahead.get()
    return works.debs(wanted) if works else None


def spent(image: str, step: Step) -> float:
    """As `Ahead.spent`, of the command that is running."""
    works = _ahead.get()
    return works.spent(image, step) if works else 0.0


def tree(wanted: Inputs, running: ExitStack, log: Log) -> Members | None:
    """As `Ahead.tree`, of the command that is running."""
    works = _ahead.get()
    return works.tree(wanted, running, log) if works else None

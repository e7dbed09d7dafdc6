"""While a tree is made, a program of ours compresses pieces of its layer: most are just what packages bring.

A saving, so what goes wrong with it is no error: whoever packs finds fewer pieces done, and the same bytes come out.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from pathlib import Path
from threading import Thread

from rootfs.common import Packaged
from rootfs.engines import Job, own
from rootfs.engines.plain import Plain
from rootfs.errors import BaseforgeError
from rootfs.foresee import Prospect
from rootfs.programs import Programs
from rootfs.run import run
from rootfs.slim import recipe_lines


@contextlib.contextmanager
def foreseeing(
    job: Job,
    recipe: Packaged,
    debs: Iterable[Plain],
    others: Iterable[Future[Plain]],
    folders: int,
    tar: Path | None = None,
) -> Iterator[None]:
    """While the block lasts, compress pieces of the job's layer into its `memo`, if it has one.

    It will be made of `debs` and the `others`; what stage one makes will be in the file `tar`, if that is said.
    `folders` is the time of folders, in seconds since 1970.
    """
    if job.memo is None:
        yield
        return
    programs, lines = Programs(), tuple(recipe_lines(recipe))

    def work(memo: Path) -> None:
        with programs.gathered(), contextlib.suppress(BaseforgeError):
            files = tuple(each.path for each in (*debs, *(other.result() for other in others)))
            prospect = Prospect(memo, files, lines, folders, job.epoch, tar)
            run(own.command("rootfs.foresee"), env=own.ENVIRONMENT, stdin=prospect.dumped())

    thread = Thread(target=work, args=(job.memo,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        programs.end()
        thread.join()

"""Several images and one builder."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from flows.builder_tasks import with_builder
from flows.builders.lifecycle import AcquiredBuilder, Lease, Leases
from flows.builders.select import SelectedBuilder
from rootfs.recipe.builder import BuilderPlan
from tests.support.contexts import context

IMAGES = 4


@pytest.mark.parametrize(("jobs", "most"), [(1, 1), (2, 2), (0, IMAGES)])
def test_as_many_images_use_a_builder_at_once_as_the_setting_says(tmp_path: Path, jobs: int, most: int) -> None:
    chosen = SelectedBuilder(BuilderPlan(name="own", lifecycle="existing"), "remote", "a test")
    leases = Leases("run", held={chosen.key: Lease(AcquiredBuilder("own", "remote", chosen.plan), "", "")})
    ctx = replace(context(tmp_path, builder_jobs=jobs), builders=leases)
    lock, counts, now = threading.Lock(), list[int](), [0]

    def work(_: Lease) -> None:
        with lock:
            now[0] += 1
            counts.append(now[0])
        until = time.monotonic() + (0.05 if jobs else 5)
        while time.monotonic() < until and max(counts) < most:
            time.sleep(0.01)
        time.sleep(0.02)
        with lock:
            now[0] -= 1

    with ThreadPoolExecutor(IMAGES) as threads:
        list(threads.map(lambda _: with_builder(ctx, chosen, work), range(IMAGES)))
    assert max(counts) == most

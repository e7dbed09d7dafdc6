"""Build several images at once, base images first, in the threads of a Prefect task runner."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from graphlib import TopologicalSorter
from queue import SimpleQueue

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture
from prefect.task_runners import ThreadPoolTaskRunner

from flows.build import attempt
from flows.builder_tasks import leasing
from flows.config.options import BuildOptions
from flows.runtime import signals
from flows.runtime.context import Context
from flows.runtime.workdir import work_folder
from rootfs.recipe.base_images import base_images_by_image
from rootfs.system.stop import stop_all

Attempt = Callable[[Context, str, BuildOptions], object]  # builds an image and notes the result


def build_images(ctx: Context, images: Sequence[str], options: BuildOptions, attempt: Attempt = attempt) -> None:
    """Build the images that the command has no result of yet, and note each result. A failure stops no other image.

    As many are built at once as the settings say. An image begins when its base images have ended. A builder is
    acquired once for all of them, under the id of the context's run.
    """
    base_images = base_images_by_image(images, *ctx.settings.recipes)
    waiting = [image for image in base_images if image not in ctx.results]
    if len(waiting) == 1:  # its own run acquires the builder
        attempt(ctx, waiting[0], options)
        return
    with work_folder(ctx.settings.work, ctx.run_id), leasing(ctx) as leased:
        if (workers := min(ctx.settings.images_at_once, len(waiting))) > 1:
            order = {image: [base for base in base_images[image] if base in waiting] for image in waiting}
            _build_at_once(TopologicalSorter(order), lambda image: attempt(leased, image, options), workers)
        else:
            for image in waiting:
                attempt(leased, image, options)


def _build_at_once(order: TopologicalSorter[str], build: Callable[[str], object], workers: int) -> None:
    """Build them in so many threads. An interrupt, which the main thread gets, stops them all and waits for them."""
    order.prepare()
    ended: SimpleQueue[str] = SimpleQueue()
    running: dict[str, PrefectFuture[None]] = {}
    with ThreadPoolTaskRunner[None](max_workers=workers) as runner:
        try:
            while order.is_active():
                for image in order.get_ready():
                    running[image] = _submit(runner, image, build, ended)
                image = ended.get()
                running.pop(image).result()  # raises an interrupt, which is no result
                order.done(image)
        except BaseException as error:
            if not isinstance(error, Exception):
                stop_all()
            raise


def _submit(
    runner: ThreadPoolTaskRunner[None], image: str, build: Callable[[str], object], ended: SimpleQueue[str]
) -> PrefectFuture[None]:
    """Begin the image's build as soon as a thread is free; its name is put into `ended` when it has ended."""

    def work() -> None:
        build(image)

    future = runner.submit(_build_image, {"image": image, "work": work})
    future.add_done_callback(lambda _: ended.put(image))
    return future


@task(name="image", task_run_name="{image}", cache_policy=NO_CACHE, persist_result=False)
def _build_image(image: str, work: Callable[[], None]) -> None:  # noqa: ARG001 - the name of the task's run
    """Build one image."""
    signals.raise_if_interrupted()
    work()

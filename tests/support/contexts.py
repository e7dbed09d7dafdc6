"""Build contexts in a test's own folder."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from flows.config.options import BuildOptions
from flows.config.settings import Settings
from flows.runtime.context import BuildContext, Context, store_of
from flows.runtime.progress import Progress


def context(folder: Path, progress: Progress | None = None, **settings: Any) -> Context:
    """A context whose store and cache are in the folder; `settings` are those of `baseforge.toml`."""
    site = Settings.model_validate({"store": str(folder / "store"), **settings})
    return Context(site, store_of(site), folder / "cache", progress or Progress())


def build_context(ctx: Context, image: str = "it", **options: Any) -> BuildContext:
    """A context for a build, whose log is in memory alone; it shares what the given context has."""
    return BuildContext(
        settings=ctx.settings,
        store=ctx.store,
        cache=ctx.cache,
        progress=ctx.progress,
        run_id="run",
        builds=ctx.builds,
        results=ctx.results,
        checks=ctx.checks,
        opened=ctx.opened,
        image=image,
        build="20261101T000000Z-00000000",
        options=BuildOptions(**options),
        log_file=ctx.cache / f"{image}.log",
        log_stream=io.StringIO(),
    )

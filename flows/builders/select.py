"""Select the builder that an image is imported through, and say why."""

from __future__ import annotations

import os
from dataclasses import dataclass

from flows.builders.lifecycle import existing_driver
from flows.builders.listing import ENGINE, selected
from flows.config.settings import Settings
from rootfs.recipe.builder import BuilderPlan, existing_builder


@dataclass(frozen=True)
class SelectedBuilder:
    """A builder's plan, and why it was chosen."""

    plan: BuilderPlan
    driver: str
    why: str

    @property
    def title(self) -> str:
        """The name to show: the plan's, or else the driver's."""
        return self.plan.name or self.driver

    @property
    def key(self) -> str:
        """Equal for plans that can share one builder."""
        return self.plan.model_dump_json()


def select_builder(option: str, recipe: BuilderPlan | None, settings: Settings) -> SelectedBuilder:
    """The first of `--builder`, BUILDX_BUILDER, the recipe, the setting `builder` and the selected builder.

    Without any of these it is the engine itself. A selected builder counts as for `docker buildx build`, not as for
    `docker build`. A name is one of the setting `builders`, or else one that buildx knows. Raises InputError,
    OtherContext, BuildxMissing and BuildxFailed.
    """
    candidates = [
        (existing_builder(option) if option else None, "--builder"),
        (existing_builder(variable) if (variable := os.environ.get("BUILDX_BUILDER")) else None, "BUILDX_BUILDER"),
        (recipe, "the recipe"),
        (existing_builder(settings.builder) if settings.builder else None, "the setting `builder`"),
    ]
    plan, why = next(((plan, why) for plan, why in candidates if plan), (None, ""))
    if plan is None:
        return _selected()
    if plan.lifecycle == "existing" and plan.name in settings.builders:
        plan = settings.builders[plan.name]
    driver = existing_driver(plan.name) if plan.lifecycle == "existing" else plan.driver
    return SelectedBuilder(plan, driver, why)


def _selected() -> SelectedBuilder:
    name, driver = selected()
    if driver == ENGINE:
        return SelectedBuilder(existing_builder(name), driver, "default: the engine of the current docker context")
    return SelectedBuilder(existing_builder(name), driver, "selected with `builder use`")

"""What there is to say of a build that went well: of a part, and of them all."""

from __future__ import annotations

from collections.abc import Sequence

from flows.image import oci
from flows.image.index import Index
from flows.inputs.resolve import Inputs, Meant
from flows.publish.record import Record, Smoke, UsedBuilder
from flows.runtime.context import current_run
from flows.smoke.run import Verdict
from flows.tasks import Packed
from rootfs.lock.lockfile import differing_versions
from rootfs.recipe.base import Recipe


def example(recipe: Recipe) -> tuple[str, ...] | None:
    """A command that shows that the image runs: a check's, or its own (empty); None where it has nothing to run."""
    runs = (check.run for check in recipe.smoke if not check.brings)
    return next(runs, () if recipe.image.cmd or recipe.image.entrypoint else None)


def describe(wanted: Inputs, made: oci.Image, packed: Packed, used: UsedBuilder, verdict: Verdict) -> Record:
    """The record of a build, but for how long it took and where it is published."""
    return Record(
        image=wanted.recipe.name,
        build=current_run().build,
        status="published",
        platforms=(wanted.platform,),
        input_digest=wanted.digest,
        recipe_digest=wanted.recipe_digest,
        lock=wanted.lock,
        lock_digest=wanted.lock.digest,
        tools=wanted.tools,
        parent=wanted.parent,
        bases=wanted.bases,
        manifest_digest=made.manifest_digest,
        config_digest=made.config_digest,
        layer_digest=packed.layer.digest,
        diff_id=packed.layer.diff_id,
        size=made.size,
        unpacked=packed.layer.unpacked,
        packages=len(packed.packages),
        distribution=packed.distribution,
        builder=used,
        smoke=Smoke(passed=verdict.passed, failed=verdict.failed),
        example=example(wanted.recipe),
    )


def describe_all(wanted: Meant, made: Index, parts: Sequence[Record]) -> Record:
    """The record of an image for several platforms, from those of its parts."""
    locks = {each.platforms[0]: each.lock for each in parts}
    all_of = Record(image=made.name, status="published", parts=tuple(parts))
    same = ("build", "recipe_digest", "tools", "packages", "distribution", "builder", "example")
    checks = [each.smoke for each in parts if each.smoke]
    return all_of.model_copy(
        update={
            **{name: getattr(all_of.own, name) for name in same},
            "platforms": tuple(locks),
            "input_digest": wanted.digest,
            "manifest_digest": made.manifest_digest,
            "size": made.size,
            "smoke": Smoke(passed=sum(each.passed for each in checks), failed=sum(each.failed for each in checks)),
            "versions": differing_versions(locks),
        }
    )

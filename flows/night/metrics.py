"""Figures for Prometheus: a file for node_exporter's textfile collector, and the text of `/metrics`.

The text is OpenMetrics and, as it has gauges alone, also Prometheus' older text format, which node_exporter reads.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.metadata import version

from flows.config.settings import Settings
from flows.night.figures import Build, Figures, ImageFigures, read_figures
from flows.store.store import Store
from rootfs.errors import BaseforgeError
from rootfs.recipe.recipe import image_names
from rootfs.system import atomic_file

CONTENT_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"
STATUSES = ("ok", "failed", "held", "paused", "damaged")

Sample = tuple[Mapping[str, str], float]
Metric = tuple[str, str, Iterator[Sample]]  # name, what it is, samples


def write_metrics(settings: Settings, store: Store, say: Callable[[str], None], *, pause: float = 0) -> None:
    """Write the file that `metrics_file` names, atomically, unless it was written less than `pause` seconds ago.

    What goes wrong is said, and is no error.
    """
    if settings.metrics_file is None:
        return
    try:
        if pause and time.time() - settings.metrics_file.stat().st_mtime < pause:
            return
    except OSError:
        pass
    try:
        text = render(read_figures(store, image_names(*settings.recipes)))
        atomic_file.write_file(settings.metrics_file, text.encode(), mode=0o644)
    except (BaseforgeError, OSError) as problem:
        say(f"warning: {settings.metrics_file} is not written: {problem}")


def render(figures: Figures, *, ages: bool = False) -> str:
    """The figures as text. `ages` are seconds until now: right in an answer, but not in a file that is read later."""
    lines = []
    for name, text, samples in (*_of_night(figures), *_of_images(figures, ages=ages)):
        lines += [f"# HELP baseforge_{name} {text}", f"# TYPE baseforge_{name} gauge"]
        lines += [f"baseforge_{name}{_labels(labels)} {value:.15g}" for labels, value in samples]
    return "\n".join([*lines, "# EOF"]) + "\n"


def _of_night(figures: Figures) -> Iterator[Metric]:
    yield "info", "The version of Baseforge.", iter([({"version": version("baseforge")}, 1)])
    if figures.night is None or (times := figures.night_times) is None:
        return
    started, ended = times
    yield "night_start_timestamp_seconds", "When the last night started.", iter([({}, started)])
    yield "night_end_timestamp_seconds", "When the last night ended.", iter([({}, ended)])
    yield "night_duration_seconds", "How long the last night took.", iter([({}, max(0.0, ended - started))])
    counts: Iterator[Sample] = (({"status": word}, count) for word, count in sorted(figures.night.summary.items()))
    yield "night_images", "The number of images of the last night, by status.", counts


def _of_images(figures: Figures, *, ages: bool) -> Iterator[Metric]:
    images = figures.images
    status: Iterator[Sample] = (
        ({"image": each.image, "status": word}, float(each.status == word)) for each in images for word in STATUSES
    )
    yield "image_status", "1 for the status of the image in the last night that had it, else 0.", status
    yield "image_info", "The newest build of the image.", _infos(images)
    checked, built = dict(_checked(images)), dict(_built(images))
    yield "image_checked_timestamp_seconds", "When a night or a build last looked at the image.", _each(checked)
    yield "image_built_timestamp_seconds", "When the newest build of the image was made.", _each(built)
    if ages:
        for name, what, times in (("check", "last check", checked), ("build", "newest build", built)):
            age = {image: max(0.0, figures.at - time) for image, time in times.items()}
            yield f"image_{name}_age_seconds", f"Seconds since the {what} of the image.", _each(age)
    for name, text, value in VALUES:
        yield name, text, _each({each.image: value(each.build) for each in images if each.build})


VALUES: tuple[tuple[str, str, Callable[[Build], float]], ...] = (
    ("image_build_duration_seconds", "How long the newest build took.", lambda build: sum(build.seconds.values())),
    ("image_size_bytes", "The compressed size of the image.", lambda build: build.size),
    ("image_unpacked_bytes", "The size of the image's unpacked layers.", lambda build: build.unpacked),
    ("image_packages", "The number of packages in the image.", lambda build: build.packages),
)


def _infos(images: Iterable[ImageFigures]) -> Iterator[Sample]:
    for each in images:
        if build := each.build:
            labels = {"build": build.build, "digest": build.manifest_digest, "distribution": build.distribution}
            yield {"image": each.image, **labels, "platforms": ",".join(build.platforms)}, 1


def _checked(images: Iterable[ImageFigures]) -> Iterator[tuple[str, float]]:
    return ((each.image, each.checked) for each in images if each.checked is not None)


def _built(images: Iterable[ImageFigures]) -> Iterator[tuple[str, float]]:
    times = ((each.image, each.build.built if each.build else None) for each in images)
    return ((image, time) for image, time in times if time is not None)


def _each(values: Mapping[str, float]) -> Iterator[Sample]:
    return (({"image": image}, value) for image, value in values.items())


def _labels(labels: Mapping[str, str]) -> str:
    """Labels as they are written: backslashes, quotes and line ends are escaped."""
    pairs = (f'{name}="{_escaped(value)}"' for name, value in labels.items())
    return "{" + ",".join(pairs) + "}" if labels else ""


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")

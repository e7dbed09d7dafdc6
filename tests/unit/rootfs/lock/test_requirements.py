"""What cannot work is refused before a build begins, with its place in the recipe."""

import pytest

from rootfs.bootstrap.settings_check import check_locale, zone_links
from rootfs.errors import InputError, RecipeInvalid
from rootfs.lock.requirements import check_requirements
from rootfs.recipe.recipe import read_recipe

DEBIAN = "kind: debootstrap\nsuite: trixie\n"


@pytest.fixture
def check(tmp_path):
    def run(text, *packages, base=DEBIAN):
        (tmp_path / "base.yaml").write_text(base)
        (tmp_path / "r.yaml").write_text(text)
        lineage = [read_recipe(tmp_path / f"{name}.yaml") for name in ("base", "r")]
        check_requirements(lineage, lambda: packages, tmp_path / "r.yaml")

    return run


REFUSED = {
    "timezone: Europe/Berlin": "3:11: time zone 'Europe/Berlin' needs the package `tzdata`: add it to `include`",
    "locale: de_DE.UTF-8": "3:9: locale 'de_DE.UTF-8' needs the package `locales` or `locales-all`: add it to"
    " `include`",
    "slim: [docs]\nfiles: [{path: /usr/share/doc/x/y, content: x}]": "4:16: `slim` or `paths` leaves /usr/share/doc/x/y"
    " out: name it in `paths: {include: […]}`",
}


@pytest.mark.parametrize(("line", "error"), REFUSED.items())
def test_keys_that_cannot_work_with_the_packages_or_the_filters(check, tmp_path, line, error):
    with pytest.raises(RecipeInvalid) as refused:
        check(f"{DEBIAN}{line}\n", "apt")
    assert str(refused.value) == f"{tmp_path}/r.yaml:{error}"


WORKS = [
    ("timezone: UTC", ()),
    ("locale: C.UTF-8", ()),
    ("timezone: Europe/Berlin", ("tzdata",)),
    ("locale: de_DE.UTF-8", ("locales-all",)),
    ("slim: [docs]\npaths: {include: [/usr/share/doc/x/*]}\nfiles: [{path: /usr/share/doc/x/y, content: x}]", ()),
]


@pytest.mark.parametrize(("line", "packages"), WORKS)
def test_keys_that_work(check, line, packages):
    check(f"{DEBIAN}{line}\n", *packages)


@pytest.mark.parametrize("line", ["timezone: Europe/Berlin", "locale: de_DE.UTF-8"])
def test_filters_of_base_images_count(check, line):
    base = f"{DEBIAN}paths: {{exclude: [/usr/share/zoneinfo/*, /usr/lib/locale/*]}}\n"
    with pytest.raises(RecipeInvalid, match="`paths` leaves /usr/"):
        check(f"kind: layer\nfrom: base\n{line}\n", "tzdata", "locales", base=base)


def test_a_locale_that_the_package_lacks_is_refused_with_the_nearest():
    supported = "de_DE.UTF-8 UTF-8\nfr_FR.UTF-8 UTF-8\n"
    check_locale("de_DE.UTF-8", supported)
    with pytest.raises(InputError) as refused:
        check_locale("de_DF.UTF-8", supported)
    assert str(refused.value).splitlines() == [
        "locale 'de_DF.UTF-8': the package `locales` does not have it",
        "  Did you mean 'de_DE.UTF-8'? Use C.UTF-8, or a locale that the package has.",
    ]


def test_other_names_of_zones_are_read_from_the_tz_databases_source():
    text = "# version 2026f\nR A 1916 o - Jun 14 23s 1 S\nZ Africa/Abidjan -0:16:8 - L\nL America/New_York US/Eastern\n"
    assert zone_links(text) == {"US/Eastern": "America/New_York"}

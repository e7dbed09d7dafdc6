"""The ingredients of scratch recipes, one by one."""

import tarfile

import pytest

from rootfs.errors import InputError
from tests.support.debian import Deb

ZONES = Deb(
    "tzdata",
    files={
        "usr/share/zoneinfo/Europe/Berlin": "TZif",
        "usr/share/zoneinfo/tzdata.zi": "L Europe/Berlin US/Pacific\n",
        "usr/share/doc/tzdata/copyright": "free",
    },
    links={"usr/share/zoneinfo/Europe/Paris": "Berlin", "usr/share/zoneinfo/Poland": "Europe/Paris"},
)
BASE = Deb("base-files", files={"usr/lib/os-release": "ID=it\n"}, links={"etc/os-release": "../usr/lib/os-release"})
LEGACY = Deb("tzdata-legacy", links={"usr/share/zoneinfo/Asia/Calcutta": "../Europe/Paris"})
NETBASE = Deb("netbase", files={f"etc/{name}": name for name in ("ethertypes", "protocols", "rpc", "services")})
MEDIA_TYPES = Deb("media-types", files={"etc/mime.types": "text/html html"})
LOCALES = Deb(
    "locales-all",
    files={"usr/lib/locale/de_DE.utf8/LC_TIME": "Zeit", "usr/lib/locale/de_AT.utf8/LC_NAME": "Name"},
    hard={"usr/lib/locale/de_AT.utf8/LC_TIME": "usr/lib/locale/de_DE.utf8/LC_TIME"},
)
LIBC_BIN = Deb("libc-bin", files={"usr/lib/locale/C.utf8/LC_CTYPE": "C", "usr/bin/locale": "x"})


def test_users(make):
    made = make("ingredients: [users]\n")
    users = [line.split(":") for line in made.contents["etc/passwd"].decode().splitlines()]
    assert [(user[0], user[2], user[3], user[5]) for user in users] == [
        ("root", "0", "0", "/root"),
        ("nobody", "65534", "65534", "/nonexistent"),
        ("nonroot", "65532", "65532", "/home/nonroot"),
    ]
    groups = {line.split(":")[0]: line.split(":")[2] for line in made.contents["etc/group"].decode().splitlines()}
    assert groups == {"root": "0", "tty": "5", "staff": "50", "nobody": "65534", "nonroot": "65532"}
    home = made["home/nonroot"]
    assert (home.mode, home.uid, home.gid, made["root"].mode) == (0o700, 65532, 65532, 0o700)


def test_tmp(make):
    made = make("ingredients: [tmp]\n")
    folders = {"tmp": 0o1777, "var/tmp": 0o1777, "run": 0o755, "run/lock": 0o1777}
    assert {path: made[path].mode for path in folders if made[path].is_folder} == folders
    assert (made.links["var/run"], made.links["var/lock"]) == ("/run", "/run/lock")


def test_nsswitch_comes_with_the_files_that_it_names(make):
    made = make("suite: trixie\ningredients: [nsswitch, mime-types]\n", NETBASE, MEDIA_TYPES)
    assert b"hosts:     files dns\n" in made.contents["etc/nsswitch.conf"]
    assert {path for path in made.files if path.startswith("etc/")} == {
        "etc/nsswitch.conf",
        *NETBASE.files,
        *MEDIA_TYPES.files,
    }


def test_os_release(make):
    made = make("suite: trixie\ningredients: [os-release]\n", BASE)
    assert made.contents["usr/lib/os-release"] == b"ID=it\n"
    assert made.links["etc/os-release"] == "../usr/lib/os-release"


def test_zones(make):
    made = make("suite: trixie\ningredients: [zones]\n", ZONES)
    assert {path for path in made.files if "zoneinfo" in path} == {*ZONES.files, *ZONES.links} - {
        "usr/share/doc/tzdata/copyright"
    }
    assert "usr/share/doc/tzdata/copyright" in made.files


def test_zones_that_are_packaged_apart_come_where_the_suite_has_them(make):
    made = make("suite: trixie\ningredients: [zones]\n", ZONES, LEGACY)
    assert made.links["usr/share/zoneinfo/Asia/Calcutta"] == "../Europe/Paris"
    assert made.files > {"usr/share/zoneinfo/Europe/Berlin"}


def test_a_time_zone_may_be_in_the_package_of_legacy_zones(make):
    made = make("suite: trixie\ntimezone: Asia/Calcutta\nfiles: [{path: /x, content: x}]\n", ZONES, LEGACY)
    assert made.links["etc/localtime"] == "/usr/share/zoneinfo/Asia/Calcutta"
    assert made.contents["usr/share/zoneinfo/Europe/Berlin"] == b"TZif"


def test_a_time_zone_that_is_a_link_comes_with_what_it_leads_to(make):
    made = make("suite: trixie\ntimezone: Poland\nfiles: [{path: /x, content: x}]\n", ZONES)
    assert made.links["etc/localtime"] == "/usr/share/zoneinfo/Poland"
    assert made.contents["etc/timezone"] == b"Poland\n"
    zones = {path.removeprefix("usr/share/zoneinfo/") for path in made.files if "zoneinfo" in path}
    assert zones == {"Poland", "Europe/Paris", "Europe/Berlin"}


@pytest.mark.parametrize(
    ("name", "said"),
    {
        "Asia/Tokyo": "the package tzdata of this suite has no time zone 'Asia/Tokyo'\n  Write a name",
        "Europe/Parish": "there is no time zone 'Europe/Parish'. Did you mean 'Europe/Paris'?",
        "US/Pacific": "time zone 'US/Pacific' is in the package tzdata-legacy, which the image does not have\n"
        "  Add `tzdata-legacy` to the packages, or write 'Europe/Berlin', which is the same.",
    }.items(),
)
def test_a_time_zone_that_the_image_lacks_is_refused_before_anything_is_made(make, name, said):
    text = f"suite: trixie\ntimezone: {name}\nbuild: [['false']]\nfiles: [{{path: /x, content: x}}]\n"
    with pytest.raises(InputError) as refused:
        make(text, ZONES)
    assert said in str(refused.value)


def test_a_time_zone_of_the_package_for_legacy_ones(make):
    files = {"usr/share/zoneinfo/US/Pacific": "TZif2", "usr/share/doc/tzdata-legacy/copyright": "free"}
    text = "suite: trixie\npackages: [tzdata-legacy]\ntimezone: US/Pacific\n"
    made = make(text, ZONES, Deb("tzdata-legacy", files=files))
    assert made.links["etc/localtime"] == "/usr/share/zoneinfo/US/Pacific"


def test_utc_needs_no_package(make):
    assert "etc/localtime" not in make("timezone: UTC\nfiles: [{path: /x, content: x}]\n").files


def test_locales(make):
    made = make("suite: trixie\nlocale: C.UTF-8\nfiles: [{path: /x, content: x}]\n", LIBC_BIN)
    assert made.contents["usr/lib/locale/C.utf8/LC_CTYPE"] == b"C"
    assert "usr/bin/locale" not in made.files


@pytest.mark.parametrize("name", ["de_AT", "de_DE"])
def test_a_locale_whose_files_are_anothers_too_is_whole(make, name):
    made = make(f"suite: trixie\nlocale: {name}.UTF-8\nfiles: [{{path: /x, content: x}}]\n", LOCALES)
    path = f"usr/lib/locale/{name}.utf8/LC_TIME"
    assert (made.contents[path], made[path].kind) == (b"Zeit", tarfile.REGTYPE)
    assert {each.split("/")[3] for each in made.files if "locale/" in each} == {f"{name}.utf8"}


def test_a_locale_that_nobody_has(make):
    with pytest.raises(InputError, match="xx_XX"):
        make("suite: trixie\nlocale: xx_XX.UTF-8\nfiles: [{path: /x, content: x}]\n", LOCALES)


ACCOUNTS = """
ingredients: [users]
groups: [{name: staff2, gid: 900}]
users: [{name: app, uid: 1000, groups: [staff2], home: /srv/app}]
"""


def test_the_recipe_s_users_are_added_at_the_end(make):
    made = make(ACCOUNTS)
    lines = made.contents["etc/passwd"].decode().splitlines()
    assert lines[-1].startswith("app:x:1000:1000:")
    assert "staff2:x:900:app\n" in made.contents["etc/group"].decode()
    assert (made["srv/app"].uid, made["srv/app"].gid, made["srv/app"].mode) == (1000, 1000, 0o700)


def test_a_user_whose_number_is_taken_is_refused(make):
    with pytest.raises(InputError, match="number 65532"):
        make("ingredients: [users]\nusers: [{name: app, uid: 65532}]\n")

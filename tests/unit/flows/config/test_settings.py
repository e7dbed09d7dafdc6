"""Settings: sources, precedence, and errors."""

import errno
import json
import os
from pathlib import Path

import pytest

from flows.config import settings
from flows.config.settings import load, misspelt_variables, origins
from flows.config.site_folders import SHELF, find_site
from rootfs.errors import InputError
from rootfs.recipe.builder import BuilderPlan

NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to another user")


@pytest.fixture(autouse=True)
def site(tmp_path, monkeypatch):
    """An empty site as the current folder, and no settings in the environment."""
    for name in settings.Settings.model_fields:
        monkeypatch.delenv(f"BASEFORGE_{name.upper()}", raising=False)
    monkeypatch.setenv("BASEFORGE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SUDO_UID", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_without_anything_the_shelf_and_the_users_data_folder_are_used(site):
    found = load()
    assert (found.recipes, found.store) == ((SHELF,), str(site / "home/store"))
    assert (SHELF / "noble.yaml").is_file()


def test_the_file_stands_beside_the_recipes_and_the_environment_comes_before_it(site, monkeypatch):
    (site / "recipes").mkdir()
    (site / "baseforge.toml").write_text(
        'store = "s3://b/p"\nregistry = "r:5000"\n[mirrors]\n"http://a" = "http://m"\n'
    )
    monkeypatch.setenv("BASEFORGE_REGISTRY", "other")
    found = load()
    assert (found.recipes, found.store, found.registry) == ((Path("recipes"),), "s3://b/p", "other")
    assert found.site.mirror("http://a/x") == "http://m/x"
    where = origins(find_site())
    assert (where["store"], where["registry"], where["work"]) == (
        str(site / "baseforge.toml"),
        "BASEFORGE_REGISTRY",
        "default",
    )


def test_a_folder_of_recipes_can_be_named(site, monkeypatch):
    (site / "baseforge.toml").write_text('local_name = "here"\n')
    (site / "mine").mkdir()
    assert load([site / "mine"]).local_name == "here"
    monkeypatch.setenv("BASEFORGE_RECIPES", str(site / "mine"))
    assert load().recipes == (site / "mine",)


def test_settings_without_recipes_beside_them_count(site):
    (site / "baseforge.toml").write_text('local_name = "here"\n')
    assert (load().local_name, load().recipes) == ("here", (SHELF,))


@pytest.mark.parametrize("form", ['["mine", "shelf"]', '"mine:shelf"'])
def test_settings_name_several_folders_of_recipes_and_the_shelf(site, monkeypatch, form):
    (site / "mine").mkdir()
    (site / "baseforge.toml").write_text(f"recipes = {form}\n")
    assert load().recipes == (Path("mine"), SHELF)
    assert origins(find_site())["recipes"] == str(site / "baseforge.toml")
    (site / "shelf").mkdir()
    assert load().recipes == (Path("mine"), Path("shelf")), "a folder of this name"
    (site / "below").mkdir()
    monkeypatch.chdir(site / "below")
    monkeypatch.setenv("BASEFORGE_FOLDER", str(site))  # of a flow run of `baseforge serve`
    assert load().recipes == (site / "mine", site / "shelf")


def test_options_and_the_variable_name_several_folders(site, monkeypatch):
    for name in ("one", "two"):
        (site / name).mkdir()
    assert load([Path("one"), Path("shelf"), Path("one")]).recipes == (Path("one"), SHELF), "each once"
    monkeypatch.setenv("BASEFORGE_RECIPES", "one:two")
    assert load().recipes == (Path("one"), Path("two"))
    assert origins(find_site())["recipes"] == "BASEFORGE_RECIPES"
    assert origins(find_site([Path("one")]))["recipes"] == "--recipes"


def test_a_folder_of_recipes_that_is_not_there_is_refused_with_what_names_it(site, monkeypatch):
    (site / "baseforge.toml").write_text('parallel = 1\nrecipes = ["/nope"]\n')
    refused = []
    for option in (None, [Path("/nope")]):
        with pytest.raises(InputError, match="there is no folder of recipes /nope\n") as error:
            load(option)
        refused.append(error.value.where)
    monkeypatch.setenv("BASEFORGE_RECIPES", "/nope")
    with pytest.raises(InputError) as error:
        load()
    assert [*refused, error.value.where] == [f"{site}/baseforge.toml:2:1", "--recipes", "BASEFORGE_RECIPES"]


@pytest.mark.parametrize("zone", ["posix/Europe/Berlin", "right/UTC", "posixrules", "localtime", ""])
def test_a_time_zone_that_schedules_refuse_is_refused_when_settings_are_read(site, zone):
    (site / "baseforge.toml").write_text(f'timezone = "{zone}"\n')
    with pytest.raises(InputError, match=r"baseforge.toml:1:1: timezone: there is no time zone"):
        load()


WRONG = {
    'stor = "x"': ("baseforge.toml:1:1", "unknown setting 'stor'", "'store'"),
    '\nregistry_insecure = "perhaps"': ("baseforge.toml:2:1", "registry_insecure", ""),
    "mirrors = 3": ("baseforge.toml:1:1", "mirrors", ""),
    'nightly_cron = "hello"': ("baseforge.toml:1:1", "nightly_cron: 'hello' is no schedule", "`0 2 * * *`"),
    'nightly_cron = "61 * * * *"': ("baseforge.toml:1:1", "'61 * * * *' is no schedule", "minute"),
    'nightly_cron = "0 2 30 2 *"': ("baseforge.toml:1:1", "'0 2 30 2 *' is no schedule", "day-of-month"),
    'registry = "https://registry.example/base"': ("baseforge.toml:1:1", "registry", "without https://"),
    'registry = "registry.example/Base"': ("baseforge.toml:1:1", "registry", "lower case"),
    "a b": ("baseforge.toml", "line 1", ""),
}


@pytest.mark.parametrize("text", WRONG)
def test_a_wrong_setting_is_reported_with_its_place(site, text):
    (site / "recipes").mkdir()
    (site / "baseforge.toml").write_text(text + "\n")
    with pytest.raises(InputError) as caught:
        load()
    where, what, hint = WRONG[text]
    assert (where in str(caught.value), what in str(caught.value), hint in str(caught.value)) == (True, True, True)


SECRET = "http://us er:sec'ret@h.example/"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MIRRORS", json.dumps({SECRET: "http://m"})),
        ("MIRRORS", json.dumps({"http://m": SECRET})),
        ("SNAPSHOTS", json.dumps({"http://m": SECRET.replace(" ", "")})),
        ("S3_ENDPOINT", SECRET),
        ("STORE", SECRET),
        ("BUILDERS", json.dumps({"a": {"lifecycle": "persistent", "driver": "remote", "endpoint": SECRET}})),
    ],
)
def test_an_address_with_a_password_is_refused_and_not_shown(monkeypatch, name, value):
    monkeypatch.setenv(f"BASEFORGE_{name}", value)
    with pytest.raises(InputError, match="a name or a password") as refused:
        load()
    assert "ret@" not in str(refused.value)


REFUSED = {
    "a time zone that leads out": ("TIMEZONE", "../../etc/passwd", "there is no time zone"),
    "an unknown time zone": ("TIMEZONE", "Europe/Berlim", "Did you mean 'Europe/Berlin'?"),
    "half a time zone": ("TIMEZONE", "Europe", "there is no time zone"),
    "no name of an image": ("LOCAL_NAME", "a b;c", "a name that engines take"),
    "capitals": ("LOCAL_NAME", "Mine", "a name that engines take"),
    "an empty name": ("LOCAL_NAME", "", "a name that engines take"),
    "nested": ("MIRRORS", "[" * 100_000, "not a JSON object"),
    "bytes": ("BUILDER", "\udcff", "not UTF-8"),
    "a store in a file": ("STORE", "/etc/passwd", "is not a folder"),
    "a store below a file": ("STORE", "file:///etc/passwd/x", "is not a folder"),
    "nobody's store": ("STORE", "~no-such-user/x", "is not a folder"),
    "a home in a file": ("HOME", "/etc/passwd", "is not a folder"),
    "a home below a file": ("HOME", "/etc/passwd/x", "is not a folder"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_variable_with_an_impossible_value_is_refused(monkeypatch, case):
    name, value, words = REFUSED[case]
    monkeypatch.setenv(f"BASEFORGE_{name}", value)
    with pytest.raises(InputError) as refused:
        load()
    assert str(refused.value).startswith(f"BASEFORGE_{name}: ")
    assert words in str(refused.value)


@pytest.mark.parametrize("name", ["here", "a/b_c/d--e", "localhost:5000/x", "registry.example/a.b"])
def test_a_name_that_engines_take_is_kept(monkeypatch, name):
    monkeypatch.setenv("BASEFORGE_LOCAL_NAME", name)
    monkeypatch.setenv("BASEFORGE_TIMEZONE", "America/New_York")
    assert (load().local_name, load().timezone) == (name, "America/New_York")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("registry", "registry.example:5000/a/b-c_d.e"),
        ("registry", "[::1]:5000/c"),
        ("nightly_cron", "*/2 * * * MON-FRI"),
        ("nightly_cron", "@daily"),
    ],
)
def test_possible_registries_and_schedules_are_accepted(monkeypatch, name, value):
    monkeypatch.setenv(f"BASEFORGE_{name.upper()}", value)
    assert getattr(load(), name) == value


def test_a_file_that_is_nested_too_deeply_or_cannot_be_read(site, monkeypatch):
    (site / "recipes").mkdir()
    (site / "baseforge.toml").write_text("x = " + "[" * 3000)
    with pytest.raises(InputError, match="nested too deeply"):
        load()

    def refuse(*_: object, **__: object) -> str:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "read_text", refuse)  # root may read everything
    with pytest.raises(InputError, match=r"baseforge.toml: the file cannot be read: Permission denied"):
        load()


def test_a_wrong_variable_is_named(monkeypatch):
    monkeypatch.setenv("BASEFORGE_REGISTRY_INSECURE", "perhaps")
    with pytest.raises(InputError, match="BASEFORGE_REGISTRY_INSECURE"):
        load()


def test_a_variable_that_is_not_json_is_named(monkeypatch):
    monkeypatch.setenv("BASEFORGE_MIRRORS", "{")
    with pytest.raises(InputError, match="BASEFORGE_MIRRORS"):
        load()


BUILDERS = """
builder = "big"

[builders.big]
lifecycle = "persistent"
driver = "kubernetes"
timeout = 60
options = { image = "x:1", "env.A" = "b" }
platforms = ["linux/amd64"]

[builders."once.more"]
lifecycle = "ephemeral"

[builders.other]
lifecycle = "existing"
name = "the-one-there"
"""


def test_builders_are_tables_and_called_as_these_where_they_have_no_other_name(site):
    (site / "recipes").mkdir()
    (site / "baseforge.toml").write_text(BUILDERS)
    found = load()
    assert found.builder == "big"
    assert found.builders == {
        "big": BuilderPlan(
            lifecycle="persistent",
            name="big",
            driver="kubernetes",
            timeout=60,
            options={"image": "x:1", "env.A": "b"},
            platforms=("linux/amd64",),
        ),
        "once.more": BuilderPlan(lifecycle="ephemeral"),
        "other": BuilderPlan(lifecycle="existing", name="the-one-there"),
    }
    assert origins(find_site())["builders"] == str(site / "baseforge.toml")


def test_builders_in_the_environment(monkeypatch):
    monkeypatch.setenv("BASEFORGE_BUILDER", "big")
    monkeypatch.setenv("BASEFORGE_BUILDERS", '{"big": {"lifecycle": "persistent", "flags": ["--debug"], "timeout": 5}}')
    found = load()
    plan = BuilderPlan(lifecycle="persistent", name="big", flags=("--debug",), timeout=5)
    assert (found.builder, found.builders) == ("big", {"big": plan})
    assert origins(find_site())["builder"] == "BASEFORGE_BUILDER"


# Below `[builders.one]`, which is as it should be, from line 3 on; what is said of it.
WRONG_BUILDERS = {
    '[builders.two]\nlifecycl = "ephemeral"': ("4:1: unknown setting 'builders.two.lifecycl'", "'lifecycle'"),
    '[builders.two]\nlifecycle = "ephemeral"\ntimout = 5': ("5:1: unknown setting 'builders.two.timout'", "'timeout'"),
    '[builders.two]\nlifecycle = "ephemeral"\ntimeout = "5"': ("5:1: builders.two.timeout: Input should be", "number"),
    '[builders.two]\nlifecycle = "ephemeral"\ndriver = "docker"': ("5:1: builders.two.driver: Input", "'kubernetes'"),
    '[builders.two]\ndriver = "kubernetes"': ("3:1: builders.two.lifecycle: Field required", ""),
    '[builders.two]\nlifecycle = "ephemeral"\nname = "x"': ("3:1: builders.two: an ephemeral builder is named", ""),
    '[builders.two]\nlifecycle = "ephemeral"\ndriver = "remote"': ("3:1: builders.two: a remote builder needs", ""),
    '[builders.two]\nlifecycle = "existing"\nflags = []': ("3:1: builders.two: an existing builder is used as it", ""),
    '[builders.two]\nlifecycle = "ephemeral"\nplatforms = ["arm"]': ("5:1: builders.two.platforms.0: 'arm' is not", ""),
    '[builders.two]\nlifecycle = "ephemeral"\n[builders.two.options]\n"a b" = "c"': (
        "6:1: builders.two.options.a b",
        "",
    ),
    '[builders."a b"]\nlifecycle = "ephemeral"': ("3:1: builders.a b: 'a b' is not a builder's name", ""),
    '[builders.two]\nlifecycle = "ephemeral"\nflags = [\n  "--a",\n  3,\n]': ("5:1: builders.two.flags.1: Input", ""),
    '[builders.two]\n# driver = "no"\nlifecycle = "ephemeral"\n  driver = "docker"': ("6:3: builders.two.driver", ""),
    '[builders.two]\nlifecycle = "ephemeral"\n[mirrors]\n"driver" = "a"\n[builders.two.options]\n"a b" = "c"': (
        "8:1: builders.two.options.a b",
        "",
    ),
    '[builders.two]\nlifecycle = "ephemeral"\noptions = {"a b" = "c"}': ("5:1: builders.two.options.a b", ""),
    "[builders.two]\n[builders.two.lifecycle]": ("4:1: builders.two.lifecycle: Input should be", "'ephemeral'"),
}


@pytest.mark.parametrize("text", WRONG_BUILDERS)
def test_a_wrong_builder_is_reported_with_its_place(site, text):
    (site / "recipes").mkdir()
    (site / "baseforge.toml").write_text(f'[builders.one]\nlifecycle = "ephemeral"\n{text}\n')
    with pytest.raises(InputError) as caught:
        load()
    said, hint = WRONG_BUILDERS[text]
    assert str(caught.value).startswith(f"{site}/baseforge.toml:{said}")
    assert hint in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 2


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("BUILDERS", "{", "not a JSON object"),
        ("BUILDERS", "[]", "builders: Input should be a valid dictionary"),
        ("BUILDERS", '{"a": 3}', "builders.a: Input should be"),
        ("BUILDERS", '{"a": {"lifecycl": "ephemeral"}}', "unknown setting 'builders.a.lifecycl'\n  Did you mean"),
        ("BUILDERS", '{"a": {"lifecycle": "ephemeral", "timeout": true}}', "builders.a.timeout: Input should be"),
    ],
)
def test_a_variable_with_a_wrong_builder_is_named(monkeypatch, name, value, said):
    monkeypatch.setenv(f"BASEFORGE_{name}", value)
    with pytest.raises(InputError) as caught:
        load()
    assert str(caught.value).startswith(f"BASEFORGE_{name}: {said}")


SECRETS = {
    '[mirrors]\n"http://a" = "http://joe:s3cret@m"': ("baseforge.toml:2:1", "auth.conf.d"),
    '[mirrors]\n"http://joe:s3cret@a" = "http://m"': ("baseforge.toml", "auth.conf.d"),
    '[snapshots]\n"http://a" = "https://s3cret@m"': ("baseforge.toml:2:1", "auth.conf.d"),
    's3_endpoint = "https://key:s3cret@s3.example"': ("baseforge.toml:1:1", "boto3"),
    'store = "s3://key:s3cret@bucket/x"': ("baseforge.toml:1:1", "boto3"),
    'registry = "joe:s3cret@r.example/base"': ("baseforge.toml:1:1", "skopeo login"),
}


@pytest.mark.parametrize("text", SECRETS)
def test_a_password_in_an_address_is_refused_with_the_place_where_it_belongs(site, text):
    (site / "recipes").mkdir()
    (site / "baseforge.toml").write_text(text + "\n")
    with pytest.raises(InputError, match="has a name or a password in it") as caught:
        load()
    where, hint = SECRETS[text]
    assert where in str(caught.value)
    assert hint in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_a_password_in_a_variable_is_refused(monkeypatch):
    monkeypatch.setenv("BASEFORGE_MIRRORS", '{"http://a": "http://joe:s3cret@m"}')
    with pytest.raises(InputError, match=r"BASEFORGE_MIRRORS: mirrors\.http://a: this address has a name") as caught:
        load()
    assert "s3cret" not in str(caught.value)


def test_passwords_come_from_a_private_file(site, monkeypatch):
    file = site / "auth.conf"
    file.write_text("machine a.example login joe password s3cret\n")
    monkeypatch.setenv("BASEFORGE_AUTH", str(file))
    file.chmod(0o644)
    with pytest.raises(InputError, match="others than its owner"):
        load().site.transfers()
    file.chmod(0o600)
    assert [entry.login for entry in load().site.transfers().credentials.entries if entry.host == "a.example"] == [
        "joe"
    ]


@as_root
@pytest.mark.parametrize("what", [".", "recipes"])
def test_another_users_recipes_and_settings_are_taken_only_where_they_are_named(site, monkeypatch, what):
    (site / "recipes").mkdir()
    (site / "baseforge.toml").write_text('store = "/theirs"')
    assert load().store == "/theirs"
    os.chown(site / what, NOBODY, NOBODY)
    with pytest.raises(InputError, match=rf"belongs to nobody[\s\S]*--recipes {site}/recipes") as failed:
        load()
    assert failed.value.status == 2
    assert load([site / "recipes"]).store == "/theirs"
    assert load([Path("recipes")]).store == "/theirs"
    monkeypatch.setenv("BASEFORGE_RECIPES", "recipes")
    assert load().store == "/theirs"
    monkeypatch.delenv("BASEFORGE_RECIPES")
    monkeypatch.setenv("SUDO_UID", str(NOBODY))
    assert load().store == "/theirs", "root's commands are those of the user who calls sudo"


SHARED = ["baseforge.toml", "recipes/theirs.yaml", "recipes/theirs.yml", "recipes/ours"]


@as_root
@pytest.mark.parametrize("what", SHARED)
@pytest.mark.parametrize("named", [[], [Path("recipes")]])
def test_what_another_user_puts_into_our_folders_is_not_taken(site, what, named):
    (site / "recipes/ours").mkdir(parents=True)
    (site / "recipes/ours.yaml").write_text("kind: scratch\n")
    (site / what).touch()
    load(named)
    os.chown(site / what, NOBODY, NOBODY)
    with pytest.raises(InputError, match=rf"{what}: this belongs to nobody") as failed:
        load(named)
    assert "replace it by a copy of your own" in str(failed.value)
    os.chown(site / "recipes", NOBODY, NOBODY)
    load([Path("recipes")])  # who names a folder trusts its owner


@as_root
def test_settings_that_are_another_users_link_or_its_target_are_not_taken(site):
    (site / "recipes").mkdir()
    (site / "target").touch()
    (site / "baseforge.toml").symlink_to("target")
    load([Path("recipes")])
    for changed, followed in (("target", True), ("baseforge.toml", False)):
        os.chown(site / "target", 0, 0)
        os.chown(site / changed, NOBODY, NOBODY, follow_symlinks=followed)
        with pytest.raises(InputError, match="this belongs to nobody"):
            load([Path("recipes")])


@as_root
def test_a_link_of_another_user_to_our_recipes_is_not_taken(site):
    (site / "elsewhere").mkdir()
    (site / "recipes").symlink_to("elsewhere")
    assert load().recipes == (Path("recipes"),)
    os.chown(site / "recipes", NOBODY, NOBODY, follow_symlinks=False)
    with pytest.raises(InputError, match=": recipes and settings of another user are taken only where you name them"):
        load()


@as_root
def test_a_clone_of_another_user_is_trusted_with_its_recipes_as_its_code_is(site, monkeypatch):
    (site / "recipes").mkdir()
    os.chown(site / "recipes", NOBODY, NOBODY)
    monkeypatch.setattr("flows.config.site_folders.SHELF", site / "recipes")
    assert load().recipes == (Path("recipes"),)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SANDBOX_SECONDS", "inf"),
        ("SANDBOX_SECONDS", "nan"),
        ("SANDBOX_SECONDS", "1e300"),
        ("SANDBOX_PROCESSES", str(10**23)),
        ("SANDBOX_MEMORY", str(10**23)),
        ("SANDBOX_DISK", str(10**23)),
    ],
)
def test_a_limit_that_the_machine_cannot_set_is_refused(monkeypatch, name, value):
    monkeypatch.setenv(f"BASEFORGE_{name}", value)
    with pytest.raises(InputError, match=rf"BASEFORGE_{name}.*less than or equal to"):
        load()


def test_a_misspelt_variable_is_named_and_one_of_somebody_else_is_not(monkeypatch):
    for name in ("BASEFORGE_NOTIFI", "BASEFORGE_HOME", "BASEFORGE_PORT", "BASEFORGE_STORE"):
        monkeypatch.setenv(name, "x")
    assert misspelt_variables() == ("BASEFORGE_NOTIFI is no setting. Did you mean 'BASEFORGE_NOTIFY'?",)

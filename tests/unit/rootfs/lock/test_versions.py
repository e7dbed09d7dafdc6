"""Environment variables that have the version of a package."""

from __future__ import annotations

import pytest

from rootfs.errors import InputError
from rootfs.lock.lock import Package
from rootfs.lock.versions import upstream_version, with_versions
from rootfs.recipe.sections import ImageSettings

JAVA = Package(
    name="openjdk-21-jre-headless",
    version="21.0.9+10-1~deb13u1",
    architecture="amd64",
    sha256="ab" * 32,
    size=1,
    source="openjdk-21",
    archive="http://a",
    suite="trixie",
    path="pool/o.deb",
)


@pytest.mark.parametrize(
    ("debian", "upstream"),
    [
        ("21.0.9+10-1~deb13u1", "21.0.9"),
        ("3.13.5-2+deb13u1", "3.13.5"),
        ("20.19.2+dfsg-1", "20.19.2"),
        ("1:1.37.0-6+b3", "1.37.0"),
        ("2.41~rc1-1", "2.41"),
        ("2024a", "2024a"),
    ],
)
def test_the_version_is_that_of_the_program(debian, upstream):
    assert upstream_version(debian) == upstream


def test_a_variable_has_the_version_of_its_package():
    settings = ImageSettings(env={"A": "b"}, versions={"JAVA_VERSION": JAVA.name})
    assert with_versions(settings, [JAVA]).env == {"A": "b", "JAVA_VERSION": "21.0.9"}


def test_a_package_that_the_image_does_not_have_is_an_error():
    with pytest.raises(InputError, match="names openjdk-21-jre, which is not among the recipe's packages"):
        with_versions(ImageSettings(versions={"JAVA_VERSION": "openjdk-21-jre"}), [JAVA])


def test_a_variable_has_one_value():
    with pytest.raises(ValueError, match="JAVA_VERSION is in 'env' and in 'versions'"):
        ImageSettings(env={"JAVA_VERSION": "21"}, versions={"JAVA_VERSION": JAVA.name})

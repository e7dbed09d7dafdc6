"""The options of `baseforge builder create`, and buildx's command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.builders import manage
from flows.builders.buildx_cli import described
from rootfs.errors import InputError


def test_every_option_reaches_buildx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("buildkitd.toml", "ca.pem"):
        (tmp_path / name).touch()
    options = ["cacert=ca.pem", "nodeselector=a=b,c=d", 'env.ODD="x" y', "memory="]
    platforms = ["linux/amd64,linux/arm64", "linux/arm/v7"]
    endpoint, flags = "tcp://builder.example:1234", "--debug --label 'a b'"
    plan = manage.planned("remote", endpoint, options, Path("buildkitd.toml"), flags, platforms)
    assert described(plan) == [
        *("--driver", "remote"),
        *("--driver-opt", f"cacert={tmp_path}/ca.pem"),
        *("--driver-opt", '"nodeselector=a=b,c=d"'),
        *("--driver-opt", '"env.ODD=""x"" y"'),
        *("--driver-opt", "memory="),
        *("--buildkitd-flags", "--debug --label 'a b'"),
        *("--buildkitd-config", f"{tmp_path}/buildkitd.toml"),
        *("--platform", "linux/amd64,linux/arm64,linux/arm/v7"),
        *("--", endpoint),
    ]
    assert described(manage.planned("kubernetes", "", [], None, "", [])) == ["--driver", "kubernetes"]


@pytest.mark.parametrize(
    ("driver", "endpoint", "options", "platforms", "reason"),
    [
        ("docker", "", [], [], "each engine has its own"),
        ("kube", "", [], [], "Did you mean 'kubernetes'?"),
        ("xyz", "", [], [], "Use docker-container, kubernetes, remote."),
        ("remote", "", [], [], "needs an 'endpoint'"),
        ("kubernetes", "", ["=1"], [], "write NAME=VALUE"),
        ("kubernetes", "", ["-a=1"], [], "'-a' is not a name of a driver's option"),
        ("remote", "tcp://a:1", ["key=."], [], "the file of key is not there: ."),
        ("kubernetes", "", [], ["linux/amd64,"], "'' is not a platform"),
    ],
)
def test_an_impossible_builder_is_refused(
    driver: str, endpoint: str, options: list[str], platforms: list[str], reason: str
) -> None:
    with pytest.raises(InputError) as error:
        manage.planned(driver, endpoint, options, None, "", platforms)
    assert reason in str(error.value)

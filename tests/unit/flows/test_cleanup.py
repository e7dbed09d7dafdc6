"""Housekeeping without Prefect: what it removes of interrupted downloads, and how often it looks."""

from datetime import timedelta

from flows import cleanup
from tests.support.contexts import context
from tests.unit.flows.builders.fake import engine


def test_old_partial_downloads_of_debs_and_tarballs_are_removed(tmp_path, monkeypatch):
    for name in ("deb.partial", "tarball.download", "other"):
        (tmp_path / name).touch()
    cleanup.remove_old_downloads(tmp_path)
    assert len(list(tmp_path.iterdir())) == 3

    monkeypatch.setattr(cleanup, "CONTINUABLE", timedelta(0))
    cleanup.remove_old_downloads(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["other"]


def test_a_command_cleans_up_once(tmp_path, monkeypatch):
    asked = []

    def containers(_request):
        asked.append("containers")
        return []

    monkeypatch.setattr("rootfs.process.run.SYSTEM_PATH", str(tmp_path))  # no docker command, thus no buildx
    answers = {"/containers/json": containers, "/images/json": lambda _: [], "/volumes": {"Volumes": []}}
    (tmp_path / "work").mkdir()
    with engine(tmp_path, answers) as address:
        monkeypatch.setenv("DOCKER_HOST", address)
        ctx = context(tmp_path, work=tmp_path / "work")
        for _ in range(2):
            assert cleanup.clean_up(ctx, lambda _: False) == []
        ctx.close()
    assert asked == ["containers"]

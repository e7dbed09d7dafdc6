"""Housekeeping without Prefect: what it removes of interrupted downloads."""

from datetime import timedelta

from flows import cleanup


def test_old_partial_downloads_of_debs_and_tarballs_are_removed(tmp_path, monkeypatch):
    for name in ("deb.partial", "tarball.download", "other"):
        (tmp_path / name).touch()
    cleanup.remove_old_downloads(tmp_path)
    assert len(list(tmp_path.iterdir())) == 3

    monkeypatch.setattr(cleanup, "CONTINUABLE", timedelta(0))
    cleanup.remove_old_downloads(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["other"]

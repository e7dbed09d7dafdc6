from tests.support.small_archive import key, published, scene, still, stranger  # noqa: F401 - fixtures

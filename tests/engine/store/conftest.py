import pytest

from tests.engine.s3 import s3_server  # noqa: F401 - a fixture

pytest.register_assert_rewrite("tests.unit.store.suite")

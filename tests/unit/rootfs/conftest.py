from tests.support.mirror import mirror  # noqa: F401 - fixtures, as are the next
from tests.support.small_archive import key, stranger  # noqa: F401

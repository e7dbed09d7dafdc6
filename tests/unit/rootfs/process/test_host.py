"""The host: whether it runs programs of other machines."""

from __future__ import annotations

import pytest

from rootfs.errors import MachineError
from rootfs.process import host
from rootfs.process.errors import ProgramMissing
from rootfs.process.host import native_architecture, require_emulation


def test_programs_of_this_machine_need_no_emulation(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> None:
        raise ProgramMissing("arch-test")

    native = native_architecture()
    monkeypatch.setattr(host, "run", missing)
    require_emulation("a", native, "it does")
    with pytest.raises(MachineError, match="cannot run programs for linux/s390x, and a needs that: it does") as lacks:
        require_emulation("a", "s390x", "it does")
    assert (lacks.value.status, "setup --emulation" in lacks.value.hint) == (3, True)

"""Mask names and passwords of addresses in log records and tracebacks, before Prefect or a terminal gets them."""

from __future__ import annotations

import logging
import traceback
from typing import Any

from rootfs.mask import masked

_make = logging.LogRecord


def mask_logs() -> None:
    """Mask all log records of this process, also those of libraries."""
    logging.setLogRecordFactory(_masked_record)


def masked_traceback(error: BaseException) -> str:
    """The error's traceback, with all its causes."""
    return masked("".join(traceback.format_exception(error)))


def _masked_record(*args: Any, **more: Any) -> logging.LogRecord:  # noqa: ANN401 - the signature is LogRecord's
    record = _make(*args, **more)
    if record.exc_info and record.exc_info[1]:
        record.exc_text = masked_traceback(record.exc_info[1]).rstrip()  # which formatters take as it is
    try:
        message = record.getMessage()
    except (TypeError, ValueError):  # its arguments do not fit, which the handler reports
        return record
    if (shown := masked(message)) != message:
        record.msg, record.args = shown, None
    return record

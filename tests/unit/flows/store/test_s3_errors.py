from __future__ import annotations

import pytest
from botocore.exceptions import ClientError

from flows.store.s3_errors import store_error
from rootfs.errors import BaseforgeError, MachineError, ServiceUnreachable

# Answers that no server of ours can be made to give:
# https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html


@pytest.mark.parametrize(
    ("status", "code", "kind", "hint"),
    [
        (301, "PermanentRedirect", MachineError, "region"),
        (400, "AuthorizationHeaderMalformed", MachineError, "region"),
        (400, "IllegalLocationConstraintException", MachineError, "region"),
        (400, "ExpiredToken", MachineError, "credentials"),
        (400, "RequestTimeout", ServiceUnreachable, "network"),
        (401, "Unauthorized", MachineError, "credentials"),
        (403, "AccessDenied", MachineError, "credentials"),
        (403, "RequestTimeTooSkewed", MachineError, "clock"),
        (403, "403", MachineError, "credentials"),
        (404, "NoSuchBucket", MachineError, "Create the bucket"),
        (405, "MethodNotAllowed", MachineError, "server"),
        (429, "TooManyRequests", ServiceUnreachable, "network"),
        (500, "InternalError", ServiceUnreachable, "network"),
        (501, "NotImplemented", MachineError, "If-None-Match"),
        (503, "SlowDown", ServiceUnreachable, "network"),
        (507, "InsufficientStorage", MachineError, "Free space"),
    ],
)
def test_every_answer_of_a_server_becomes_an_error(
    status: int, code: str, kind: type[BaseforgeError], hint: str
) -> None:
    error = ClientError(
        {
            "Error": {"Code": code, "Message": "as it says"},
            "ResponseMetadata": {
                "HTTPStatusCode": status,
                "RequestId": "",
                "HostId": "",
                "HTTPHeaders": {},
                "RetryAttempts": 0,
            },
        },
        "PutObject",
    )
    problem = store_error(error, "s3://bucket", "http://127.0.0.1")
    assert type(problem) is kind
    assert hint in problem.hint
    assert code in problem.message or code == "NoSuchBucket"

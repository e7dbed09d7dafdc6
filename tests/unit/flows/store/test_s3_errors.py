from __future__ import annotations

import pytest
from botocore.exceptions import ClientError

from flows.store.errors import StoreRefused, StoreUnreachable
from flows.store.s3_errors import refusal
from rootfs.errors import BaseforgeError

# Answers that no server of ours can be made to give:
# https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html


@pytest.mark.parametrize(
    ("status", "code", "kind", "hint"),
    [
        (301, "PermanentRedirect", StoreRefused, "region"),
        (400, "AuthorizationHeaderMalformed", StoreRefused, "region"),
        (400, "IllegalLocationConstraintException", StoreRefused, "region"),
        (400, "ExpiredToken", StoreRefused, "credentials"),
        (400, "RequestTimeout", StoreUnreachable, "network"),
        (401, "Unauthorized", StoreRefused, "credentials"),
        (403, "AccessDenied", StoreRefused, "credentials"),
        (403, "RequestTimeTooSkewed", StoreRefused, "clock"),
        (403, "403", StoreRefused, "credentials"),
        (404, "NoSuchBucket", StoreRefused, "Create the bucket"),
        (405, "MethodNotAllowed", StoreRefused, "server"),
        (429, "TooManyRequests", StoreUnreachable, "network"),
        (500, "InternalError", StoreUnreachable, "network"),
        (501, "NotImplemented", StoreRefused, "If-None-Match"),
        (503, "SlowDown", StoreUnreachable, "network"),
        (507, "InsufficientStorage", StoreRefused, "Free space"),
    ],
)
def test_what_a_server_can_answer(status: int, code: str, kind: type[BaseforgeError], hint: str) -> None:
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
    problem = refusal(error, "s3://bucket", "http://127.0.0.1")
    assert type(problem) is kind
    assert hint in problem.hint
    assert code in problem.message or code == "NoSuchBucket"

"""Check that an answer is S3's: a proxy in between may answer 200 with a page of its own, or with nothing.

botocore takes any answer with status 200 for a success. Here it becomes an error of the server that botocore tries
again, as it does with the errors that S3 itself puts into answers with status 200.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ResponseStreamingError
from botocore.response import StreamingBody

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

OK, NOT_FOUND, BAD_GATEWAY = range(200, 300), 404, 502
OBJECTS = ("GetObject", "HeadObject", "PutObject", "UploadPart")  # their answers have an ETag
DOCUMENTS = {  # and those of these have an XML document with this root
    "CompleteMultipartUpload": "CompleteMultipartUploadResult",
    "CreateMultipartUpload": "InitiateMultipartUploadResult",
    "ListObjectsV2": "ListBucketResult",
}
ERROR = b"<Error><Code>NotS3</Code><Message>the answer is not one of an S3 server: %s</Message></Error>"
_MD5 = re.compile(r'"([0-9a-f]{32})"')
_OWN_KEYS = ("aws:kms", "aws:kms:dsse")  # encryption by which an object's ETag is not its MD5


def refuse_foreign_answers(client: S3Client) -> None:
    """Make the client refuse answers that are not S3's, and repeat the request."""
    client.meta.events.register("before-parse.s3.*", _look)


def _look(operation_model: Any, response_dict: dict[str, Any], **_: object) -> None:  # noqa: ANN401 - botocore's
    if response_dict["status_code"] not in (*OK, NOT_FOUND):
        return
    if why := _strange(operation_model.name, response_dict):
        if isinstance(response_dict["body"], StreamingBody):
            response_dict["body"].close()
        response_dict["status_code"], response_dict["body"] = BAD_GATEWAY, ERROR % why.encode()


def _strange(operation: str, answer: Mapping[str, Any]) -> str:
    """Why this is not S3's answer to the operation; empty if it is."""
    headers = answer["headers"]
    if operation in OBJECTS:
        kind = str(headers.get("content-type", ""))
        if kind.startswith("text/html"):
            return "it is a page (text/html)"
        if answer["status_code"] == NOT_FOUND:
            complete = operation != "GetObject" or bytes(answer["body"]).rstrip().endswith(b"</Error>")
            return "" if complete else "it says 404 and not what is missing"
        return "" if headers.get("etag") else "it has no ETag"
    if (root := DOCUMENTS.get(operation)) and answer["status_code"] in OK:
        body = bytes(answer["body"]).rstrip()
        return "" if f"<{root}".encode() in body and body.endswith(f"</{root}>".encode()) else f"it has no {root}"
    return ""


def checksum(data: bytes) -> str:
    """The value of `ChecksumSHA256` for these bytes. The server compares it with what arrives."""
    return base64.b64encode(hashlib.sha256(data).digest()).decode()


def require_checksum(answer: Mapping[str, Any], data: bytes) -> None:
    """Check that the answer to a write or a read of a whole object has the checksum of these bytes.

    By the SHA-256 where the server gives it, else by the ETag where that is an MD5. Raises ResponseStreamingError.
    """
    if recorded := answer.get("ChecksumSHA256"):
        if recorded != checksum(data):
            raise ResponseStreamingError(error=f"the server says SHA-256 {recorded}, the bytes have {checksum(data)}")
        return
    etag = _MD5.fullmatch(answer["ETag"])
    if etag is None or answer.get("ServerSideEncryption") in _OWN_KEYS or answer.get("SSECustomerAlgorithm"):
        return
    found = hashlib.md5(data, usedforsecurity=False).hexdigest()
    if etag[1] != found:
        raise ResponseStreamingError(error=f"the server says MD5 {etag[1]}, the bytes have {found}")

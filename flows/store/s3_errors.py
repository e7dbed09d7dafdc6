"""What boto3's errors mean to a user."""

from __future__ import annotations

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    CredentialRetrievalError,
    FlexibleChecksumError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    ProfileNotFound,
    SSOError,
    TokenRetrievalError,
)

from flows.store.errors import invalid_address, store_refused, store_unreachable
from rootfs.errors import BaseforgeError

_NETWORK = (HTTPClientError, ConnectionError, IncompleteReadError)
_NO_CREDENTIALS = (
    CredentialRetrievalError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    ProfileNotFound,
    SSOError,
    TokenRetrievalError,
)
_BUSY = ("RequestTimeout", "SlowDown", "TooManyRequests")

_CREDENTIALS = "Give credentials as boto3 takes them: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE."
_RIGHTS = "Check the credentials, this machine's clock, and that they may get, put and list in this bucket."
_REGION = "Name the bucket's region and endpoint in the settings."
_BUCKET = "Create the bucket, or correct its name."
_DAMAGED = "Try again; if it stays so, a document is damaged: check the disk under the server."
_SPACE = "Free space on the server's disk, or name another store."
_SERVER = (
    "Check the endpoint, the credentials and the server's log; it must know `If-Match` and `If-None-Match` on writes."
)


def http_status(error: ClientError) -> int:
    """The HTTP status of the server's answer."""
    return error.response["ResponseMetadata"]["HTTPStatusCode"]


def error_code(error: ClientError) -> str:
    """S3's name for the error, such as `NoSuchBucket`."""
    return error.response["Error"].get("Code", "")


def store_error(error: ClientError | BotoCoreError, address: str, endpoint: str) -> BaseforgeError:
    """The error to show: ServiceUnreachable where trying again can help, else MachineError or InputError."""
    if isinstance(error, ClientError):
        return _answer(error, address, endpoint)
    if isinstance(error, _NETWORK):
        return store_unreachable(address, endpoint, str(error))
    if isinstance(error, ParamValidationError):
        return invalid_address(address, str(error))
    if isinstance(error, FlexibleChecksumError):
        return store_refused(address, str(error), _DAMAGED)
    return store_refused(address, str(error), _CREDENTIALS if isinstance(error, _NO_CREDENTIALS) else _SERVER)


def _answer(error: ClientError, address: str, endpoint: str) -> BaseforgeError:
    message = f"{error_code(error)}: {error.response['Error'].get('Message', '')}"
    if http_status(error) == 507:
        return store_refused(address, message, _SPACE)
    if (http_status(error) >= 500 and http_status(error) != 501) or error_code(error) in _BUSY:
        return store_unreachable(address, endpoint, message)
    if error_code(error) == "NoSuchBucket":
        return store_refused(address, "there is no such bucket", _BUCKET)
    if http_status(error) in (401, 403):
        return store_refused(address, message, _RIGHTS)
    if 300 <= http_status(error) < 400 or error_code(error) in (
        "AuthorizationHeaderMalformed",
        "IllegalLocationConstraintException",
    ):
        return store_refused(address, message, _REGION)
    return store_refused(address, message, _SERVER)

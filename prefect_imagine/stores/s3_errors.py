"""What S3 and boto3 report, as `StoreError` with what to do about it. Credentials are never repeated."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from botocore import exceptions
from botocore.exceptions import BotoCoreError, ClientError

from prefect_imagine.errors import StoreError

ABSENT = frozenset(("NoSuchKey", "404", "NotFound"))
EXISTS = frozenset(("PreconditionFailed", "412"))
CONTESTED = frozenset(("ConditionalRequestConflict", "OperationAborted", "409"))

_KEYS = "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
_RIGHTS = "allow s3:GetObject, s3:PutObject, s3:DeleteObject and s3:ListBucket on it"
_REGION = "set AWS_REGION to the bucket's region"
_ENDPOINT = "check the network and AWS_ENDPOINT_URL"
_CODE_HINTS = {
    "NoSuchBucket": "create the bucket or correct the address",
    "AccessDenied": _RIGHTS,
    "403": f"{_RIGHTS}; {_KEYS}",
    "AllAccessDisabled": _RIGHTS,
    "InvalidAccessKeyId": _KEYS,
    "SignatureDoesNotMatch": _KEYS,
    "ExpiredToken": "renew the credentials",
    "InvalidToken": "renew the credentials",
    "RequestTimeTooSkewed": "set this machine's clock",
    "PermanentRedirect": _REGION,
    "301": _REGION,
    "AuthorizationHeaderMalformed": _REGION,
    "IllegalLocationConstraintException": _REGION,
    "QuotaExceeded": "free some of the quota",
    "XMinioStorageFull": "free some space on the server",
}
_LACKING = frozenset(("NotImplemented", "501"))
_RETRYABLE_CODES = frozenset(("SlowDown", "RequestTimeout", "Throttling", "ThrottlingException", "BadDigest"))
_PASSING = (
    exceptions.ConnectionError,
    exceptions.HTTPClientError,
    exceptions.IncompleteReadError,
    exceptions.ResponseStreamingError,
    exceptions.UnseekableStreamError,
    exceptions.ChecksumError,
    exceptions.FlexibleChecksumError,
)
_NO_KEYS = (
    exceptions.NoCredentialsError,
    exceptions.PartialCredentialsError,
    exceptions.CredentialRetrievalError,
    exceptions.TokenRetrievalError,
    exceptions.SSOError,
)


def code_of(error: ClientError) -> str:
    """S3's own error code; the HTTP status where an answer has no body."""
    return str(error.response.get("Error", {}).get("Code") or _status(error))


@contextmanager
def s3_errors(address: str, condition: str = "") -> Iterator[None]:
    """Raise what boto3 raises as a `StoreError` about this address. `condition`: the header that a write is
    made with."""
    try:
        yield
    except (BotoCoreError, ClientError) as error:
        raise translate(error, address, condition) from error


def translate(error: Exception, address: str, condition: str = "") -> StoreError:
    """The error as this package's, with S3's code and a hint."""
    if isinstance(error, ClientError):
        code = code_of(error)
        if code in _LACKING:
            return _error(address, f"S3 answered {code}", _lacking(error, condition), False)
        retryable = _status(error) >= 500 or _status(error) == 429 or code in _RETRYABLE_CODES | CONTESTED
        return _error(address, f"S3 answered {code}", _CODE_HINTS.get(code, ""), retryable)
    if isinstance(error, _NO_KEYS):
        return _error(address, "no usable AWS credentials", _KEYS, False)
    if isinstance(error, exceptions.SSLError):
        return _error(address, "the TLS connection failed", "check AWS_CA_BUNDLE and AWS_ENDPOINT_URL", True)
    if isinstance(error, _PASSING):
        return _error(address, f"no answer from S3 ({type(error).__name__})", _ENDPOINT, True)
    return _error(address, f"{type(error).__name__}: {error}", "", False)


def _lacking(error: ClientError, condition: str) -> str:
    call = f"{error.operation_name} with {condition}" if condition else error.operation_name
    return f"this server lacks a call that batches need: {call}"


def _error(address: str, what: str, hint: str, retryable: bool) -> StoreError:
    return StoreError(f"{address}: {what}" + (f"; {hint}" if hint else ""), retryable=retryable)


def _status(error: ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))

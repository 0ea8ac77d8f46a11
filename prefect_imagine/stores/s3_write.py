"""One conditional write to S3."""

from __future__ import annotations

import random
import time
from base64 import b64encode
from collections.abc import Callable, Iterable
from zlib import crc32

from botocore.exceptions import ClientError

from prefect_imagine.stores.s3_errors import ABSENT, CONTESTED, EXISTS, code_of

CONTESTS = 5


def checksum(data: bytes | bytearray) -> str:
    """The CRC-32 as S3 wants it; the server refuses a body that does not match."""
    return checksum_of([data])


def checksum_of(pieces: Iterable[bytes | bytearray]) -> str:
    """The same of a body that comes in pieces."""
    crc = 0
    for piece in pieces:
        crc = crc32(piece, crc)
    return b64encode(crc.to_bytes(4, "big")).decode()


def unquoted(version: str) -> str:
    """The ETag as Ceph's gateway 16 compares it: it never finds one in the quotes that HTTP wants."""
    return version.strip('"')


def won(write: Callable[[], object]) -> bool:
    """Make a conditional write that may be repeated; `False` when its condition does not hold.

    S3 may answer that another write is underway: that decides nothing, so it is asked again.

    Raises:
        ClientError: anything else that S3 answers, and a contest that does not end.
    """
    for attempt in range(CONTESTS):
        try:
            write()
            return True
        except ClientError as error:
            code = code_of(error)
            if code in EXISTS or code in ABSENT:
                return False
            if code not in CONTESTED or attempt == CONTESTS - 1:
                raise
            time.sleep(random.uniform(0.05, 0.2 * 2**attempt))
    return False

"""One output on its way into a bucket, in the way that suits its size."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import closing, suppress
from threading import BoundedSemaphore
from types import TracebackType
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from botocore.exceptions import BotoCoreError, ClientError

from prefect_imagine.errors import StoreError
from prefect_imagine.stores.checked import CheckedReader
from prefect_imagine.stores.s3_errors import ABSENT, EXISTS, code_of
from prefect_imagine.stores.s3_write import checksum, won

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

PART_BYTES = 8 * 1024**2
SINGLE_PUT_BYTES = 5 * 1024**3
METADATA_VALUE_BYTES = 200
METADATA_BYTES = 1600


class OutputUpload:
    """Puts what a reader gives under one key. Nothing appears there before the reader's checks have passed.

    Raises:
        OutputError: the body is not whole.
        ClientError, BotoCoreError: S3 failed.
        StoreError: another process wrote the key meanwhile; the body is spent, so fetch it again.
    """

    def __init__(
        self, client: S3Client, bucket: str, key: str, reader: CheckedReader, metadata: Mapping[str, str]
    ) -> None:
        self._client = client
        self._reader = reader
        self._place: dict[str, Any] = {"Bucket": bucket, "Key": key}
        self._type: dict[str, Any] = {"ContentType": reader.media_type.mime}
        self._metadata = portable(metadata)

    def run(self, slots: BoundedSemaphore, *, streams: bool) -> None:
        """Store the output. `slots` bounds how many parts all uploads together hold in memory."""
        length = self._reader.content_length
        if length is not None and length <= PART_BYTES:
            self._put_bytes(self._reader.read_full(PART_BYTES))
        elif length is not None and length <= SINGLE_PUT_BYTES and streams:
            self._put_stream(length)
        else:
            self._put_parts(slots)

    def _put_bytes(self, data: bytearray) -> None:
        body: dict[str, Any] = {
            **self._place,
            **self._type,
            "Body": data,
            "ChecksumCRC32": checksum(data),
            "Metadata": {**self._metadata, "sha256": self._reader.sha256},
        }
        if not won(lambda: self._client.put_object(**body, IfNoneMatch="*")) and not self._is_there():
            self._client.put_object(**body)

    def _put_stream(self, length: int) -> None:
        body: Any = self._reader
        try:
            self._client.put_object(
                **self._place,
                **self._type,
                **self._condition(),
                Body=body,
                ContentLength=length,
                Metadata=self._metadata,
            )
        except ClientError as error:
            self._settle(error, EXISTS)

    def _put_parts(self, slots: BoundedSemaphore) -> None:
        with _Parts(self._client, self._place, {**self._type, "Metadata": self._metadata}) as parts:
            more = True
            while more:
                with slots:
                    more = self._send_part(parts)
            if parts.started:
                try:
                    parts.complete(self._condition())
                except ClientError as error:
                    # A repeated completion finds no upload, because the first one ended it.
                    self._settle(error, EXISTS | {"NoSuchUpload"})

    def _send_part(self, parts: _Parts) -> bool:
        """Send the next part, and say whether there may be more. A body of less than one needs none."""
        data = self._reader.read_full(PART_BYTES)
        more = len(data) == PART_BYTES
        if not more and not parts.started:
            self._put_bytes(data)
        elif data:
            parts.add(data)
        return more

    def _condition(self) -> dict[str, Any]:
        """S3 compares only once it has the whole body, so an object that is to be replaced is looked up."""
        try:
            self._client.head_object(**self._place)
        except ClientError as error:
            if code_of(error) in ABSENT:
                return {"IfNoneMatch": "*"}
            raise
        return {}

    def _settle(self, error: ClientError, codes: frozenset[str]) -> None:
        """After a write that says "exists": it may have been ours, answered only on its repetition."""
        if code_of(error) not in codes:
            raise error
        while self._reader.read(PART_BYTES):
            pass
        if not self._is_there():
            place = f"s3://{self._place['Bucket']}/{self._place['Key']}"
            raise StoreError(
                f"{place}: it was written by another process meanwhile", retryable=True
            ) from error

    def _is_there(self) -> bool:
        """Whether the key holds these very bytes."""
        try:
            head = self._client.head_object(**self._place)
            known = head["Metadata"].get("sha256")
            if known or head["ContentLength"] != self._reader.size:
                return known == self._reader.sha256
            digest = hashlib.sha256()
            with closing(self._client.get_object(**self._place)["Body"]) as body:
                for chunk in body.iter_chunks(PART_BYTES // 8):
                    digest.update(chunk)
            return digest.hexdigest() == self._reader.sha256
        except ClientError as error:
            if code_of(error) in ABSENT:
                return False
            raise


class _Parts:
    """A multipart upload that begins with its first part and is aborted unless it completes."""

    def __init__(self, client: S3Client, place: dict[str, Any], details: dict[str, Any]) -> None:
        self._client = client
        self._place = place
        self._details = details
        self._upload: dict[str, Any] | None = None
        self._done: list[CompletedPartTypeDef] = []

    def __enter__(self) -> _Parts:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._upload is not None:
            with suppress(BotoCoreError, ClientError):
                self._client.abort_multipart_upload(**self._upload)

    @property
    def started(self) -> bool:
        return self._upload is not None

    def add(self, data: bytearray) -> None:
        if self._upload is None:
            answer = self._client.create_multipart_upload(
                **self._place, **self._details, ChecksumAlgorithm="CRC32"
            )
            self._upload = {**self._place, "UploadId": answer["UploadId"]}
        number, crc = len(self._done) + 1, checksum(data)
        body: Any = data
        part = self._client.upload_part(**self._upload, PartNumber=number, Body=body, ChecksumCRC32=crc)
        self._done.append({"PartNumber": number, "ETag": part["ETag"], "ChecksumCRC32": crc})

    def complete(self, condition: dict[str, Any]) -> None:
        assert self._upload is not None
        self._client.complete_multipart_upload(
            **self._upload, **condition, MultipartUpload={"Parts": self._done}
        )
        self._upload = None


def portable(metadata: Mapping[str, str]) -> dict[str, str]:
    """The metadata as every S3 server takes it: percent-encoded ASCII, values cut, two kilobytes at most."""
    kept: dict[str, str] = {}
    room = METADATA_BYTES
    for name, value in metadata.items():
        short = quote(value, safe=" :/,+=@-_.")
        while len(short) > METADATA_VALUE_BYTES:
            value = value[: len(value) * METADATA_VALUE_BYTES // (len(short) + 1)]
            short = quote(value, safe=" :/,+=@-_.")
        room -= len(name) + len(short)
        if room >= 0:
            kept[quote(name.lower(), safe="-")] = short.strip()
    return kept

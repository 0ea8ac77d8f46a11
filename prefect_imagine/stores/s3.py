"""A store in a bucket, through plain boto3, of AWS or of any server with conditional writes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, suppress
from threading import BoundedSemaphore
from typing import TYPE_CHECKING, Any, BinaryIO

from botocore.exceptions import BotoCoreError, ClientError

from prefect_imagine.errors import StoreError
from prefect_imagine.stores.checked import CheckedReader
from prefect_imagine.stores.keys import check_key, check_prefix, folder_prefix
from prefect_imagine.stores.protocol import StoredObject, StoredOutput
from prefect_imagine.stores.s3_check import check_conditions
from prefect_imagine.stores.s3_client import ServerClock, can_stream, check_reachable
from prefect_imagine.stores.s3_errors import ABSENT, code_of, s3_errors
from prefect_imagine.stores.s3_output import OutputUpload
from prefect_imagine.stores.s3_write import checksum, checksum_of, unquoted, won
from prefect_imagine.stores.source import MediaSource

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

LONGEST_LINK_SECONDS = 7 * 24 * 3600
_BYTES = "application/octet-stream"
_PIECE = 1024**2


class S3Store:
    """Objects under one prefix of one bucket. `close` closes the client only where the store owns it."""

    def __init__(
        self, client: S3Client, bucket: str, prefix: str, *, concurrency: int = 16, owns_client: bool = False
    ) -> None:
        self._client = client
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._clock = ServerClock(client)
        self._slots = BoundedSemaphore(max(1, concurrency // 2))
        self._streams = can_stream(client)
        # Of an ETag in If-Match; either names this one version, so trying both overwrites nobody's write.
        self._spellings: tuple[Callable[[str], str], ...] = (str, unquoted)
        self._owns_client = owns_client

    @property
    def address(self) -> str:
        """`s3://bucket/prefix`."""
        return f"s3://{self._bucket}/{self._prefix}".rstrip("/")

    def read(self, key: str) -> bytes | None:
        found = self.read_version(key)
        return found[0] if found else None

    def pieces(self, key: str) -> Iterator[bytes] | None:
        with self._errors(key):
            try:
                answer = self._client.get_object(Bucket=self._bucket, Key=self._key(key))
            except ClientError as error:
                if code_of(error) in ABSENT:
                    return None
                raise
        return self._body(key, answer["Body"])

    def _body(self, key: str, body: Any) -> Iterator[bytes]:
        with self._errors(key), closing(body):
            yield from body.iter_chunks(_PIECE)

    def read_version(self, key: str) -> tuple[bytes, str] | None:
        with self._errors(key):
            try:
                answer = self._client.get_object(Bucket=self._bucket, Key=self._key(key))
                with closing(answer["Body"]) as body:
                    return body.read(), answer["ETag"]
            except ClientError as error:
                if code_of(error) in ABSENT:
                    return None
                raise

    def put_new(self, key: str, data: bytes, media_type: str = _BYTES) -> bool:
        return self._put_if(key, data, media_type, IfNoneMatch="*")

    def put(self, key: str, data: bytes, media_type: str = _BYTES) -> None:
        with self._errors(key):
            self._send(key, data, media_type)

    def put_file(self, key: str, file: BinaryIO, media_type: str = _BYTES) -> None:
        file.seek(0)
        crc = checksum_of(iter(lambda: file.read(_PIECE), b""))
        file.seek(0)
        with self._errors(key):
            self._put(key, file, media_type, crc)

    def swap(self, key: str, data: bytes, version: str | None) -> bool:
        if version is None:
            return self.put_new(key, data)
        for spelling in self._spellings:
            if self._put_if(key, data, _BYTES, IfMatch=spelling(version)):
                self._spellings = (spelling,)
                return True
            if not self._still(key, version):
                return False
        return False

    def put_output(self, stem: str, source: MediaSource, metadata: Mapping[str, str]) -> StoredOutput:
        reader = CheckedReader(source)
        key = check_key(f"{stem}.{reader.media_type.extension}")
        upload = OutputUpload(self._client, self._bucket, self._key(key), reader, metadata)
        with self._errors(key):
            try:
                upload.run(self._slots, streams=self._streams)
            except BotoCoreError as error:
                if reader.failure:
                    raise reader.failure from error
                raise
        return reader.stored(key)

    def head(self, key: str) -> StoredObject | None:
        with self._errors(key):
            try:
                answer = self._client.head_object(Bucket=self._bucket, Key=self._key(key))
            except ClientError as error:
                if code_of(error) in ABSENT:
                    return None
                raise
        return StoredObject(key, answer["ContentLength"], answer["LastModified"].timestamp(), answer["ETag"])

    def list(self, prefix: str, *, after: str | None = None) -> Iterator[StoredObject]:
        start = {"StartAfter": self._key(after)} if after else {}
        return self._pages(Prefix=self._prefix + check_prefix(prefix), **start)

    def folders(self, prefix: str) -> Iterator[str]:
        below = self._prefix + folder_prefix(prefix)
        pages = self._client.get_paginator("list_objects_v2")
        with self._errors(prefix):
            for page in pages.paginate(Bucket=self._bucket, Prefix=below, Delimiter="/"):
                for common in page.get("CommonPrefixes", []):
                    yield common["Prefix"][len(below) :].rstrip("/")

    def delete(self, key: str) -> None:
        with self._errors(key):
            self._client.delete_object(Bucket=self._bucket, Key=self._key(key))

    def now(self) -> float:
        if self._clock.now() is None:
            # Even a refusal carries the date.
            with self._errors(""), suppress(ClientError):
                self._client.head_bucket(Bucket=self._bucket)
        return self._clock.now() or time.time()

    def check_writable(self) -> None:
        check_reachable(self._client.meta.endpoint_url)
        self._check_bucket()
        check_conditions(self)

    def link(self, key: str, *, expires: int | None = None) -> str:
        with self._errors(key):
            return self._client.generate_presigned_url(
                "get_object",
                Params={"Bucket": self._bucket, "Key": self._key(key)},
                ExpiresIn=expires or LONGEST_LINK_SECONDS,
            )

    def close(self) -> None:
        self._clock.close()
        if self._owns_client:
            self._client.close()

    def _check_bucket(self) -> None:
        """Some servers create the bucket with its first object, misspelt or not."""
        with self._errors(""):
            try:
                self._client.head_bucket(Bucket=self._bucket)
            except ClientError as error:
                # A refusal says no more than its status: the first write will say why.
                if code_of(error) in ABSENT | {"NoSuchBucket"}:
                    raise StoreError(
                        f"{self.address}: there is no such bucket; create it or correct the address"
                    ) from error

    def _key(self, key: str) -> str:
        return self._prefix + check_key(key)

    def _errors(self, key: str, condition: str = "") -> AbstractContextManager[None]:
        return s3_errors(f"{self.address}/{key}".rstrip("/"), condition)

    def _send(self, key: str, data: bytes, media_type: str, **condition: Any) -> None:
        # Of `bytes` botocore makes a file, and asks the server for leave before it sends a file.
        self._put(key, bytearray(data), media_type, checksum(data), **condition)

    def _put(self, key: str, body: Any, media_type: str, crc: str, **condition: Any) -> None:
        self._client.put_object(
            Bucket=self._bucket,
            Key=self._key(key),
            Body=body,
            ContentType=media_type,
            ChecksumCRC32=crc,
            **condition,
        )

    def _put_if(self, key: str, data: bytes, media_type: str, **condition: Any) -> bool:
        with self._errors(key, "If-Match" if "IfMatch" in condition else "If-None-Match"):
            return won(lambda: self._send(key, data, media_type, **condition))

    def _still(self, key: str, version: str) -> bool:
        head = self.head(key)
        return head is not None and head.version == version

    def _pages(self, **which: Any) -> Iterator[StoredObject]:
        pages = self._client.get_paginator("list_objects_v2")
        with self._errors(""):
            for page in pages.paginate(Bucket=self._bucket, **which):
                for found in page.get("Contents", []):
                    key = found["Key"][len(self._prefix) :]
                    yield StoredObject(key, found["Size"], found["LastModified"].timestamp(), found["ETag"])

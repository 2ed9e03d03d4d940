"""S3, Google Cloud Storage and Azure Blob through obstore: one library for the three, at home in milliseconds."""

from __future__ import annotations

import contextlib
import os
import re
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .base import NoBucket, Place
from .blobs import Refused, delete_blob, signed_for_folder
from .logins import open_bucket

PART = 8 << 20  # bytes, at least: a larger object goes in parts
MOST_PARTS = 9000  # S3 and Google take 10,000, Azure more
AT_ONCE = 6  # parts; with PART it bounds the memory that a large object takes
STATUS = re.compile(r"status code: (\d{3} [A-Za-z ]+)")
CODE = re.compile(r"<Code>(\w+)</Code>(?:\s*<Message>([^<]*)</Message>)?")
NO_BUCKET = re.compile(r"<Code>(NoSuchBucket|ContainerNotFound)</Code>")  # S3 and Google, Azure
LAPSED = re.compile(r"ExpiredToken|TokenRefreshRequired|AuthenticationFailed")  # AWS, AWS, Azure


class Lapsed(Exception):
    """What was lent has ended, and is lent anew: no refusal."""


class Bucket:
    """One bucket or container. Paths begin with its name."""

    local = False

    def __init__(self, place: Place) -> None:
        self._place, self._name, self._where = place, place.bucket, f"{place.kind}://"
        self._store = open_bucket(place)
        # Large objects go one after another, each in several parts: two would take twice the memory and no less time.
        self._large = threading.Lock()

    def read(self, path: str) -> bytes:
        import obstore

        with self._errors(path):
            return bytes(obstore.get(self._store, self._key(path)).bytes())

    def write(self, path: str, content: bytes) -> None:
        import obstore

        with self._errors(path):
            obstore.put(self._store, self._key(path), content, use_multipart=False)

    def send(self, file: Path, path: str) -> None:
        import obstore

        size = file.stat().st_size
        if size <= PART:
            self.write(path, file.read_bytes())
            return
        part = max(PART, -(-size // MOST_PARTS))
        with self._large, self._errors(path):
            obstore.put(self._store, self._key(path), file, chunk_size=part, max_concurrency=AT_ONCE)

    def fetch(self, path: str, file: Path, size: int) -> None:
        import obstore

        if size <= PART:
            with self._errors(path):
                content = obstore.get(self._store, self._key(path)).bytes()
            file.write_bytes(content)
            return
        with self._large, self._errors(path), file.open("wb") as target:

            def bring(start: int) -> None:
                end = min(start + PART, size)
                content = obstore.get_range(self._store, self._key(path), start=start, end=end)
                os.pwrite(target.fileno(), content, start)

            with ThreadPoolExecutor(AT_ONCE) as pool:
                for _ in pool.map(bring, range(0, size, PART)):
                    pass

    def size(self, path: str) -> int | None:
        import obstore

        if self._key(path):
            try:
                with self._errors(path):
                    size = int(obstore.head(self._store, self._key(path))["size"])
                # On Azure a folder, too, has a name of its own, and looks like an empty object.
                return None if size == 0 and next(self._below(path), None) else size
            except FileNotFoundError:
                pass
        if next(self._below(path), None) is None:
            raise FileNotFoundError(f"{self._where}{path}")
        return None

    def find(self, path: str) -> dict[str, int]:
        found = list(self._below(path))
        with ThreadPoolExecutor(AT_ONCE) as pool:
            # A console shows an empty folder by an empty object "folder/", of which obstore hides the slash.
            there = list(pool.map(lambda about: about[1] > 0 or self._is_object(about[0]), found))
        start = len(self._key(path)) + 1 if self._key(path) else 0
        return {key[start:]: size for (key, size), is_one in zip(found, there) if is_one}  # noqa: B905 - Python 3.9

    def names(self, path: str) -> list[str]:
        import obstore

        with self._errors(path):
            found = obstore.list_with_delimiter(self._store, self._key(path) or None)
        keys = [*found["common_prefixes"], *(about["path"] for about in found["objects"])]
        return list(dict.fromkeys(key.rpartition("/")[2] for key in keys))

    def delete(self, paths: Sequence[str]) -> None:
        import obstore

        keys = [self._key(path) for path in paths]
        with contextlib.suppress(FileNotFoundError), self._errors(paths[0] if paths else ""):
            if not signed_for_folder(self._place):
                obstore.delete(self._store, keys)
                return
            with ThreadPoolExecutor(AT_ONCE) as pool:
                for _ in pool.map(lambda key: delete_blob(self._place, key), keys):
                    pass

    def remove(self, path: str) -> None:
        below = [f"{self._name}/{key}" for key, _ in self._below(path)]
        self.delete(below or [path])

    def _below(self, path: str) -> Iterator[tuple[str, int]]:
        """Key and size of each object below a path."""
        import obstore

        with self._errors(path):
            for page in obstore.list(self._store, self._key(path) or None, chunk_size=1000):
                for about in page:
                    yield about["path"], about["size"]

    def _is_object(self, key: str) -> bool:
        import obstore

        try:
            with self._errors(key):
                obstore.head(self._store, key)
        except FileNotFoundError:
            return False
        return True

    def _key(self, path: str) -> str:
        return path.partition("/")[2]

    @contextlib.contextmanager
    def _errors(self, path: str) -> Iterator[None]:
        """obstore's errors as Python's own, in a line that names the place and shows no signature of a URL."""
        from obstore.exceptions import BaseError, PermissionDeniedError

        where = f"{self._where}{path}"
        try:
            yield
        except FileNotFoundError:
            raise FileNotFoundError(f"there is nothing at {where}") from None
        except (BaseError, Refused) as error:
            line = f"{where}: {_words(str(error))}"
            if LAPSED.search(line):
                raise Lapsed(line) from None
            if isinstance(error, (PermissionDeniedError, Refused)):
                raise PermissionError(line) from None
            if NO_BUCKET.search(str(error)):
                raise NoBucket(f"there is no {self._where}{self._name}: {_words(str(error))}") from None
            raise ConnectionError(line) from None


def _words(text: str) -> str:
    """Status, code and message of what a store has answered; else what went wrong on the way to it."""
    status, code = STATUS.search(text), CODE.search(text)
    if status:
        told = f" {code[1]}: {code[2] or code[1]}" if code else ""
        return f"{status[1].strip()}{told}"
    return re.sub(r"\?\S*", "", text.partition("\n\nDebug source")[0].replace("\n", " "))

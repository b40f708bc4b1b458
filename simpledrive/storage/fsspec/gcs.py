"""gs:// — a bucket of Google Cloud Storage, by gcsfs."""

from typing import Any
from urllib.parse import SplitResult

from gcsfs import GCSFileSystem

from simpledrive.errors import StorageRefused
from simpledrive.storage.fsspec.faults import Meaning
from simpledrive.storage.fsspec.filesystem import Arguments, check_names
from simpledrive.storage.fsspec.objects import ObjectStore


class GoogleCloudStorage(ObjectStore):
    files = frozenset({"token"})

    @classmethod
    def arguments(cls, address: SplitResult, given: Arguments, timeout: float) -> Arguments:
        check_names(given, GCSFileSystem)
        if not address.netloc:
            raise ValueError("the URL wants a bucket: gs://bucket/folder")
        if not given.get("token"):
            # gcsfs would look for one, in ~/.config among other places.
            raise ValueError(
                "token is missing: the file of a service account's key, or 'cloud' on Google's machines"
            )
        return {"project": "", "requests_timeout": timeout, **given}

    @staticmethod
    def connect(arguments: Arguments) -> Any:
        return GCSFileSystem(**arguments, use_listings_cache=False, skip_instance_cache=True)

    @staticmethod
    def base(address: SplitResult) -> str:
        return f"{address.netloc}{address.path}".rstrip("/")

    @staticmethod
    def meaning(error: BaseException) -> Meaning | None:
        if type(error) is OSError and str(error).startswith("Forbidden"):
            return StorageRefused, "the server refuses (403)"
        return ObjectStore.meaning(error)

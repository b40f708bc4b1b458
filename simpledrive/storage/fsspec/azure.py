"""abfs:// — a container of Azure Blob Storage, by adlfs."""

from typing import Any
from urllib.parse import SplitResult

from adlfs import AzureBlobFileSystem

from simpledrive.storage.fsspec.filesystem import Arguments, check_names
from simpledrive.storage.fsspec.objects import ObjectStore

LOGINS = ("account_key", "sas_token", "connection_string", "client_secret", "credential")


class Azure(ObjectStore):
    @classmethod
    def arguments(cls, address: SplitResult, given: Arguments, timeout: float) -> Arguments:
        check_names(given, AzureBlobFileSystem)
        if not address.netloc or "@" in address.netloc:
            raise ValueError(
                "the URL wants a container alone, abfs://container/folder, and account_name here"
            )
        if not given.get("account_name") and not given.get("connection_string"):
            raise ValueError("account_name is missing")
        if not any(given.get(name) for name in LOGINS) and given.get("anon") is not False:
            # adlfs would look for one in the environment.
            raise ValueError(
                f"one of {', '.join(LOGINS)} is missing, or anon = false for the machine's identity"
            )
        return {"connection_timeout": timeout, "read_timeout": timeout, **given}

    @staticmethod
    def connect(arguments: Arguments) -> Any:
        return AzureBlobFileSystem(**arguments, use_listings_cache=False, skip_instance_cache=True)

    @staticmethod
    def base(address: SplitResult) -> str:
        return f"{address.netloc}{address.path}".rstrip("/")

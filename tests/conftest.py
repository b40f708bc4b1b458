"""What all tests share. Fixtures live in modules of their own noun and are only named here."""

import os

import pytest

# Where these are set, pytest draws every difference in full: for minutes, between two blobs of megabytes.
for name in ("CI", "BUILD_NUMBER"):
    os.environ.pop(name, None)

pytest.register_assert_rewrite("tests.contract")

pytest_plugins = [
    "tests.postgres",
    "tests.apps",
    "tests.servers",
    "tests.redis_server",
    "tests.ftp_servers",
    "tests.s3_servers",
    "tests.faulty_backends",
    "tests.fsspec_servers",
    "tests.places",
    "tests.troubled",
    "tests.mirrored",
    "tests.browser",
    "tests.visitors",
    "tests.backups",
]


@pytest.fixture(autouse=True)
def _push_request_context() -> None:
    """Not pytest-flask's: with one context around a whole test, `g` would be shared by all its requests."""

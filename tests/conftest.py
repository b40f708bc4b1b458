"""What all tests share. Fixtures live in modules of their own noun and are only named here."""

import pytest

pytest.register_assert_rewrite("tests.contract")

pytest_plugins = ["tests.places", "tests.postgres", "tests.apps", "tests.servers", "tests.browser"]


@pytest.fixture(autouse=True)
def _push_request_context() -> None:
    """Not pytest-flask's: with one context around a whole test, `g` would be shared by all its requests."""

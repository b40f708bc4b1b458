"""What all tests share. Fixtures live in modules of their own noun and are only named here."""

import pytest

pytest.register_assert_rewrite("tests.contract")

pytest_plugins = ["tests.postgres", "tests.apps", "tests.servers"]

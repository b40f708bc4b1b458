"""The OpenAPI 3.1 description of the JSON face, written by hand beside it: a module for each subject.

It says what the routes promise and nothing of how. Tests compare it with the routes there are, and with
what a running drive answers (tests/test_openapi.py, tests/test_schemathesis.py).
"""

from simpledrive.api.specification.document import document

__all__ = ["document"]

"""A person with a browser, as a test client."""

import io
import re
from contextvars import Context

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.apps import TOKEN


class Visitor:
    """A browser without scripts: follows nothing by itself, sends the token of the page it saw last.

    Each request runs in a context of its own: the one that pytest-flask pushes would share `g` among them.
    """

    def __init__(self, app: Flask) -> None:
        self.client: FlaskClient = app.test_client()
        self.token = ""

    def get(self, url: str, **options: object) -> TestResponse:
        return self._seen(Context().run(self.client.get, url, **options))

    def post(self, url: str, data: dict[str, object] | None = None, **options: object) -> TestResponse:
        given = {"csrf_token": self.token} | (data or {})
        return self._seen(Context().run(self.client.post, url, data=given, **options))

    def sign_in(self, key: str = TOKEN, **fields: object) -> TestResponse:
        self.get("/drive/sign-in")
        return self.post("/drive/sign-in", {"key": key} | fields)

    def upload(self, *files: tuple[bytes, str], **fields: object) -> TestResponse:
        parts = [(io.BytesIO(data), name) for data, name in files]
        return self.post("/drive/upload", {"file": parts} | fields)

    def _seen(self, response: TestResponse) -> TestResponse:
        if response.mimetype == "text/html" and (
            found := re.search(r'name="csrf_token" value="([^"]+)"', response.text)
        ):
            self.token = found[1]
        return response


@pytest.fixture
def visitor(app: Flask) -> Visitor:
    """Somebody signed in, who looks at the files."""
    someone = Visitor(app)
    assert someone.sign_in().status_code == 303
    someone.get("/drive/files/")
    return someone

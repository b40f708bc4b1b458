"""The one assertion on the shape of errors: RFC 9457, with the members that every error has."""

from werkzeug.test import TestResponse

MEMBERS = ["type", "title", "status", "detail", "instance", "request_id"]


def assert_problem(response: TestResponse, status: int, kind: str, *fields: str) -> dict[str, object]:
    """The document of an error of that status and type, which blames these fields and no others."""
    assert response.status_code == status, response.get_data(as_text=True)
    assert response.headers["Content-Type"] == "application/problem+json"
    document: dict[str, object] = response.get_json()
    assert list(document) == MEMBERS + ["errors"] * bool(fields), document
    assert (document["type"], document["status"]) == (f"/problems/{kind}", status)
    assert document["request_id"] == response.headers["X-Request-Id"]
    assert all(document[name] for name in ("title", "detail", "instance", "request_id"))
    assert [error["field"] for error in document.get("errors", [])] == list(fields)
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    return document

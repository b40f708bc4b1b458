"""What an attacker tried, each once."""

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.visitors import Visitor


@pytest.mark.parametrize(
    "content_type",
    ["text/plain;,text/html", 'text/plain;a="b",image/svg+xml', 'text/plain;a="b,text/html"', "text/plain;x"],
)
def test_a_content_type_that_browsers_take_for_a_list_is_refused(api: FlaskClient, content_type: str) -> None:
    assert api.put("/v1/content/x", data=b"x", headers={"Content-Type": content_type}).status_code == 422


def test_ordinary_parameters_are_fine(api: FlaskClient) -> None:
    typed = {"Content-Type": 'text/plain; charset=utf-8; format="flowed text"'}
    assert api.put("/v1/content/x", data=b"x", headers=typed).status_code == 201


@pytest.mark.parametrize("wanted", ["script", "style", "serviceworker"])
def test_no_page_may_run_what_is_stored(api: FlaskClient, wanted: str) -> None:
    assert api.put("/v1/content/x.js", data=b"alert(1)").status_code == 201
    assert api.get("/v1/content/x.js", headers={"Sec-Fetch-Dest": wanted}).status_code == 403
    assert api.get("/v1/content/x.js", headers={"Sec-Fetch-Dest": "document"}).status_code == 200


def test_a_folder_deeper_than_any_id_is_not_drawn(visitor: Visitor) -> None:
    answer = visitor.get("/drive/files/" + "/" * 15_000)
    assert answer.status_code == 404
    assert len(answer.data) < 50_000


def test_a_form_that_names_too_many_files_is_refused(visitor: Visitor) -> None:
    ids = [str(number) for number in range(1_001)]
    assert visitor.post("/drive/delete", {"id": ids}).status_code == 422


@pytest.mark.parametrize("host", ["a..b", ".a"])
def test_a_host_that_cannot_be_one_is_the_callers_fault(app: Flask, host: str) -> None:
    assert 400 <= app.test_client().get("/drive/sign-in", headers={"Host": host}).status_code < 500


def test_a_referer_that_is_no_url_is_no_fault(visitor: Visitor) -> None:
    answer = visitor.post("/drive/settings/theme", {"theme": "dark"}, headers={"Referer": "http://[x"})
    assert answer.status_code == 303

"""An operation: what is asked, what is answered, and who may ask."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from simpledrive.api.specification.answers import without_body
from simpledrive.api.specification.parameters import ANNOUNCED
from simpledrive.api.specification.problems import EVERYWHERE, answers_of, either
from simpledrive.api.specification.references import Json, parameter, schema

KEYS: list[dict[str, list[str]]] = [{"bearer": []}, {"apiKey": []}, {"session": [], "csrf": []}]
"""Any one of these."""

NOBODY: list[dict[str, list[str]]] = [{}]
"""Open to all."""


def operation(
    name: str,
    summary: str,
    answers: Mapping[int, Json],
    problems: Iterable[str] = EVERYWHERE,
    *,
    description: str = "",
    parameters: Iterable[Json] = (),
    body: Json | None = None,
    security: list[dict[str, list[str]]] = KEYS,
) -> Json:
    """An operation of this `operationId`, with the answers of its own and the problems it may meet.

    One with a body takes what may be announced of it, too: that is checked of every body.
    """
    described: Json = {"operationId": name, "summary": summary}
    if description:
        described["description"] = description
    asked = list(parameters)
    if body is not None:
        described["requestBody"] = body
        asked += (parameter(name) for name in ANNOUNCED)
    if asked:
        described["parameters"] = asked
    met = answers_of(problems)
    expected = {
        str(status): either(own, met[str(status)]) if str(status) in met else own
        for status, own in answers.items()
    }
    described["responses"] = dict(sorted((met | expected).items()))
    described["security"] = security
    return described


def json_body(
    name: str, /, *, media_types: Iterable[str] = ("application/json",), **examples: object
) -> Json:
    """A required body of that shared schema. It leads to the answer that has an example of the same name."""
    content: Json = {"schema": schema(name)}
    if examples:
        content["examples"] = {example: {"value": value} for example, value in examples.items()}
    return {"required": True, "content": dict.fromkeys(media_types, content)}


def file_body(description: str) -> Json:
    """A form with one file in the field `file`."""
    form = {
        "type": "object",
        "required": ["file"],
        "properties": {"file": {"type": "string", "format": "binary", "description": description}},
    }
    examples = {"text": {"value": {"file": "Hello Simple Storage World!"}}}
    return {"required": True, "content": {"multipart/form-data": {"schema": form, "examples": examples}}}


def head_of(get: Json) -> Json:
    """HEAD beside a GET: the same answers, without their bodies. Only a GET answers with a part."""
    answers = {status: without_body(answer) for status, answer in get["responses"].items()}
    return get | {
        "operationId": f"{get['operationId']}_head",
        "summary": f"{get['summary']} Only the headers.",
        "responses": {status: answer for status, answer in answers.items() if status not in ("206", "416")},
    }

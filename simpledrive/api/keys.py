"""/v1/keys: API keys, made, listed and revoked (issued ones only: API_TOKEN has no row)."""

from __future__ import annotations

from flask import Blueprint, Response, url_for

from simpledrive.api import key_documents
from simpledrive.api.answers import json_response, no_content, page_of
from simpledrive.api.bodies import document
from simpledrive.http.current import caller, parts, sign_in_by_header

blueprint = Blueprint("keys", __name__, url_prefix="/v1/keys")
blueprint.before_request(sign_in_by_header)


@blueprint.post("")
@blueprint.post("/", endpoint="post_slash")
def post() -> Response:
    """Makes a key and shows it, this once. Whatever an Idempotency-Key says, no answer with a key is kept."""
    with document(key_documents.NewKeyDocument) as sent:
        made, credential = parts().keys.issue(caller(), sent.asked())
    response = json_response({"key": credential} | key_documents.key(made), 201)
    response.headers["Location"] = url_for("keys.get", key_id=made.id)
    response.headers["Cache-Control"] = "no-store"
    return response


@blueprint.get("")
@blueprint.get("/", endpoint="every_slash")
def every() -> Response:
    """The keys that may do no more than the caller's, oldest first, revoked ones too. All on one page."""
    return page_of([key_documents.key(row) for row in parts().keys.all(caller())], None)


@blueprint.get("/<key_id>")
def get(key_id: str) -> Response:
    """What is known of one key."""
    return json_response(key_documents.key(parts().keys.get(caller(), key_id)))


@blueprint.delete("/<key_id>")
def revoke(key_id: str) -> Response:
    """From now on the key is refused, and so is every session that began with it. It stays in the list."""
    parts().keys.revoke(caller(), key_id)
    return no_content()

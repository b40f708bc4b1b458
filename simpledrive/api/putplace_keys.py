"""/api_keys: keys as PutPlace's contract has them (CONTRACTS, part 3)."""

from __future__ import annotations

from flask import Blueprint, Response

from simpledrive.api import key_documents
from simpledrive.api.answers import json_response
from simpledrive.api.bodies import document
from simpledrive.http.current import caller, parts, sign_in_by_header

blueprint = Blueprint("putplace_keys", __name__, url_prefix="/api_keys")
blueprint.before_request(sign_in_by_header)


@blueprint.post("")
def post() -> Response:
    """Makes a key that may do what its maker may, and shows it, this once."""
    with document(key_documents.NewApiKeyDocument) as sent:
        made, credential = parts().keys.issue(caller(), sent.asked())
    shown = {"api_key": credential} | key_documents.api_key(made)
    del shown["last_used_at"]  # only the listing has it
    response = json_response(shown, 201)
    response.headers["Cache-Control"] = "no-store"
    return response


@blueprint.get("")
def every() -> Response:
    """The keys that may do no more than the caller's."""
    return json_response([key_documents.api_key(row) for row in parts().keys.all(caller())])


@blueprint.put("/<key_id>/revoke")
def revoke(key_id: str) -> Response:
    """From now on the key is refused. It stays in the list."""
    parts().keys.revoke(caller(), key_id)
    return json_response({"message": "API key revoked successfully"})


@blueprint.delete("/<key_id>")
def delete(key_id: str) -> Response:
    """Forgets the key; what it stored stays."""
    parts().keys.remove(caller(), key_id)
    return json_response({"message": "API key deleted successfully"})

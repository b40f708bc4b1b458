"""/v1/migrations: blobs moved from one backend to another, by the workers, and back again.

A request says what is to happen, and a worker does it; so none holds on for as long as that takes.
"""

from __future__ import annotations

from flask import Blueprint, Response, request, url_for

from simpledrive.api import queries
from simpledrive.api.answers import json_response, page_of
from simpledrive.api.bodies import document
from simpledrive.api.migration_documents import NewMigrationDocument
from simpledrive.http import migrations as documents
from simpledrive.http.content import streamed
from simpledrive.http.current import caller, parts, sign_in_by_header
from simpledrive.models import Migration

blueprint = Blueprint("migrations", __name__, url_prefix="/v1/migrations")
blueprint.before_request(sign_in_by_header)


@blueprint.post("")
@blueprint.post("/", endpoint="post_slash")
def post() -> Response:
    """Begins a migration, or goes on with the one that the same was asked of; or says what one would move."""
    with document(NewMigrationDocument) as sent:
        asked = (caller(), sent.source, sent.target, sent.selection())
        if sent.dry_run:
            planned = parts().migrations.plan(*asked)
            planned.require(sent.plan)
            return json_response(documents.plan_document(planned))
        migration = parts().migrations.begin(*asked, grace=sent.grace, plan=sent.plan)
    response = _told(migration, 202)
    response.headers["Location"] = url_for("migrations.get", migration_id=migration.id)
    return response


@blueprint.get("")
@blueprint.get("/", endpoint="page_slash")
def page() -> Response:
    """All there were, the latest first."""
    limit = queries.limit(request.args)
    found, cursor = parts().migrations.page(caller(), request.args.get("cursor"), limit)
    return page_of([documents.document(migration) for migration in found], cursor)


@blueprint.get("/<migration_id>")
def get(migration_id: str) -> Response:
    """One, and how far it has come."""
    return _told(parts().migrations.get(caller(), migration_id))


@blueprint.get("/<migration_id>/items")
def items(migration_id: str) -> Response:
    """Its records by digest, all or those in one state."""
    state, limit = queries.item_state(request.args), queries.limit(request.args)
    cursor = request.args.get("cursor")
    found, cursor = parts().migrations.items_page(caller(), migration_id, state, cursor, limit)
    return page_of([documents.item_document(item) for item in found], cursor)


@blueprint.get("/<migration_id>/receipt")
def receipt(migration_id: str) -> Response:
    """What it has moved so far, a line each, streamed."""
    batches = parts().migrations.items(caller(), migration_id, "moved")
    response = streamed(documents.receipt(batches))
    response.headers["Content-Type"] = "application/jsonl"
    response.headers["Cache-Control"] = "private, no-cache"
    return response


@blueprint.post("/<migration_id>/pause")
def pause(migration_id: str) -> Response:
    return _told(parts().migrations.pause(caller(), migration_id))


@blueprint.post("/<migration_id>/resume")
def resume(migration_id: str) -> Response:
    return _told(parts().migrations.resume(caller(), migration_id))


@blueprint.post("/<migration_id>/roll-back")
def roll_back(migration_id: str) -> Response:
    """Everything is to go back, as far as it can, without copying a byte."""
    return _told(parts().migrations.roll_back(caller(), migration_id), 202)


@blueprint.post("/<migration_id>/finalize")
def finalize(migration_id: str) -> Response:
    """What is kept at the source is given up: from then on nothing goes back without copying."""
    return _told(parts().migrations.finalize(caller(), migration_id), 202)


def _told(migration: Migration, status: int = 200) -> Response:
    return json_response(documents.document(migration), status)

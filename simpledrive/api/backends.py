"""/v1/backends: the backends there are, whether they can be reached, and how much lies there."""

from __future__ import annotations

from flask import Blueprint, Response

from simpledrive.api.answers import json_response
from simpledrive.http.current import caller, parts, sign_in_by_header
from simpledrive.http.health import probed
from simpledrive.usage import NONE

blueprint = Blueprint("backends", __name__, url_prefix="/v1/backends")
blueprint.before_request(sign_in_by_header)


@blueprint.get("")
def every() -> Response:
    """Every backend, the default first; also one that is no longer configured while bytes are recorded there.

    `blobs` have their home there. `replicas` are the contents kept there, each once however many blobs have
    it, and earlier versions too; `bytes` are theirs. All come from counters.
    """
    caller().require_everywhere("admin")
    default, probes = parts().backends.default, parts().probes.backends()
    items = []
    for usage in parts().counters.usage(caller()):
        item: dict[str, object] = {
            "name": usage.backend,
            "kind": usage.kind,
            "default": usage.backend == default,
        }
        if usage.backend in probes:
            item |= probed(probes[usage.backend])
        else:
            why = "No backend of this name is configured any more."
            item |= {"reachable": False, "detail": why, "probed_at": None, "probe_ms": None}
        items.append(item | (usage.counts or NONE)._asdict())
    return json_response({"items": items})

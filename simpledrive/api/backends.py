"""/v1/backends: the backends there are, whether they can be used, and how much lies there."""

from __future__ import annotations

from flask import Blueprint, Response

from simpledrive.api.answers import json_response
from simpledrive.http.backends import account, document
from simpledrive.http.current import caller, parts, sign_in_by_header
from simpledrive.mirroring import IN_STEP
from simpledrive.probes import NOT_CONFIGURED

blueprint = Blueprint("backends", __name__, url_prefix="/v1/backends")
blueprint.before_request(sign_in_by_header)


@blueprint.get("")
def every() -> Response:
    """Every backend, the default first; also one that is no longer configured while bytes are recorded there.

    `blobs` have their home there. `replicas` are the contents kept there, each once however many blobs have
    it, and earlier versions too; `bytes` are theirs. All come from counters. `waiting` are copies that it is
    to have as a mirror and has not. `bad_replicas` are known to be wrong or gone; all others were read in
    full and right, or stored, at `verified_since` or later.
    """
    caller().require_everywhere("admin")
    probes, lags = parts().probes.backends(), parts().lags.by_mirror(caller())
    held = parts().counters.usage(caller())
    sound = parts().soundness.of(usage.backend for usage in held)
    items = [
        document(usage.backend, probes.get(usage.backend, NOT_CONFIGURED))
        | account(usage, lags.get(usage.backend, IN_STEP), sound[usage.backend])
        for usage in held
    ]
    return json_response({"items": items})


@blueprint.post("/<name>/check")
def check(name: str) -> Response:
    """Looks at a backend now. 202, with what was found before, if that takes longer than a request waits."""
    caller().require_everywhere("admin")
    probe = parts().probes.backends(now=[name])[name]
    return json_response(document(name, probe), 202 if probe.goes_on else 200)

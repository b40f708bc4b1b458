"""Forms that carry one file, and a request that is wrong where they carry another number of them."""

from __future__ import annotations

from typing import cast

import flask
from werkzeug.datastructures import FileStorage

from simpledrive.errors import BadRequest, Invalid
from simpledrive.http.bodies import refuse_codings
from simpledrive.http.current import caller
from simpledrive.http.form_files import FormFile, file_limit
from simpledrive.http.requests import Request
from simpledrive.streams.staging import Staged


def one_file(request: flask.Request, field: str, most: int | None = None, too_large: str = "") -> FileStorage:
    """The one file of the form, in the field of that name; `staged` takes its bytes.

    No more of the body is read than a form with one file of `most` bytes may have, or of as many as the
    caller has room for: then `staged`, or this call already, raises TooLarge with the sentence `too_large`,
    or QuotaExceeded. Raises also Forbidden, Invalid for a form without the file or with several, BadRequest
    for one without a name.
    """
    caller().require("write")
    refuse_codings(request)
    cast(Request, request).only_file = file_limit(most, too_large)
    files = request.files.getlist(field)
    if not files:
        raise Invalid((field, "Send a file in this field of a multipart form."))
    if len(request.files) > 1 or len(files) > 1:
        raise Invalid((field, "Send one file a request: the others would be lost."))
    if not files[0].filename:
        raise BadRequest("The file has no name.")
    return files[0]


def staged(file: FileStorage) -> Staged:
    """The bytes of a form's file. The caller closes them. Raises what kept them from being received."""
    return cast(FormFile, file.stream).finish()

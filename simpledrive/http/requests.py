"""The class of all requests. Every byte of a body is counted, and a form's files go to staging.

Of somebody who is not signed in, no more is read than the form of the door.
"""

from __future__ import annotations

import io
from functools import cached_property
from typing import IO, cast

import flask
from flask import g
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.formparser import FormDataParser

from simpledrive.errors import BadRequest, NotSignedIn, TooLarge
from simpledrive.http import connection
from simpledrive.http.counting import Counted, Digested, Limited
from simpledrive.http.current import parts
from simpledrive.http.digests import announced_digests
from simpledrive.http.form_files import FileLimit, FormFile, file_limit
from simpledrive.rights import Caller

FORM_BYTES = 2 << 20
"""The most bytes of a form without files, which is read into memory: some thousand ticked files."""

STRANGERS_BYTES = 64 << 10
"""The most bytes of any form of somebody who is not signed in, or may only read."""

ENVELOPE_BYTES = 64 << 10
"""The most bytes around the one file of a form that has one: boundaries, headers, other fields."""

FILES_IN_MEMORY = 32
"""How many small files of one form may wait in memory; a form may have a thousand."""

FORMS = ("multipart/form-data", "application/x-www-form-urlencoded")


class Request(flask.Request):
    """A request whose body is counted, and whose uploaded files go to the drive's staging.

    Reading its form raises BadRequest for a damaged one, TooLarge for more than a form may have, NotSignedIn
    for a stranger's file, Forbidden for a form with files of somebody who may not write, and DigestMismatch
    for a body that is not the announced one.
    """

    only_file: FileLimit | None = None
    """Set before the form is read, by who takes one file and no more: reading stops soon behind that much."""

    _counted: Counted | None = None

    @property
    def received(self) -> int:
        """Bytes of the body that have been read."""
        return self._counted.received if self._counted is not None else 0

    @cached_property
    def stream(self) -> IO[bytes]:
        """The body. Reads raise TruncatedBody."""
        environ = self.environ
        ends = bool(environ.get("wsgi.input_terminated"))
        self._counted = Counted(environ["wsgi.input"], self.content_length, ends)
        return cast(IO[bytes], io.BufferedReader(self._counted, connection.PORTION))

    def make_form_data_parser(self) -> FormDataParser:
        """One that says when a form is damaged. Werkzeug's own would take it for an empty one."""
        parser = super().make_form_data_parser()
        parser.silent = False
        return parser

    def _load_form_data(self) -> None:
        try:
            super()._load_form_data()
        except ValueError as error:
            raise BadRequest("The form is damaged: it is not what its type says.") from error
        except RequestEntityTooLarge as error:
            most = f"{self.max_form_parts} fields and files, and {self.max_form_memory_size} bytes in a field"
            raise TooLarge(f"One form has at most {most}. Nothing of this one was stored.") from error
        if self._digested is not None:
            self._digested.compare()

    _digested: Digested | None = None

    def _get_stream_for_parsing(self) -> IO[bytes]:
        stream = self._limited()
        if self.mimetype not in FORMS or not (announced := announced_digests(self)):
            return stream
        self._digested = Digested(stream, announced)
        return cast(IO[bytes], io.BufferedReader(self._digested, connection.PORTION))

    def _limited(self) -> IO[bytes]:
        who: Caller | None = g.get("caller")
        if who is not None and self.mimetype == "multipart/form-data":
            who.require("write")
            if self.only_file is None:
                return self.stream  # what is a field in it has Werkzeug's limits, what is a file the drive's
            most, error = self.only_file.most + ENVELOPE_BYTES, self.only_file.error
        else:
            most = STRANGERS_BYTES if who is None or who.scopes <= {"read"} else FORM_BYTES
            error = TooLarge(f"A form has at most {most} bytes here.")
        if (self.content_length or 0) > most:
            raise error
        return cast(IO[bytes], io.BufferedReader(Limited(self.stream, most, error), connection.PORTION))

    def _get_file_stream(
        self,
        total_content_length: int | None,
        content_type: str | None,
        filename: str | None = None,
        content_length: int | None = None,
    ) -> IO[bytes]:
        if g.get("caller") is None:
            raise NotSignedIn("Sign in first: no file of a stranger is received.")
        limit = self.only_file or file_limit()
        in_memory = len(self._opened) < FILES_IN_MEMORY
        arrival = parts().staging.begin(None if limit is None else limit.most, in_memory=in_memory)
        file = FormFile(arrival, None if limit is None else limit.error)
        self._opened.append(file)
        return cast(IO[bytes], file)

    @cached_property
    def _opened(self) -> list[FormFile]:
        return []

    def close(self) -> None:
        """Forgets every file that no view has taken, also when the form broke off in the middle."""
        for file in self._opened:
            file.close()
        super().close()

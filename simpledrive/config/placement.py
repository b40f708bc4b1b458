"""Where bytes are to be, beside the default: `[mirrors]`, and `[[rules]]` for the home of new blobs.

Which backends there are is not known here (`Settings` compares); nor what is done with these tables.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ByteSize, ConfigDict, Field, model_validator

from simpledrive.descriptions import type_wanted


class Mirrored(BaseModel):
    """A home's line in `[mirrors]`: the backends that shall have a copy too.

    With `sync` an upload is acknowledged only when all of them have it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    to: tuple[str, ...] = Field(min_length=1)
    sync: bool = False


def _as_table(value: object) -> object:
    """`local = ["archive"]` says the same as `local = {to = ["archive"]}`."""
    return {"to": value} if isinstance(value, list | tuple) else value


def _media_type(text: str) -> str:
    if (found := type_wanted(text)) is None:
        raise ValueError("is neither a media type such as text/plain nor the first half of one, as video/")
    return found


class Rule(BaseModel):
    """Of new blobs with all that is said here, `backend` is the home. Sizes are bytes, both ends included."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    backend: str
    prefix: str = ""
    content_type: Annotated[str, AfterValidator(_media_type)] | None = None
    min_size: Annotated[ByteSize, Field(ge=0)] | None = None
    max_size: Annotated[ByteSize, Field(ge=0)] | None = None

    @model_validator(mode="after")
    def _fits_some(self) -> Self:
        if self.min_size is not None and self.max_size is not None and self.min_size > self.max_size:
            raise ValueError("min_size is larger than max_size, so that no blob fits")
        return self

    @property
    def fits_all(self) -> bool:
        return not (self.prefix or self.content_type) and self.min_size is None and self.max_size is None

    def said(self) -> dict[str, Any]:
        """What stands in the table."""
        return self.model_dump(exclude_defaults=True)


MirrorTable = Annotated[Mirrored, BeforeValidator(_as_table)]


def flaws_of_mirrors(mirrors: Mapping[str, Mirrored], known: Sequence[str]) -> list[str]:
    """What is wrong about them, given the names of all backends."""
    found = []
    for home, table in mirrors.items():
        found += [_unknown(name, known) for name in (home, *table.to) if name not in known]
        if home in table.to:
            found.append(f"{home!r} cannot be its own mirror")
        found += [f"{home!r} names {name!r} twice" for name in sorted(_doubled(table.to))]
    return list(dict.fromkeys(found))


def flaws_of_rules(rules: Sequence[Rule], known: Sequence[str]) -> list[str]:
    """What is wrong about them, given the names of all backends."""
    found = [
        f"rule {number}: {_unknown(rule.backend, known)}"
        for number, rule in enumerate(rules, 1)
        if rule.backend not in known
    ]
    found += [
        f"rule {number} fits every blob, so that those behind it never count"
        for number, rule in enumerate(rules[:-1], 1)
        if rule.fits_all
    ]
    return found


def _unknown(name: str, known: Sequence[str]) -> str:
    return f"no backend is called {name!r}; known are {', '.join(sorted(known))}"


def _doubled(names: Sequence[str]) -> set[str]:
    return {name for name in names if names.count(name) > 1}

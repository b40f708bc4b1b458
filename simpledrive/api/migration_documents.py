"""What is asked of a new migration, as JSON."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from pydantic import Field

from simpledrive.api.documents import WHOLE, Count, Document
from simpledrive.moving import Selection
from simpledrive.moving.migrations import GRACE, LONGEST_GRACE


class NewMigrationDocument(Document):
    """The body of POST /v1/migrations. What is null or left out does not matter."""

    source: str
    target: str
    prefix: str = ""
    ids: list[str] | None = None
    older_than: str | None = None
    newer_than: str | None = None
    min_size: Count | None = None
    max_size: Count | None = None
    content_type: str | None = None
    limit: Annotated[int, Field(ge=1, lt=1 << 63), WHOLE] | None = None
    versions: bool = True
    grace_seconds: Annotated[int, Field(ge=0, le=int(LONGEST_GRACE.total_seconds())), WHOLE] = int(
        GRACE.total_seconds()
    )
    plan: str | None = None
    dry_run: bool = False

    def selection(self) -> Selection:
        """What is to be moved. Raises Invalid."""
        named = self.model_dump(exclude={"source", "target", "ids", "grace_seconds", "plan", "dry_run"})
        return Selection(**named, ids=tuple(self.ids or ()))

    @property
    def grace(self) -> timedelta:
        return timedelta(seconds=self.grace_seconds)

"""What PutPlace's contract knows of machines."""

from __future__ import annotations

from sqlalchemy import BigInteger, Double, Index, Text
from sqlalchemy.orm import Mapped, mapped_column

from simpledrive.models.base import BYTEWISE, Base, Moment


class MachineFile(Base):
    """A file of a machine, as it was last announced by PutPlace's contract. One row a file."""

    __tablename__ = "machine_files"
    __table_args__ = (Index("ix_machine_files_sha256", "sha256", "id"),)

    id: Mapped[str] = mapped_column(BYTEWISE, primary_key=True)
    blob_id: Mapped[str] = mapped_column(BYTEWISE, unique=True)
    """Under which its bytes are kept, once they are there."""
    hostname: Mapped[str] = mapped_column(Text)
    filepath: Mapped[str] = mapped_column(Text)
    ip_address: Mapped[str] = mapped_column(Text)
    sha256: Mapped[str] = mapped_column(BYTEWISE)
    file_size: Mapped[int] = mapped_column(BigInteger)
    file_mode: Mapped[int] = mapped_column(BigInteger)
    file_uid: Mapped[int] = mapped_column(BigInteger)
    file_gid: Mapped[int] = mapped_column(BigInteger)
    file_mtime: Mapped[float] = mapped_column(Double)
    file_atime: Mapped[float] = mapped_column(Double)
    file_ctime: Mapped[float] = mapped_column(Double)
    created_at: Mapped[Moment]

"""Listing blobs, by keyset: a page's cost does not grow with the drive or with the page's number.

A listing is stable while blobs come and go: what is there throughout is seen exactly once. A page that is
not the last names a cursor, with which the next one is asked for; nobody else needs to know what is in it.
"""

from simpledrive.keyset import within
from simpledrive.listing.filters import Filter, is_of_type
from simpledrive.listing.folders import Folder, FolderPage
from simpledrive.listing.levels import DELIMITER, Page
from simpledrive.listing.pages import Listing

__all__ = [
    "DELIMITER",
    "Filter",
    "Folder",
    "FolderPage",
    "Listing",
    "Page",
    "is_of_type",
    "within",
]

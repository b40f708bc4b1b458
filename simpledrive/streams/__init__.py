"""Bytes on their way: pieces, the readers that check them, and staging.

Every byte enters by one door, `staging`, where it is counted, limited and hashed once. From then on it is
checked by `source` (whole blobs, SHA-256, between staging and a storage or between two storages) and by
`pieces` (any range, a fast sum a piece, on the way to a caller). No storage contains hash code. `ahead` lets
reading and writing overlap. Nothing here knows of records, users or HTTP.
"""

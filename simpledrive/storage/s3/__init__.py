"""Bytes in the bucket of a service that speaks S3, by plain HTTP. docs/s3.md tells the protocol.

storage     the promise of storage.base, in requests
options     what can be configured, and where a bucket is
client      one signed request: connections, repetition, broken transfers
content     a body on its way to the server
stream      an object's bytes on their way from the server
parts       storing large objects in parts
answers     the XML that servers send and get
faults      what a server's refusal means
"""

from simpledrive.storage.s3.storage import S3Storage

__all__ = ["S3Storage"]

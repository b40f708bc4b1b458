"""Bytes in the bucket of a service that speaks S3, by plain HTTP. docs/s3.md tells the protocol.

storage     the promise of storage.base, in requests
options     what can be configured, and where a bucket is
client      one signed request: repetition, broken transfers
transport   connections, and what goes over them
content     a body on its way to the server
stream      an object's bytes on their way from the server
ahead       long ranges of them, by several requests at a time
parts       storing large objects in parts
answers     the XML that servers send and get
faults      what a server's refusal means
"""

from simpledrive.storage.s3.storage import S3Storage

__all__ = ["S3Storage"]

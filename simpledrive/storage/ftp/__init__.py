"""Bytes on an FTP server, with TLS or without. docs/ftp.md tells what can go wrong with it.

storage      the promise of storage.base, in questions to the server
reading      an object's bytes on their way from the server
options      what can be configured
connections  sessions: begun, kept, and asked a second time
session      one logged-in connection, and what each reply to it means
transfers    bytes on a data connection
protocol     the connection itself, where ftplib's does not do
patience     how long a server is waited for
faults       what becomes of a server's refusal
"""

from simpledrive.storage.ftp.storage import FtpStorage

__all__ = ["FtpStorage"]

"""What can be the name of a host. A slip in one stops the start, and does not look like a broken network."""

import ipaddress
import re


def is_address(host: str) -> bool:
    """Whether this is an IP address, and no name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_host(host: str) -> bool:
    """Whether this is an IP address, or a name as the resolver takes it: labels of 1 to 63 characters."""
    if is_address(host):
        return True
    try:
        return bool(re.fullmatch(rb"[A-Za-z0-9_.-]{1,253}", host.encode("idna")))
    except UnicodeError:
        return False

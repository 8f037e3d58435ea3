"""Address blocks as the API server judges them. It parses like Go, which is stricter than Python and maps addresses."""

import ipaddress

_MAPPED = ipaddress.ip_network("::ffff:0:0/96")


def block(text):
    """Return the network that a CIDR names, or raise ValueError with the API server's objection."""
    address, slash, length = str(text).partition("/")
    if not slash or not length.isascii() or not length.isdigit() or (length != "0" and length.startswith("0")):
        raise ValueError(f"{text}: must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)")
    found = ipaddress.ip_network(text, strict=False)
    first = ipaddress.ip_address(address)
    if (
        first in _MAPPED
    ):  # Go reads the address as IPv4 and the length as IPv6's: the block holds nothing that it should
        raise ValueError(f"{text}: must not be an IPv4-mapped IPv6 address")
    if first != found.network_address:
        raise ValueError(f"{text}: must not have bits set beyond the prefix length ({found} is meant)")
    if str(found) != text:
        raise ValueError(f"{text}: must be in canonical form ({found})")
    return found


def block_faults(ip_block):
    """Yield what is wrong with an ``ipBlock`` of a NetworkPolicy."""
    try:
        whole = block(ip_block["cidr"])
    except (KeyError, ValueError) as error:
        yield f"ipBlock.cidr: {error}"
        return
    for text in ip_block.get("except", []):
        try:
            part = block(text)
        except ValueError as error:
            yield f"ipBlock.except: {error}"
            continue
        if part.version != whole.version or not part.subnet_of(whole) or part == whole:
            yield f"ipBlock.except: {text}: must be a strict subset of `cidr` ({whole})"

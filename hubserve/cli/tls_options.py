"""Options of commands that connect to an encrypted server, by curl's names."""

import argparse
from typing import TYPE_CHECKING

from hubserve.errors import ConfigError

if TYPE_CHECKING:
    from hubserve.wire.client_tls import ClientTls


def add_tls_options(parser: argparse.ArgumentParser) -> None:
    """Declare them."""
    group = parser.add_argument_group("an encrypted server (each of these means https)")
    group.add_argument("--https", action="store_true", help="trust the authorities of this system")
    group.add_argument("--cacert", default="", metavar="FILE", help="PEM file of the authorities to trust instead")
    group.add_argument("--cert", "-E", default="", metavar="FILE", help="PEM file of a certificate to present (mutual TLS)")
    group.add_argument("--key", default="", metavar="FILE", help="PEM file of its private key (default: it is in --cert)")
    group.add_argument("--insecure", "-k", action="store_true", help="accept any certificate")


def tls_of(args: argparse.Namespace) -> "ClientTls | None":
    """Return the options; None if none is given, so that the connection is not encrypted.

    Raises:
        ConfigError: a file cannot be used.
    """
    from hubserve.wire.client_tls import ClientTls

    if args.insecure and args.cacert:
        raise ConfigError("--insecure accepts any certificate, so that --cacert has no effect; give one of them")
    options = ClientTls(args.cacert, args.cert, args.key, args.insecure)
    if not (args.https or any(options)):
        return None
    options.context()  # a file that cannot be used is reported before anything else
    return options

"""``hub serving openapi``."""

import argparse
import sys
from pathlib import Path

from hubserve.cli.server_request import add_server_options, fetch, json_object, not_ours
from hubserve.errors import HubError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="file to write (default: standard output)")
    add_server_options(parser)


def run(args: argparse.Namespace) -> int:
    """Write a server's OpenAPI document; return the exit status."""
    url, body = fetch(args, "/openapi.json", ". Give the port of a hub server with -p")
    if "openapi" not in json_object(url, body):
        raise not_ours(url)
    if args.output is None:
        sys.stdout.buffer.write(body.rstrip() + b"\n")
        sys.stdout.flush()
        return 0
    try:
        args.output.write_bytes(body)
    except OSError as error:
        raise HubError(f"'{args.output}' cannot be written: {error.strerror}. Give another file with -o") from None
    return 0

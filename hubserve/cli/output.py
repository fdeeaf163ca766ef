"""Common options, and output other than tables."""

import argparse
import json
from typing import Any

_UNITS = ("B", "KB", "MB", "GB", "TB")


def add_json_option(parser: argparse.ArgumentParser) -> None:
    """Declare ``--json``."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def add_api_key_option(parser: argparse.ArgumentParser) -> None:
    """Declare ``--api-key``."""
    parser.add_argument(
        "--api-key",
        "--api_key",
        dest="api_key",
        metavar="KEY",
        help="API key for a server with keys (default: the environment variable HUB_API_KEY, which other users cannot see)",
    )


def add_index_option(parser: argparse.ArgumentParser) -> None:
    """Declare ``--index``."""
    parser.add_argument(
        "--index",
        action="append",
        metavar="URL|FOLDER",
        help="search this index instead of those of HUB_INDEX and 'hub index list' (repeatable, in this order)",
    )


def add_downgrade_option(parser: argparse.ArgumentParser) -> None:
    """Declare ``--allow-downgrade``."""
    parser.add_argument(
        "--allow-downgrade",
        action="store_true",
        help="accept a version that is older than the installed one, or than one that the signed index had before",
    )


def print_json(document: Any) -> None:
    """Print one JSON document."""
    print(json.dumps(document, indent=2, ensure_ascii=False, default=str))


def size_text(size_bytes: int) -> str:
    """Return a readable size: ``17.2 MB``."""
    size = float(size_bytes)
    for unit in _UNITS:
        if size < 1000 or unit == _UNITS[-1]:
            break
        size /= 1000
    return f"{size_bytes} B" if unit == "B" else f"{size:.1f} {unit}"

"""``hub access create | list | revoke``."""

import argparse
import re
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hubserve.cli.output import add_json_option, print_json

if TYPE_CHECKING:
    from hubserve.access.stored_keys import StoredKey

HELP = "create, list or revoke the API keys of a server's clients"

_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}
_FILE_HELP = "file of the keys, which 'hub serving start --access-keys FILE' reads"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="create|list|revoke")
    _add_create_arguments(actions.add_parser("create", help="add a key to a file, and print it this once"))
    listing = actions.add_parser("list", help="show the keys of a file, without their secrets, which it does not have")
    listing.add_argument("file", type=Path, metavar="FILE", help=_FILE_HELP)
    add_json_option(listing)
    revoke = actions.add_parser("revoke", help="remove keys from a file; running servers follow within a second")
    revoke.add_argument("file", type=Path, metavar="FILE", help=_FILE_HELP)
    revoke.add_argument(
        "keys", nargs="+", metavar="ID|NAME", help="identifier of one key, or name of a client, of which all keys are removed"
    )
    add_json_option(revoke)


def _add_create_arguments(create: argparse.ArgumentParser) -> None:
    create.add_argument("file", type=Path, metavar="FILE", help=_FILE_HELP + "; created if it is missing")
    create.add_argument(
        "--name", required=True, metavar="CLIENT", help="name of the client in logs and metrics; two keys may have the same"
    )
    create.add_argument(
        "--modules",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME",
        help="modules that it may use and see, or patterns such as 'ocr_*' ('*': all)",
    )
    create.add_argument(
        "--scopes",
        nargs="+",
        choices=("infer", "metadata", "metrics", "admin"),
        help="what it may do (default with --modules: infer metadata)",
    )
    create.add_argument("--admin", action="store_true", help="let it use the admin surface, see every module, and read metrics")
    create.add_argument("--metrics", action="store_true", help="let it read /metrics, which names every module")
    create.add_argument(
        "--expires",
        type=_moment,
        metavar="90d|DATE",
        help="when it ends: after minutes (m), hours (h), days (d), weeks (w), or at a date, such as 2027-01-31",
    )
    create.add_argument("--rate", type=float, metavar="N", help="most requests per second, on average (default: no limit)")
    create.add_argument("--burst", type=int, metavar="N", help="most requests at once after a pause (default: those of a second)")
    create.add_argument("--concurrency", type=int, metavar="N", help="most requests in progress (default: no limit)")
    create.add_argument(
        "--priority",
        type=int,
        default=0,
        metavar="N",
        help="best priority that its requests may ask for, from -100 to 100; lower ones are computed first (default 0)",
    )
    add_json_option(create)


def _moment(text: str) -> datetime:
    """Return the moment that ``90d`` or a date means; a date without a time zone is in UTC."""
    now = datetime.now(timezone.utc).replace(microsecond=0)
    span = re.fullmatch(r"(\d{1,5})([mhdw])", text)
    if span:
        return now + int(span[1]) * _UNITS[span[2]]
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is neither a span such as 90d, 12h or 30m nor a date such as 2027-01-31") from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
    if moment <= now:
        raise argparse.ArgumentTypeError(f"'{text}' is over")
    return moment


def run(args: argparse.Namespace) -> int:
    """Run the action; return the exit status."""
    return {"create": _create, "list": _list, "revoke": _revoke}[args.action](args)


def _create(args: argparse.Namespace) -> int:
    from hubserve.access.key_file import changing
    from hubserve.access.keys import digest_of, new_key
    from hubserve.access.stored_keys import make_key
    from hubserve.errors import ConfigError

    scopes = args.scopes or (["infer", "metadata"] if args.modules else [])
    scopes = [*scopes, *(["admin"] if args.admin else []), *(["metrics"] if args.metrics else [])]
    if not scopes:
        raise ConfigError("the key may do nothing: give --modules NAME ('*' for all), --admin or --metrics")
    if {"infer", "metadata"} & {*scopes} and not args.modules and "admin" not in scopes:
        raise ConfigError("the key may use no module: give --modules NAME ('*' for all)")
    key_id, text = new_key()
    key = make_key(
        id=key_id,
        name=args.name,
        sha256=digest_of(text).hex(),
        scopes=list(dict.fromkeys(scopes)),
        modules=list(dict.fromkeys(args.modules)),
        created=datetime.now(timezone.utc).replace(microsecond=0),
        expires=args.expires,
        rate=args.rate,
        burst=args.burst,
        concurrency=args.concurrency,
        priority=args.priority,
    )
    with changing(args.file) as keys:
        keys.append(key)
    if args.json:
        print_json({**_about(key), "key": text})
        return 0
    print(text)  # alone on this stream, for KEY=$(hub access create ...)
    print(f"This is the key of {key.name}, shown only now; its identifier is {key.id}", file=sys.stderr)
    print(f"Its digest is in '{args.file}', and servers that run with that file accept it at once", file=sys.stderr)
    return 0


def _list(args: argparse.Namespace) -> int:
    from hubserve.access.key_file import read_keys
    from hubserve.cli.tables import print_table

    keys = read_keys(args.file)
    if args.json:
        print_json([_about(each) for each in keys])
    elif keys:
        rows = [_row(each) for each in keys]
        print_table(("ID", "NAME", "SCOPES", "MODULES", "EXPIRES", "RATE", "CONCURRENCY", "PRIORITY"), rows)
    else:
        print(f"{args.file} has no key. Create one with: hub access create {args.file} --name NAME --modules MODULE")
    return 0


def _row(key: "StoredKey") -> tuple[str, ...]:
    expires = "never" if key.expires is None else ("expired " if key.has_expired else "") + key.expires.strftime("%Y-%m-%d %H:%M")
    rate = "-" if key.rate is None else f"{key.rate:g}/s" + (f", burst {key.burst}" if key.burst else "")
    concurrency = "-" if key.concurrency is None else str(key.concurrency)
    return key.id, key.name, ", ".join(key.scopes), ", ".join(key.modules) or "-", expires, rate, concurrency, str(key.priority)


def _about(key: "StoredKey") -> dict[str, Any]:
    """Return what may be shown of a key."""
    return {
        "id": key.id,
        "name": key.name,
        "scopes": key.scopes,
        "modules": key.modules,
        "created": key.created.isoformat() if key.created else None,
        "expires": key.expires.isoformat() if key.expires else None,
        "expired": key.has_expired,
        "rate": key.rate,
        "burst": key.burst,
        "concurrency": key.concurrency,
        "priority": key.priority,
    }


def _revoke(args: argparse.Namespace) -> int:
    from hubserve.access.key_file import changing, read_keys
    from hubserve.errors import ConfigError

    read_keys(args.file)  # a file that is not there is not created
    with changing(args.file) as keys:
        removed = [each for each in keys if each.id in args.keys or each.name in args.keys]
        known = {name for each in removed for name in (each.id, each.name)}
        unknown = [each for each in args.keys if each not in known]
        if unknown:
            raise ConfigError(f"'{args.file}' has no key '{unknown[0]}', and none was removed. See them with: hub access list {args.file}")
        keys[:] = [each for each in keys if each not in removed]
    if args.json:
        print_json([_about(each) for each in removed])
        return 0
    for each in removed:
        print(f"The key {each.id} of {each.name} is revoked; running servers refuse it within a second")
    return 0

"""``hub key generate | trust | list | remove | remote``."""

import argparse
from pathlib import Path

from hubserve.cli.output import add_json_option, print_json
from hubserve.cli.tables import print_table

HELP = "create signing keys, manage trusted keys, or create a key for instances on other machines"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="generate|trust|list|remove|remote")
    generate = actions.add_parser("generate", help="create a key pair")
    generate.add_argument("file", type=Path, metavar="FILE", help="file of the private key; the public key is written to FILE.pub")
    trust = actions.add_parser("trust", help="trust a public key; its index may then install signed versions only")
    trust.add_argument("key", metavar="FILE|TEXT", help="a .pub file, or its text")
    trust.add_argument("--name", required=True, metavar="WHO", help="name of the key's owner")
    trust.add_argument("--index", default="", metavar="URL|FOLDER", help="index that it is trusted for (default: every index)")
    listing = actions.add_parser("list", help="show the trusted keys")
    add_json_option(listing)
    remove = actions.add_parser("remove", help="remove a trusted key")
    remove.add_argument("name", metavar="WHO", help="name or identifier of the key")
    remote = actions.add_parser("remote", help="create the key that a server and instances on other machines share (token_file)")
    remote.add_argument("file", type=Path, metavar="FILE", help="file to write; copy it only to the other machine")


def run(args: argparse.Namespace) -> int:
    """Run the action; return the exit status."""
    actions = {"generate": _generate, "trust": _trust, "list": _list, "remove": _remove, "remote": _remote}
    return actions[args.action](args)


def _generate(args: argparse.Namespace) -> int:
    from hubserve.registry.indexes.keys import generate, key_identifier, public_path

    text = generate(args.file)
    print(f"The private key is in {args.file}: keep it to yourself. The public key {key_identifier(text)} is in {public_path(args.file)}:")
    print(text)
    return 0


def _trust(args: argparse.Namespace) -> int:
    from hubserve.paths import home
    from hubserve.registry.indexes.keys import key_identifier, parse_public
    from hubserve.registry.indexes.search_order import shown
    from hubserve.registry.indexes.trusted_keys import trust

    text = parse_public(args.key)
    index = args.index if "://" in args.index or not args.index else str(Path(args.index).expanduser().absolute())
    trust(home(), args.name, text, shown(index))
    print(
        f"The key {key_identifier(text)} of {args.name} is trusted for {shown(index) or 'every index'}; unsigned archives are refused there"
    )
    return 0


def _list(args: argparse.Namespace) -> int:
    from hubserve.paths import home
    from hubserve.registry.indexes.trusted_keys import trusted_keys

    keys = trusted_keys(home())
    if args.json:
        print_json([{"name": each.name, "identifier": each.identifier, "key": each.text, "index": each.scope} for each in keys])
    elif keys:
        print_table(("NAME", "KEY", "FOR", "TEXT"), [(each.name, each.identifier, each.scope or "every index", each.text) for each in keys])
    else:
        print("No key is trusted, so signatures are not required. Trust one with: hub key trust FILE --name WHO")
    return 0


def _remove(args: argparse.Namespace) -> int:
    from hubserve.paths import home
    from hubserve.registry.indexes.trusted_keys import distrust

    for each in distrust(home(), args.name):
        print(f"The key {each.identifier} of {each.name} is no longer trusted")
    return 0


def _remote(args: argparse.Namespace) -> int:
    from hubserve.gateway.instances.remote_key import make_key

    make_key(args.file)
    print(f"The key is in {args.file}: its holders can run code there and answer for your models. Copy it to the other machine, then")
    print(f"start there: python -m hubserve.instance --listen HOST:PORT --token-file {args.file.name}")
    return 0

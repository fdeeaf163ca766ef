"""``hub show``: describe a module without running it."""

import argparse
from typing import Any

from hubserve.cli.engines import load_text
from hubserve.cli.environment import environment_text
from hubserve.cli.output import add_json_option, print_json, size_text
from hubserve.cli.tables import print_facts

HELP = "describe a module without running its code"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("module", metavar="NAME[==VERSION]|FOLDER", help="an installed module, or any module's folder")
    add_json_option(parser)


def run(args: argparse.Namespace) -> int:
    """Print the description."""
    from hubserve.registry.engine_note import read_engine_note
    from hubserve.registry.installed import InstalledModules
    from hubserve.registry.resolve import resolve

    modules = InstalledModules()
    found = resolve(args.module, modules)
    versions = modules.versions(found.info.name) if found.manifest else []
    current = modules.get(found.info.name).info.version if found.manifest else ""
    engine = read_engine_note(found.info, found.folder)
    if args.json:
        print_json(
            {**_document(found, versions), "current": current or None, "engine": engine, "runs_in": environment_text(found, modules.home)}
        )
    else:
        facts = {**_facts(found, versions, current), "Runs in": environment_text(found, modules.home)}
        print_facts({**facts, "Engine": engine_text(engine) if engine else ""})
    return 0


def _document(found: Any, versions: list[str]) -> dict[str, Any]:
    document = {
        **found.info.to_json(),
        "folder": str(found.folder),
        "import_name": found.import_name,
        "search_path": [str(each) for each in found.search_path],
        "installed": None,
        "versions": versions,
    }
    if found.manifest:
        manifest = found.manifest.to_json()
        kept = ("source", "installed_at", "digest", "files", "size_bytes", "environment", "environment_choice", "provenance")
        document["installed"] = {key: manifest.get(key) for key in kept}
    return document


def _facts(found: Any, versions: list[str], current: str) -> dict[str, str]:
    info, manifest = found.info, found.manifest
    author = f"{info.author} <{info.author_email}>" if info.author_email else info.author
    facts = {
        "Name": info.name,
        "Version": info.version,
        "Kind": info.kind,
        "Summary": info.summary,
        "Type": info.type,
        "Author": author,
        "Serves": f"POST /predict/{info.name} ({info.serving_method})" if info.serving_method else "",
        "Merges requests": "yes" if info.batches else "",
        "Runs": f"hub run {info.name}" if info.runnable else "",
        "Folder": str(found.folder),
    }
    if manifest:
        facts["Installed from"] = manifest.source
        facts |= _provenance_facts(manifest.provenance or {})
        facts["Installed at"] = manifest.installed_at
        facts["Size"] = f"{size_text(manifest.size_bytes)} in {manifest.files} file{'' if manifest.files == 1 else 's'}"
        facts["Digest"] = manifest.digest
        marked = [f"{each} (current)" if each == current else each for each in versions]
        facts["Versions"] = ", ".join(marked) if len(versions) > 1 else ""
    return facts


def _provenance_facts(provenance: dict[str, str]) -> dict[str, str]:
    """Return what was verified at the installation."""
    is_from_index = provenance.get("kind") == "index"
    signed_by = provenance.get("signed_by", "")
    unchecked = "not checked, because no key is trusted for the index" if is_from_index else ""
    return {
        "Source": provenance.get("kind", ""),
        "Commit": provenance.get("commit", ""),
        "Archive": provenance.get("url", "") if is_from_index else "",
        "Archive digest": f"sha256:{provenance['sha256']}" if "sha256" in provenance else "",
        "Signed by": f"{signed_by} (key {provenance.get('key', '?')})" if signed_by else unchecked,
        "Withdrawn": provenance.get("yanked", ""),
    }


def engine_text(engine: dict[str, Any]) -> str:
    """Return the engine that last computed the module, and why: ``onnxruntime (chosen by measuring on 2026-11-21: ...)``."""
    name, reason, measured = engine.get("name", "?"), engine.get("reason", ""), engine.get("measured")
    try:
        return f"{name} (chosen by measuring on {measured['date']}: {_figures_text(measured)})" if measured else f"{name} ({reason})"
    except (KeyError, TypeError, ValueError, AttributeError):  # a module may describe its engine in its own way
        return f"{name} ({reason})"


def _figures_text(measured: dict[str, Any]) -> str:
    engines = measured["engines"].items()
    best = [f"{name} {_ms_text(min(each['ms_per_item'].values()))}" for name, each in engines if not each.get("left_out")]
    refused = [f"; not {name}: {each['left_out'].rstrip('.')}" for name, each in engines if each.get("left_out")]
    threads = f"{measured['threads']} thread{'' if measured['threads'] == 1 else 's'}"
    clock = f", {measured['clock']}" if measured.get("clock") else ""
    return f"{', '.join(best)} ms per item at best with {threads}{clock}{''.join(refused)}{load_text(measured)}"


def _ms_text(ms: float) -> str:
    return f"{ms:.0f}" if ms >= 100 else f"{ms:.3g}"

"""Checks of one module, without running its code, which :mod:`hubserve.doctor.loading` does."""

import importlib.machinery
import sys
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

import hubserve
from hubserve.doctor import classifiers, models, sources
from hubserve.doctor.findings import ERROR, NOTE, WARNING, Check, Finding, by_level, from_error, run_checks
from hubserve.doctor.software import compare_requirement
from hubserve.doctor.target import Target, line_of
from hubserve.errors import HubError
from hubserve.kinds import find_kind
from hubserve.kinds.package_names import package_of
from hubserve.kinds.project_imports import find_in, folders_beside
from hubserve.paths import modules_dir
from hubserve.registry.archives.copying import measure_source
from hubserve.registry.digests import measure
from hubserve.registry.environments.resolve import PROVIDED
from hubserve.registry.names import check_name, check_version, folder_name
from hubserve.registry.resolve import resolve

_COMPAT = Path(hubserve.__file__).parent / "compat"
#: maximum number of missing packages to report
_MAX_MISSING = 20


def examine_module(reference: str, *, search_path: Sequence[Path] = (), **about: Any) -> list[Finding]:
    """Run every check of a module, without running its code.

    Args:
        reference: an installed module (``NAME`` or ``NAME==VERSION``) or a folder.
        search_path: further folders in which relative paths are looked up first.
        about: ``init_args``, ``predict_args`` and ``origin`` of a :class:`Target`.
    """
    try:
        found = resolve(reference)
    except HubError as error:
        folder = Path(reference)
        file = str(folder / "module.py") if (folder / "module.py").is_file() else ""
        return [from_error(error, line_of(error.message) if file else reference, "Fix the file", file)]
    target = Target(found.info, found.folder, found.import_name, [*search_path, *found.search_path], found.manifest, **about)
    return by_level(run_checks(MODULE_CHECKS, target))


def check_source(target: Target) -> Iterator[Finding]:
    """Check that the metadata are readable and valid."""
    source = target.folder / "module.py"
    try:
        info = find_kind(target.folder).describe(target.folder)
        check_name(info.name)
        check_version(info.version)
    except HubError as error:
        file = source if source.is_file() else target.folder
        yield from_error(error, line_of(error.message), "Fix the file, then install the module again", str(file))
        return
    yield Finding(NOTE, "module", f"{info.name} {info.version}, a {info.kind} module", file=str(target.folder))
    if not (info.serving_method or info.batches or info.runnable):
        reason = "no method is marked @serving, @batch or @runnable, so the module cannot answer requests"
        yield Finding(WARNING, "module.py", reason, "Mark the method that answers requests with @serving", str(source))
    for extra in sources.hub_classes(target.trees.get(source))[1:]:
        reason = f"a second class, '{extra.name}', is under @moduleinfo; only the first class is used"
        yield Finding(WARNING, f"line {extra.lineno}", reason, "Move it to a module of its own", str(source))


def check_other_files(target: Target) -> Iterator[Finding]:
    """Check that every Python file of the module is valid Python."""
    for path in target.files:
        if path in target.trees or path == target.folder / "module.py":
            continue
        try:
            sources.parse(path)
        except SyntaxError as error:
            yield Finding(ERROR, f"line {error.lineno or 1}", f"it is not valid Python: {error.msg}", "Fix the file", str(path))
        except OSError as error:
            yield Finding(ERROR, path.name, f"it cannot be read: {error.strerror}", "Change its permissions", str(path))


def check_requirements(target: Target) -> Iterator[Finding]:
    """Check that ``requirements.txt`` is met, unless the module has its own environment."""
    path = target.folder / "requirements.txt"
    if not path.is_file() or _has_environment(target):
        return
    for number, line in enumerate(path.read_text("utf-8", "replace").splitlines(), start=1):
        text = line.partition(" #")[0].split(" --")[0].strip()
        if not text or text.startswith(("#", "-")) or "://" in text:
            continue
        try:
            requirement = Requirement(text)
        except InvalidRequirement as error:
            reason = f"'{text[:60]}' is not a requirement: {str(error).splitlines()[0]}"
            yield Finding(ERROR, f"line {number}", reason, "Write it in pip's form, such as numpy>=1.26", str(path))
            continue
        if canonicalize_name(requirement.name) in PROVIDED:  # hubserve has them in every instance
            continue
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            for finding in compare_requirement(requirement, needed=True):
                yield finding._replace(about=f"line {number}: {requirement.name}", file=str(path))


def _has_environment(target: Target) -> bool:
    return bool(target.manifest and target.manifest.environment)


def check_imports(target: Target) -> Iterator[Finding]:
    """Check that the imports of the module's files are available."""
    if _has_environment(target) or not target.trees:
        return
    own = {target.import_name, folder_name(target.info.name), *(each.stem for each in target.folder.iterdir())}
    beside = [str(each) for each in folders_beside(target.folder)]
    missing: dict[str, Finding] = {}
    for path, tree in target.trees.items():
        inner = own | {each.stem for each in path.parent.iterdir()}
        for each in sources.imports_of(tree):
            if each.name in inner or _is_importable(each.name) or find_in(beside, each.name):
                continue
            if each.name in missing and missing[each.name].level == ERROR:
                continue
            reason = f"it imports '{each.name}', which is not installed here: "
            reason += "code that needs it fails" if each.optional else "the module cannot be loaded"
            package = package_of(each.name)
            fix = f"pip install {package}" if package else f"Install the package that provides '{each.name}'; its name may differ"
            missing[each.name] = Finding(WARNING if each.optional else ERROR, f"line {each.line}", reason, fix, str(path))
    yield from list(missing.values())[:_MAX_MISSING]


def _is_importable(name: str) -> bool:
    """Return whether an instance could import a package, without importing it."""
    if name in sys.stdlib_module_names or name == "hubserve" or (_COMPAT / name).is_dir() or (modules_dir() / name).is_dir():
        return True
    # instances do not import from the working directory
    path = [each for each in sys.path if each not in ("", str(Path.cwd()))]
    if importlib.machinery.PathFinder.find_spec(name, path) is not None:
        return True
    others = [each for each in sys.meta_path if each is not importlib.machinery.PathFinder and hasattr(each, "find_spec")]
    return any(each.find_spec(name, None) is not None for each in others)  # such as those of editable installs


def check_contents(target: Target) -> Iterator[Finding]:
    """Check that the installed files are unchanged, and so is their source."""
    if target.manifest is None:
        return
    manifest, now = target.manifest, measure(target.folder)
    if now.digest != manifest.digest:
        counts = f"{now.files} files with {now.size_bytes} bytes now, {manifest.files} with {manifest.size_bytes} then"
        reason = f"its files have changed since they were installed ({counts})"
        yield Finding(ERROR, "digest", reason, f"Install it again: hub install {manifest.source}", str(target.folder))
        return
    source = Path(manifest.source_folder) if manifest.source_folder else None
    if source and (source / "module.py").is_file() and measure_source(source).digest != manifest.digest:
        reason = f"'{source}' has changed since the module was installed from it on {manifest.installed_at}"
        yield Finding(NOTE, "source", reason, f"To use its current files: hub install {source}", str(source))


def check_arguments(target: Target) -> Iterator[Finding]:
    """Check that the module's methods take the arguments in the configuration."""
    classes = sources.hub_classes(target.trees.get(target.folder / "module.py"))
    if not classes:
        return
    where = f"modules_info.{target.info.name}"
    made = sources.signature_of(classes[0], "_initialize", "__init__")
    serves = sources.signature_of(classes[0], target.info.serving_method)
    for given, signature, key in ((target.init_args, made, "init_args"), (target.predict_args, serves, "predict_args")):
        for name in given:
            if signature and not signature.takes_any and name not in signature.names:
                near = get_close_matches(name, signature.names, n=1)
                meant = f"did you mean '{near[0]}'?" if near else f"it takes {', '.join(signature.names) or 'no arguments'}"
                reason = f"the method in line {signature.line} of its module.py takes no argument '{name}'; {meant}"
                yield Finding(ERROR, f"{where}.{key}.{name}", reason, "Rename or remove it", target.origin)


MODULE_CHECKS: tuple[Check[[Target]], ...] = (
    check_source,
    check_other_files,
    check_arguments,
    check_requirements,
    check_imports,
    models.check_model_files,
    models.check_own_model,
    models.check_engine,
    classifiers.check_classifier,
    check_contents,
)

"""Find the Python code beside a file of weights, and the files that this code needs. Nothing of it is run."""

import ast
from pathlib import Path
from typing import Iterator, List, Optional

#: the code's usual name; a file called like the weights comes first
CODE = "model.py"
#: arguments of the model's class, as ``save_pretrained`` of the Hugging Face hub writes them
ARGUMENTS = "config.json"
REQUIREMENTS = "requirements.txt"
#: the class of a model of Triton's Python backend, whose model.py reads its weights itself
_TRITON_CLASS = "TritonPythonModel"
_MOST_BYTES = 4 << 20


def code_of(weights: Path) -> Optional[Path]:
    """Return the file that defines the model for some weights: ``<name>.py``, else ``model.py``, beside them; None without one."""
    for path in (weights.with_suffix(".py"), weights.with_name(CODE)):
        if path.is_file() and not _is_of_triton(path):
            return path
    return None


def files_of_code(weights: Path) -> List[Path]:
    """List the files beside some weights that their model needs: its code, the files that it imports, arguments and requirements."""
    code = code_of(weights)
    if code is None:
        return []
    found = list(dict.fromkeys(_imported(code, [])))
    return found + [path for name in (ARGUMENTS, REQUIREMENTS) for path in [weights.with_name(name)] if path.is_file()]


def _is_of_triton(path: Path) -> bool:
    tree = _parsed(path)
    return tree is not None and any(isinstance(each, ast.ClassDef) and each.name == _TRITON_CLASS for each in tree.body)


def _parsed(path: Path) -> Optional[ast.Module]:
    """Parse a file; None if it cannot be read, which its import reports."""
    try:
        if path.stat().st_size > _MOST_BYTES:
            return None
        return ast.parse(path.read_bytes())
    except (OSError, ValueError, SyntaxError):
        return None


def _imported(path: Path, seen: List[Path]) -> Iterator[Path]:
    """Yield a file, and the files and packages beside it that it imports, and those that these import."""
    if path in seen:
        return
    seen.append(path)
    yield path
    tree = _parsed(path)
    for node in ast.walk(tree) if tree is not None else ():
        for name in _names(node):
            module, package = path.with_name(f"{name}.py"), path.with_name(name)
            if module.is_file():
                yield from _imported(module, seen)
            elif (package / "__init__.py").is_file() and package not in seen:
                seen.append(package)
                yield from sorted(each for each in package.rglob("*") if each.is_file() and "__pycache__" not in each.parts)


def _names(node: ast.AST) -> List[str]:
    if isinstance(node, ast.Import):
        return [each.name.partition(".")[0] for each in node.names]
    if isinstance(node, ast.ImportFrom):
        return [node.module.partition(".")[0]] if node.module else [each.name for each in node.names]
    return []

"""Run the code beside some weights, and make the model that it defines."""

import inspect
import json
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any, Dict, List, Mapping, NamedTuple

from hubserve.engines.torch_code import ARGUMENTS, REQUIREMENTS, code_of
from hubserve.errors import HubError, LoadFailed

#: names that code can define: the class, or a function that makes the model; its arguments for an example
_CHOSEN = "MODEL"
_EXAMPLES = "EXAMPLE_INPUTS"
_CLASS, _ARGS = "MODEL_CLASS", "MODEL_ARGS"


class Definition(NamedTuple):
    """A model without its weights.

    Attributes:
        model: a torch.nn.Module.
        code: the file that defines it.
        example_inputs: as the code gives them; None where it does not.
    """

    model: Any
    code: Path
    example_inputs: Any


def define(torch: Any, weights: Path, settings: Mapping[str, str]) -> Definition:
    """Make the model for some weights.

    Args:
        torch: the package.
        weights: the file, beside which the code is.
        settings: MODEL_CLASS, the name of the class, and MODEL_ARGS, a JSON object of its arguments; both may be missing.
    Raises:
        LoadFailed: the code fails, or does not say which class it is.
    """
    code = code_of(weights)
    if code is None:
        raise LoadFailed(f"the code of the model is missing beside '{weights.name}': put it there as model.py")
    module = _run(code)
    made = _chosen(torch, module, code, settings.get(_CLASS, ""))
    if isinstance(made, torch.nn.Module):
        model = made
    else:
        arguments = _arguments(made, weights, settings.get(_ARGS, ""))
        try:
            model = made(**arguments)
        except HubError:
            raise
        except Exception as error:
            given = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
            raise LoadFailed(
                f"{_name(made)}({given}) of {code.name} cannot be made: {type(error).__name__}: {error}. Give the arguments that the "
                f"weights were saved with, in {ARGUMENTS} beside it or as {_ARGS}",
                detail=repr(error),
            ) from error
        if not isinstance(model, torch.nn.Module):
            raise LoadFailed(f"{_name(made)} of {code.name} made a {type(model).__name__}, which is not a torch.nn.Module")
    examples = getattr(module, _EXAMPLES, None)
    return Definition(model, code, examples if examples is not None else getattr(model, "example_inputs", None))


def _run(code: Path) -> Any:
    name = f"hubserve_model_code_{code.stem}"
    spec = spec_from_file_location(name, str(code))
    if spec is None or spec.loader is None:
        raise LoadFailed(f"'{code}' is not a Python file")
    module = module_from_spec(spec)
    if str(code.parent) not in sys.path:
        sys.path.insert(0, str(code.parent))  # for the files beside it
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except HubError:
        raise
    except ModuleNotFoundError as error:
        raise LoadFailed(
            f"{code.name} imports '{error.name}', which is not installed here. List its package in {REQUIREMENTS} beside it, and install "
            "the model with hub install; or put the file that it imports beside it",
            detail=repr(error),
        ) from error
    except (Exception, SystemExit) as error:
        raise LoadFailed(f"{code.name} failed: {type(error).__name__}: {error}", detail=repr(error)) from error
    return module


def _chosen(torch: Any, module: Any, code: Path, named: str) -> Any:
    """Return the class, function or model that code is for: that of MODEL_CLASS, else MODEL, else its only class of a model."""
    if named:
        if not hasattr(module, named):
            raise LoadFailed(
                f"{code.name} has no '{named}', which {_CLASS} names; it has {', '.join(_classes(torch, module)) or 'no class of a model'}"
            )
        return getattr(module, named)
    if hasattr(module, _CHOSEN):
        chosen = getattr(module, _CHOSEN)
        if not callable(chosen):
            raise LoadFailed(
                f"{_CHOSEN} in {code.name} is a {type(chosen).__name__}: make it the class of the model, or a function that makes it"
            )
        return chosen
    found = _classes(torch, module)
    if len(found) == 1:
        return getattr(module, found[0])
    if not found:
        raise LoadFailed(
            f"{code.name} defines no subclass of torch.nn.Module. Define the class that the weights were saved from, or {_CHOSEN} = ..."
        )
    raise LoadFailed(
        f"{code.name} defines {len(found)} classes of models: {', '.join(found)}. Write {_CHOSEN} = {found[-1]} there, or set {_CLASS}"
    )


def _classes(torch: Any, module: Any) -> List[str]:
    """List the classes of models that code defines itself."""
    return [
        name
        for name, each in vars(module).items()
        if inspect.isclass(each) and issubclass(each, torch.nn.Module) and each.__module__ == module.__name__
    ]


def _arguments(made: Any, weights: Path, given: str) -> Dict[str, Any]:
    """Return the arguments of a class: MODEL_ARGS, else those of config.json that it takes."""
    if given:
        return dict(json.loads(given))
    path = weights.with_name(ARGUMENTS)
    if not path.is_file():
        return {}
    try:
        written = json.loads(path.read_text("utf-8"))
        known = inspect.signature(made).parameters.values()
    except (OSError, ValueError, TypeError) as error:
        raise LoadFailed(f"'{path}' cannot be read: {error}. Write the arguments of {_name(made)} as a JSON object") from None
    if not isinstance(written, dict):
        raise LoadFailed(f"'{path}' must be a JSON object with the arguments of {_name(made)}")
    if any(each.kind == each.VAR_KEYWORD for each in known):
        return written
    names = [each.name for each in known]
    if names == ["config"] and "config" not in written:
        return {"config": written}
    return {key: value for key, value in written.items() if key in names}


def _name(made: Any) -> str:
    return str(getattr(made, "__name__", type(made).__name__))

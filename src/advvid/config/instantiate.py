"""From a configuration to objects, without letting a stranger's configuration run code.

Only classes of a few packages and their model builders are made, and classes of packages that the user trusts (see
``advvid.config.trust``). A target is judged by what it resolves to, not by how it is spelt: ``advvid.core.paths.os.system``
starts like one of ours but is not.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from advvid.config.moved import MOVED
from advvid.config.trust import VARIABLE, own_package, trusted_package
from advvid.core.allowed import require_all
from advvid.core.errors import AdvvidError
from advvid.core.escape import clipped
from advvid.core.libraries import declared, try_out

# The library that each part of the namespace belongs to; every class defined below one of these may be made.
PACKAGES = (
    "advvid",
    "torch.optim",
    "torch.nn",
    "torchvision.models",
    "torchvision.transforms",
    "pytorchvideo.models",
)
# Machinery that opens files, folders or processes as soon as it is made; no configuration needs it by name.
MACHINERY = (
    "advvid.core.", "advvid.data.cache.", "advvid.data.decoders.", "advvid.data.given.", "advvid.data.loader.",
    "advvid.data.room.", "advvid.evaluation.evaluator.", "advvid.training.", "advvid.studies.", "advvid.report.",
)  # fmt: skip
# Arguments with which a builder would download weights or read a file; weights come in by model.checkpoint alone.
FETCHING = ("pretrained", "pretrained_backbone", "weights", "weights_backbone", "checkpoint_path")
DIRECTIVES = ("_target_", "_partial_", "_args_", "_convert_")
# What a constructor raises over bad arguments; anything else is a fault of the code and keeps its traceback.
BAD_ARGUMENTS = (
    TypeError,
    ValueError,
    RuntimeError,
    LookupError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    OSError,
)


def safe_instantiate(node: Any, **overrides: Any) -> Any:
    """Make the object that a configuration node describes, and before it every object nested in it.

    Works like ``hydra.utils.instantiate`` with ``_convert_="all"`` (``_args_`` and ``_partial_`` included), but makes
    only classes defined in the packages of ``PACKAGES``, the model builders of torchvision and PyTorchVideo, and classes
    of packages that the user trusts. The whole tree is checked, after its interpolations are resolved, before anything in
    it is made: its targets, and its values against the annotations of what takes them (see ``advvid.core.allowed``).

    Args:
        node: a node, list or plain container with ``_target_`` at any depth; anything without one is returned as
            plain Python.
        **overrides: arguments of the outermost target, as Python objects: they replace the node's own and are
            handed over as they are.

    Raises:
        AdvvidError: for a target that is not allowed, cannot be found or would fetch weights, an argument that does
            not fit, or a constructor that refuses its arguments; it names the option.

    Example:
        >>> safe_instantiate({"_target_": "torch.nn.Linear", "in_features": 2, "out_features": 1})
        Linear(in_features=2, out_features=1, bias=True)
    """
    plan = checked_plan(node, overrides)
    if overrides and not isinstance(plan, _Call):
        raise AdvvidError(
            f"{_name(node)} has no _target_, so that the arguments {', '.join(overrides)} have nowhere to go"
        )
    return _make(plan, overrides)


def checked_plan(node: Any, overrides: Collection[str] = ()) -> Any:
    """Check a configuration node as ``safe_instantiate`` does, and make nothing.

    Args:
        node: see ``safe_instantiate``.
        overrides: arguments of the outermost target that are not the node's business.

    Raises:
        AdvvidError: as ``safe_instantiate``, as far as that can be told without making anything.
    """
    tree = node
    if isinstance(node, DictConfig | ListConfig):
        try:
            tree = OmegaConf.to_container(node, resolve=True)
        except OmegaConfBaseException as error:
            raise AdvvidError(f"{_name(node)} cannot be read: {_first_line(error)}") from None
    if isinstance(tree, Mapping):
        tree = {key: value for key, value in tree.items() if key not in overrides}
    return _plan(tree, _name(node))


def _name(node: Any) -> str:
    """Return what a configuration node is called in messages."""
    return (node._get_full_key(None) if isinstance(node, DictConfig | ListConfig) else "") or "config"


@dataclass
class _Call:
    """A checked target with its arguments, which may hold further calls."""

    target: Callable[..., Any]
    name: str
    where: str
    args: list[Any]
    kwargs: dict[str, Any]
    partial: bool


def _plan(tree: Any, where: str) -> Any:
    """Check a tree and replace every mapping with a target by a ``_Call``; nothing is made yet."""
    if isinstance(tree, list | tuple):
        return [_plan(value, f"{where}[{index}]") for index, value in enumerate(tree)]
    if tree == "???":
        raise AdvvidError(f"{where} is missing: give it a value")
    if not isinstance(tree, Mapping):
        return tree
    if "_target_" not in tree:
        return {key: _plan(value, f"{where}.{key}") for key, value in tree.items()}
    name = tree["_target_"]
    target = find_target(name, where)
    odd = [str(k) for k in tree if str(k).startswith("_") and str(k).endswith("_") and k not in DIRECTIVES]
    if odd or tree.get("_convert_", "all") != "all":
        raise AdvvidError(f"{where} uses {odd[0] if odd else '_convert_'}, which advvid does not support: remove it")
    given = {str(k): v for k, v in tree.items() if k not in DIRECTIVES}
    # Before what is nested in it, whose settings may be references to these.
    builds = not isinstance(target, type)  # what a builder may not fetch is told further down
    plain = {k: v for k, v in given.items() if not (_holds_target(v) or (builds and k in FETCHING))}
    require_all(plain, declared(target), f"{where}.")
    kwargs = {k: _plan(v, f"{where}.{k}") for k, v in given.items()}
    args, partial = _plan(tree.get("_args_", []), f"{where}._args_"), tree.get("_partial_", False)
    if not isinstance(args, list) or not isinstance(partial, bool):
        raise AdvvidError(f"{where}: _args_ must be a list and _partial_ true or false")
    if not isinstance(target, type):
        if args or partial:  # what is added later could ask for weights
            raise AdvvidError(
                f"{where}: {name} builds a model: give its arguments by name, without _args_ and _partial_"
            )
        _keep_from_fetching(target, name, where, kwargs)
    return _Call(target, name, where, args, kwargs, partial)


def _holds_target(value: Any) -> bool:
    """Tell whether something is still to be made of a value, which can be judged only then, or it is missing."""
    if isinstance(value, Mapping):
        return "_target_" in value or any(map(_holds_target, value.values()))
    return any(map(_holds_target, value)) if isinstance(value, list | tuple) else value == "???"


def find_target(name: Any, where: str) -> Callable[..., Any]:
    """Return the class or model builder that a dotted name means.

    Raises:
        AdvvidError: if it may not be made from a configuration, or does not exist.
    """
    name = MOVED.get(name, name) if isinstance(name, str) else name
    parts = name.split(".") if isinstance(name, str) else []
    # Judged by its text first, so that nothing of another package is even imported; a leading underscore would lead
    # to a module's innards or to a __main__.
    if not parts or any(not p.isidentifier() or p.startswith("_") for p in parts) or not _allowed(name):
        raise _refused(name, where)
    found: Any = None
    for count, part in enumerate(parts, start=1):
        try:
            inner = found is not None and hasattr(found, part)
            found = getattr(found, part) if inner else importlib.import_module(".".join(parts[:count]))
        except ImportError as error:
            raise AdvvidError(
                f"{where}._target_={name} cannot be imported ({_first_line(error)}): check its spelling"
                + ("" if _inside(name) else f"; {parts[0]} has to be installed, or its folder to lie on PYTHONPATH")
            ) from None
    if isinstance(found, type) and _allowed(found.__module__ + ".") and not _machinery(found.__module__ + "."):
        return found
    if inspect.isfunction(found) and (_is_torchvision_builder(found) or _is_pytorchvideo_builder(found)):
        return found
    raise _refused(name, where)


def _machinery(module: str) -> bool:
    return module.startswith(MACHINERY) and module != "advvid.core.schedules."


def _inside(dotted: str) -> bool:
    return any(dotted.startswith(f"{package}.") for package in PACKAGES)


def _allowed(dotted: str) -> bool:
    return _inside(dotted) or trusted_package(dotted) is not None


def _is_torchvision_builder(function: Any) -> bool:
    """Tell whether this very function is registered by torchvision as a model builder."""
    if not function.__module__.startswith("torchvision.models."):
        return False
    from torchvision.models import get_model_builder, list_models

    return any(get_model_builder(model) is function for model in list_models())


def _is_pytorchvideo_builder(function: Any) -> bool:
    """Tell whether this function is one of PyTorchVideo's ``create_*`` functions or a model of its hub."""
    module, name = function.__module__, function.__qualname__
    if module.startswith("pytorchvideo.models.hub."):
        from pytorchvideo.models import hub

        # The hub's own list of names is its imports: helpers such as hub_model_builder are not among them.
        return getattr(hub, name, None) is function
    return module.startswith("pytorchvideo.models.") and name.startswith("create_")


def _keep_from_fetching(target: Any, name: str, where: str, kwargs: dict[str, Any]) -> None:
    """Refuse arguments with which a builder would fetch weights, and switch off those it fetches by default."""
    for option in FETCHING:
        if kwargs.get(option) not in (None, False):
            raise AdvvidError(
                f"{where}.{option} would make {name} fetch weights, which advvid never does: load a local file with "
                "model.checkpoint=<file> instead"
            )
        if option in inspect.signature(target).parameters:
            # torchvision's detection and segmentation models fetch a backbone unless told not to.
            kwargs[option] = False if option.startswith("pretrained") else None


def _make(plan: Any, overrides: Mapping[str, Any] | None = None) -> Any:
    """Carry out a checked plan, innermost first."""
    if isinstance(plan, list):
        return [_make(value) for value in plan]
    if isinstance(plan, dict):
        return {key: _make(value) for key, value in plan.items()}
    if not isinstance(plan, _Call):
        return plan
    args, kwargs = [_make(value) for value in plan.args], {key: _make(v) for key, v in plan.kwargs.items()}
    kwargs.update(overrides or {})
    _check_arguments(plan, args, kwargs)
    require_all(kwargs, declared(plan.target), f"{plan.where}.")
    try:
        if plan.partial:
            return try_out(functools.partial(plan.target, *args, **kwargs))
        return plan.target(*args, **kwargs)
    except AdvvidError as error:
        if plan.where in str(error) or re.match(r"\w+(\.\w+)+=", str(error)):  # it names the option itself
            raise
        raise AdvvidError(f"{plan.where}: {error}") from error
    except BAD_ARGUMENTS as error:
        raise AdvvidError(f"{plan.where}: {plan.name} cannot be made: {_first_line(error)}") from error


def _check_arguments(plan: _Call, args: list[Any], kwargs: dict[str, Any]) -> None:
    try:
        signature = inspect.signature(plan.target)
    except ValueError:  # a class written in C; its constructor has to complain by itself
        return
    kinds = {p.name: p.kind for p in signature.parameters.values()}
    known = [
        p for p, kind in kinds.items() if kind not in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    ]
    unknown = [option for option in kwargs if option not in known]
    if unknown and inspect.Parameter.VAR_KEYWORD not in kinds.values():
        raise AdvvidError(f"{plan.where}: {plan.name} has no option {unknown[0]}: choose among {', '.join(known)}")
    try:
        (signature.bind_partial if plan.partial else signature.bind)(*args, **kwargs)
    except TypeError as error:
        raise AdvvidError(f"{plan.where}: {plan.name} {error} (its options: {', '.join(known)})") from None


def _refused(name: Any, where: str) -> AdvvidError:
    short = clipped(str(name), 200)
    why = f"a configuration may only make classes of {', '.join(PACKAGES)} and the model builders of torchvision and PyTorchVideo"
    package = own_package(name) if short == name and not _inside(name) else None
    if package is not None and trusted_package(name) is not None:
        why = f"it is no class that is defined in {package}; give the class itself"
    elif package is not None:
        why = (
            "it is code that does not come with advvid; if you know whose it is and that it does no harm, add "
            f"trust=[{package}] to the command, or set {VARIABLE}={package}"
        )
    return AdvvidError(f"{where}._target_={short} was refused: {why}")


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]

"""Imports point one way: a package may import what stands in a row above it, no module waits for itself, few lie loose."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1] / "src" / "advvid"
# From the ground up; packages of one row do not know of each other.
LAYERS = (
    ("core",),
    ("config", "metrics", "tracking"),
    ("tasks", "threats"),
    ("models", "data"),
    ("attacks",),
    ("distributed", "purifiers"),
    ("detectors", "defenses"),
    ("evaluation",),
    ("training", "visuals"),
    ("analyses",),
    ("experiment",),
    ("runs", "api"),
    ("studies", "sharing"),
    ("report",),
    ("cli",),
)
LEVEL = {package: level for level, row in enumerate(LAYERS) for package in row}


def name_of(path):
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    return name.removesuffix(".__init__") if name != "__init__" else ""


MODULES = {name_of(path): path for path in sorted(ROOT.rglob("*.py"))}


def imports(path):
    """Yield what a module imports of advvid, also inside functions; what only a type checker reads does not count."""
    tree = ast.parse(path.read_text())
    typed = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in typed:
            continue
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "advvid":
            base = node.module.removeprefix("advvid").removeprefix(".")
            for alias in node.names:
                whole = f"{base}.{alias.name}".strip(".")
                yield whole if whole in MODULES else base
        elif isinstance(node, ast.Import):
            yield from (a.name.removeprefix("advvid.") for a in node.names if a.name.startswith("advvid."))


GRAPH = {module: sorted(set(imports(path)) - {module}) for module, path in MODULES.items()}


def test_every_package_has_its_row():
    packages = {path.name for path in ROOT.iterdir() if (path / "__init__.py").is_file()}
    assert packages == set(LEVEL)


@pytest.mark.parametrize("package", LEVEL)
def test_a_package_imports_only_what_stands_below_it(package):
    wrong = [
        f"{module} imports {other}"
        for module, others in GRAPH.items()
        if module.split(".")[0] == package
        for other in others
        if (home := other.split(".")[0]) in LEVEL and home != package and LEVEL[home] >= LEVEL[package]
    ]
    assert not wrong


def test_no_module_waits_for_itself():
    done, path = set(), []

    def follow(module):
        assert module not in path, " -> ".join([*path[path.index(module) :], module])
        if module in done or module not in GRAPH:
            return
        path.append(module)
        for other in GRAPH[module]:
            follow(other)
        path.pop()
        done.add(module)

    for module in GRAPH:
        follow(module)


def test_few_modules_lie_loose():
    loose = sorted(path.name for path in ROOT.glob("*.py"))
    assert len(loose) <= 5, loose

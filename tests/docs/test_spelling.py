"""One spelling, the British one, in documents, options, docstrings and messages; names of code are left as they are."""

import ast
import json
import re

import pytest
import yaml
from pages import PAGES, TOP

# Words that differ; names of options and classes stand in code, and "defense" is the field's own word.
AMERICAN = re.compile(
    r"\b(?:behavior|color|neighbor|favor|honor|labor|harbor|center|fiber|theater|catalog|dialog|analog|gray(?![- _]box)|"
    r"fulfill|skillful|judgment|acknowledgment|aluminum|program(?=me)|license[ds]?(?= under| of)|"
    r"(?:label|model|travel|cancel|signal|channel|tunnel|level|total|equal)(?:ed|ing|er)|analyz(?:e[sd]?|ing)|"
    r"(?!(?:re|over|under|down|up|cap)?siz|priz|seiz|maiz|assiz)\w{3,}iz(?:e[sdr]?|ing|ations?|ers)|"
    r"(?:behavior|color|neighbor|favor|center|fiber|catalog)(?:s|ed|ing|al|ful|hood|able)|toward(?!s)|math(?!s|e)\b)\b",
    re.IGNORECASE,
)
CODE = re.compile(
    r"```.*?```|``[^`]*``|`[^`]*`|^\s*\w+:|'[^'\s]*'|\w*[_=/.]\w[\w=/.]*|https?:\S+|\]\([^)]*\)|"
    r"Center for Research|bayesian-optimization|SI-NI",
    re.DOTALL | re.MULTILINE,
)
SOURCES = sorted((TOP / "src").rglob("*.py"))


def american(text):
    """Words of a text that British English spells in another way."""
    return sorted({found.group() for found in AMERICAN.finditer(CODE.sub(" ", text))})


def sentences(source):
    """Docstrings and messages of a module: strings of several words, without their examples."""
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.count(" ") > 2:
            yield node.lineno, re.sub(r"^\s*(>>>|\.\.\.) .*$", "", node.value, flags=re.MULTILINE)


def test_the_list_tells_the_two_spellings_apart():
    assert american("Normalize the colors of a neighboring, labeled center") == [
        "Normalize", "center", "colors", "labeled", "neighboring",
    ]  # fmt: skip
    assert not american(
        "resize, size, gray box, `color`, sigma_color, optimiser, normalised, defense, levels, channels"
    )


@pytest.mark.parametrize("page", [*PAGES, TOP / "CONTRIBUTING.md", TOP / "CHANGELOG.md"], ids=lambda page: page.name)
def test_a_page_is_british(page):
    assert not american(page.read_text())


def test_notebooks_are_british():
    notebooks = list((TOP / "docs" / "notebooks").glob("*.ipynb"))
    assert notebooks
    for notebook in notebooks:
        cells = [cell for cell in json.loads(notebook.read_text())["cells"] if cell["cell_type"] == "markdown"]
        assert not american("\n".join("".join(cell["source"]) for cell in cells)), notebook


def test_options_are_described_in_british():
    odd = {}
    for path in sorted((TOP / "conf").rglob("*.yaml")):
        comments = re.findall(r"(?:^|\s)#(?! @package) (.*)$", path.read_text(), re.MULTILINE)
        if found := american("\n".join(comments)):
            odd[path.name] = found
    assert not odd


def test_docstrings_and_messages_are_british():
    odd = [f"{s.name}:{line} {found}" for s in SOURCES for line, text in sentences(s) if (found := american(text))]
    assert not odd


def test_systems_are_described_in_british():
    for name, told in yaml.safe_load((TOP / "docs" / "systems.yaml").read_text()).items():
        assert not american(str(told)), name

"""The table of systems names code and tests that exist."""

import pydoc
import re
from pathlib import Path

import pytest
import yaml

TOP = Path(__file__).resolve().parents[2]
SYSTEMS = yaml.safe_load((TOP / "docs" / "systems.yaml").read_text())
FIELDS = {"what", "source", "code", "default", "differs", "tests", "behaviour"}


@pytest.mark.parametrize("name", SYSTEMS)
def test_code_and_tests_exist(name):
    system = SYSTEMS[name]
    assert FIELDS - {"differs", "behaviour"} <= set(system) <= FIELDS
    for place in system["code"]:
        assert pydoc.locate(f"advvid.{place}") is not None, place
    tests = system["tests"] + system.get("behaviour", [])
    assert tests
    for place in tests:
        file, test = place.split("::")
        assert re.search(rf"^def {test}\(", (TOP / "tests" / file).read_text(), re.MULTILINE), place

"""Queries are drawn, also where no attack by labels fooled a clip."""

import pytest
from PIL import Image

from advvid.analyses import Queries
from advvid.attacks import SurFree


@pytest.mark.parametrize("median", [[None, None], [3.0, 2.0]])
def test_distances_are_drawn_whether_or_not_there_are_any(tmp_path, median):
    line = {"label": "surfree", "queries": [10, 20], "median": median, "low": median, "high": median}
    (path,) = Queries(attacks={"surfree": SurFree()}).draw(
        {"n": 2, "chance": 0.1, "scores": [], "labels": [line]}, tmp_path, "queries"
    )
    with Image.open(path) as image:
        assert min(image.size) > 100

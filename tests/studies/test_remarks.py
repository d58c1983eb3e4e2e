"""What a table says of its numbers comes from the settings that they were made with."""

import json

from advvid.studies.catalogue import find_target
from advvid.studies.remarks import remarks

BORDERS = {
    f"frame_border_{r}": {
        "budget": f"border of {r}% of the frame, l-inf 255/255 (at 8 x 32 x 32: 1 px, 12.1% of the frame)"
    }
    for r in (10, 15)
}


def test_a_table_names_where_probabilities_come_from_and_what_stands_in_for_a_purifier(tmp_path):
    _, table = find_target("kinfu-table4")
    low_pass = {"_target_": "advvid.purifiers.LowPass", "space": 2.0, "grey": True}
    configs = {
        ("none", "types"): {"defense": {"inner_steps": 5}},
        ("none", "compressed"): {"purifier": {"video_compression": {"quality": 28, "surrogate": None}}},
        ("none", "compressed_low_pass"): {"purifier": {"video_compression": {"surrogate": low_pass}}},
        ("aat_types", "types"): {"defense": {"probabilities_on": "validation"}},
        ("ape_gan_types", "types"): {"defense": {"adversary": {"probabilities_on": "train"}}},
    }
    folders = {}
    for number, (pair, config) in enumerate(configs.items()):
        folders[pair] = tmp_path / str(number)
        folders[pair].mkdir()
        content = {"config": config, "attacks": BORDERS if pair == ("none", "types") else {}}
        (folders[pair] / "robustness.json").write_text(json.dumps(content))
    said = remarks(table, folders)
    assert "on the validation split (aat_types)." in said
    assert "on the training split (ape_gan_types)." in said
    assert "video_compression straight through, as if it changed nothing (video_compression)." in said
    assert "through the stand-in LowPass of space 2.0, grey True (video_compression_low_pass)." in said
    assert said.endswith(
        "At 8 x 32 x 32: frame_border_10 1 px, 12.1% of the frame; frame_border_15 1 px, 12.1% of the frame."
    )
    assert remarks(table, {}) == ""

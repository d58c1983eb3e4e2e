"""A run is exported and verified; whatever somebody changed in it is found."""

import hashlib
import json
import shutil
import subprocess

import pytest
import torch
from tests.sharing import small_export

import advvid
from advvid.core.errors import AdvvidError
from advvid.sharing import export as exporting
from advvid.sharing import verify as verifying
from advvid.sharing.claim import read_claim, sha256


def differing(made):
    return [finding.name for finding in made.findings if not finding.same]


def test_an_export_holds_everything_and_nothing_of_the_machine(shared, run, data):
    names = {path.name for path in shared.iterdir()}
    assert names == {
        "README.md",
        "SHA256SUMS",
        "claim.json",
        "config.json",
        "model.safetensors",
        "robustness.json",
        "samples.jsonl",
    }
    assert subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=shared, check=False).returncode == 0
    for path in shared.iterdir():
        assert str(data.parent).encode() not in path.read_bytes(), path.name
    claim = read_claim(shared / "claim.json")
    assert claim.weights == hashlib.sha256((shared / "model.safetensors").read_bytes()).hexdigest()
    assert claim.command == "advvid verify mine dataset.root=PATH"
    assert claim.unions["l-inf 1/255"]["acc"] == claim.table.union.acc
    card = (shared / "README.md").read_text()
    assert card.startswith("---\nlicense: mit\n")
    assert claim.table.union.said in card


def test_an_export_loads_as_the_run_itself(shared, run, data, monkeypatch):
    monkeypatch.chdir(data.parent)
    ours, theirs = advvid.load_run(run), advvid.load_run(shared)
    clips = torch.rand(2, 3, 4, 16, 16)
    assert torch.equal(ours.model(clips), theirs.model(clips))
    assert theirs.classes == ours.classes
    assert theirs.table["union"].acc == ours.table["union"].acc


def test_a_true_claim_is_verified_elsewhere(shared, data, out, tmp_path, capsys):
    moved = shutil.copytree(data, tmp_path / "moved")
    status = verifying.main([str(shared), f"dataset.root={moved}", "runtime=cpu", "--out", str(out)])
    said = capsys.readouterr().out
    assert status == 0, said
    made = json.loads((out / "verification.json").read_text())
    assert made["same"]
    assert made["attacked"] == made["of"] == 6
    assert made["claim"] == sha256(shared / "claim.json")
    assert [finding["name"] for finding in made["findings"]] == [
        "files",
        "weights",
        "table",
        "card",
        "data",
        "model",
        "attacks",
        "predictions",
    ]
    part = verifying.verify(shared, tmp_path / "part", [f"dataset.root={data}"], clips=2)
    assert part.same
    assert part.attacked == 2


def test_a_changed_bit_of_a_weight_is_found(copy, data, out):
    small_export.flip_one_bit(copy)
    made = verifying.verify(copy, out, [f"dataset.root={data}"])
    assert differing(made) == ["files", "weights"]
    assert made.attacked == 0
    small_export.settle(copy)  # whoever did it made the sums fit
    assert "model" in differing(verifying.verify(copy, out, [f"dataset.root={data}"]))


def test_another_data_set_is_found(shared, out, tmp_path):
    other = small_export.videos(tmp_path / "lights", seed=1)
    made = verifying.verify(shared, out, [f"dataset.root={other}"])
    assert "data" in differing(made)
    assert "not the content" in next(finding.said for finding in made.findings if finding.name == "data")
    (other / "test" / "dark" / "test_dark_0.avi").unlink()
    made = verifying.verify(shared, out, [f"dataset.root={other}"])
    assert "1 clips are missing" in next(finding.said for finding in made.findings if finding.name == "data")


@pytest.mark.parametrize(
    ("name", "place", "value", "found"),
    [
        ("robustness.json", ("union", "acc"), 0.99, "table"),
        ("claim.json", ("table", "attacks", "pgd", "acc"), 0.99, "table"),
        ("claim.json", ("unions", "l-inf 1/255", "acc"), 0.99, "table"),
        ("claim.json", ("table", "attacks", "pgd", "budget"), "l-inf 8/255", "table"),
    ],
)
def test_an_edited_table_is_found(copy, name, place, value, found):
    small_export.edit(copy / name, *place, value=value)
    assert "files" in differing(verifying.verify(copy, copy.parent / "out", attack=False))
    small_export.settle(copy)
    assert differing(verifying.verify(copy, copy.parent / "out", attack=False)) == [found]


def test_an_edited_card_is_found_and_words_of_its_owner_are_not(copy):
    card = copy / "README.md"
    text = card.read_text()
    small_export.settle(copy)
    card.write_text(f"{card.read_text()}\nTrained on my own machine.\n")
    said = verifying.verify(copy, copy.parent / "out", attack=False)
    assert differing(said) == ["files"]  # its sum alone
    card.write_text(text.replace("value: ", "value: 9"))
    assert differing(verifying.verify(copy, copy.parent / "out", attack=False)) == ["files", "card"]


def test_a_forgery_of_all_files_is_found_by_attacking(run, data, out, tmp_path):
    forged = shutil.copytree(run, tmp_path / "forged")
    small_export.boast(forged)
    exporting.export(forged, tmp_path / "shared")
    assert verifying.verify(tmp_path / "shared", tmp_path / "files", attack=False).same
    made = verifying.verify(tmp_path / "shared", out, [f"dataset.root={data}"])
    assert differing(made) == ["predictions"]


def test_a_budget_that_was_not_kept_to_is_found(copy, data, out):
    small_export.edit(copy / "robustness.json", "attacks", "pgd", "budget", value="l-inf 8/255")
    small_export.edit(copy / "claim.json", "table", "attacks", "pgd", "budget", value="l-inf 8/255")
    claim = json.loads((copy / "claim.json").read_text())
    claim["unions"]["l-inf 8/255"] = claim["unions"].pop("l-inf 1/255")
    (copy / "claim.json").write_text(json.dumps(claim))
    small_export.settle(copy)
    assert differing(verifying.verify(copy, out, [f"dataset.root={data}"])) == ["attacks"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda folder: (folder / "SHA256SUMS").write_text(f"{'0' * 64}  ../../evil\n"), "has the line"),
        (lambda folder: (folder / "samples.jsonl").unlink(), "has no file samples.jsonl"),
        (lambda folder: _link(folder / "claim.json"), "has no file claim.json of its own"),
        (lambda folder: small_export.edit(folder / "claim.json", "weights", value=3), "malformed"),
        (lambda folder: small_export.edit(folder / "claim.json", "table", value={"schema": 1}), "malformed"),
        (lambda folder: small_export.edit(folder / "claim.json", "unions", value={"x": {"acc": 7}}), "malformed"),
        (lambda folder: small_export.edit(folder / "claim.json", "unions", value={}), "malformed"),
        (lambda folder: small_export.edit(folder / "robustness.json", "config", "purifier", value=3), "malformed"),
        (lambda folder: small_export.edit(folder / "robustness.json", "clean", "near_ties", value="all"), "malformed"),
    ],
)
def test_a_folder_of_another_form_is_refused(copy, change, said):
    change(copy)
    with pytest.raises(AdvvidError, match=said):
        verifying.verify(copy, copy.parent / "out", attack=False)


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (("config", "model", "net"), {"_target_": "os.system", "command": "touch canary"}, "os.system"),
        (("config", "dataset"), {"_target_": "my_lab.Data"}, "my_lab"),
        (("config", "dataset", "root"), "${oc.env:HOME}", "asks for nothing"),
        (("classes",), "all", "damaged"),
    ],
)
def test_a_strangers_configuration_runs_nothing(copy, data, place, value, said, monkeypatch):
    small_export.edit(copy / "config.json", *place, value=value)
    if place[0] == "config":
        small_export.edit(copy / "robustness.json", *place, value=value)
    small_export.settle(copy)
    monkeypatch.chdir(copy.parent)
    with pytest.raises(AdvvidError, match=said):
        verifying.verify(copy, copy.parent / "out", [] if "root" in place else [f"dataset.root={data}"])
    assert not (copy.parent / "canary").exists()


@pytest.mark.parametrize(
    "word", ["suite=quick", "attack.eps=1/255", "seed=1", "runtime.precision=bf16", "+x=1", "dataset.root"]
)
def test_what_is_claimed_cannot_be_changed(shared, tmp_path, word):
    with pytest.raises(AdvvidError, match="would change what is claimed"):
        verifying.verify(shared, tmp_path, [word])


def test_nothing_is_written_into_the_folder_that_is_verified(shared):
    with pytest.raises(AdvvidError, match="lies in the folder"):
        verifying.verify(shared, shared / "out", attack=False)
    assert not (shared / "out").exists()


def test_a_run_without_its_table_or_weights_is_refused(run, shared, tmp_path):
    with pytest.raises(AdvvidError, match="holds something already"):
        exporting.export(run, shared)
    bare = shutil.copytree(run, tmp_path / "bare")
    other = advvid.core.checkpoint.load(bare / "checkpoints" / "last.pt")
    other["model"] = {name: value + 1 if value.is_floating_point() else value for name, value in other["model"].items()}
    advvid.core.checkpoint.save(bare / "checkpoints" / "last.pt", other)
    with pytest.raises(AdvvidError, match="measured on other weights"):
        exporting.export(bare, tmp_path / "to")
    lines = [json.loads(line) | {"label": None} for line in (bare / "samples.jsonl").read_text().splitlines()]
    (bare / "samples.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(AdvvidError, match="no right and wrong answers"):
        exporting.export(bare, tmp_path / "to")
    (bare / "robustness.json").unlink()
    with pytest.raises(AdvvidError, match="score it first"):
        exporting.export(bare, tmp_path / "to")
    assert not (tmp_path / "to").exists()


def _link(path):
    path.rename(path.parent.parent / "elsewhere")
    path.symlink_to(path.parent.parent / "elsewhere")

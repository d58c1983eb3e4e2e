"""Files of weights by network: each training gets its own, and what does not fit is refused before anything is computed."""

import pytest

from advvid.core.errors import AdvvidError
from advvid.studies import __main__ as command_line
from advvid.studies.catalogue import find_target, studies
from advvid.studies.weights import check_weights, network, read_weights, starts
from advvid.studies.work import Runner


def test_each_network_starts_from_its_own_file(tmp_path):
    given = {"i3d": "/w/i3d.pt", "cnn_lstm": "/w/inception.pth"}
    runner, plan = Runner(tmp_path, "full", weights=given), studies()["deepsava"]
    told = {run: runner.overrides(plan, run) for run in ("i3d", "i3d_pgd", "cnn_lstm", "cnn_lstm_pgd", "next_frame")}
    begun = {run: [word for word in words if word.startswith("model.checkpoint=")] for run, words in told.items()}
    assert begun["i3d"] == begun["i3d_pgd"] == ["model.checkpoint=/w/i3d.pt"]
    assert begun["cnn_lstm"] == ["model.checkpoint=/w/inception.pth"]
    assert begun["next_frame"] == []
    (own,) = begun["cnn_lstm_pgd"]  # from its CNN, which begins with the file
    assert own.endswith("checkpoints/last.pt")
    assert "deepsava-cnn_pgd-" in own
    assert Runner(tmp_path, "demo", weights=given).overrides(plan, "i3d")[-1] != "model.checkpoint=/w/i3d.pt"


def test_a_changed_file_is_another_training(tmp_path):
    plan = studies()["kinfu"]
    folders = {
        Runner(tmp_path, "full", weights=given).folder(plan, "cat").name
        for given in ({}, {"resnext3d_101": "/w/a.pth"}, {"resnext3d_101": "/w/b.pth"})
    }
    assert len(folders) == 3


def refusal(targets, weights, told=()):
    with pytest.raises(AdvvidError) as caught:
        check_weights([find_target(name) for name in targets], weights, told)
    return str(caught.value)


def test_what_does_not_fit_is_refused_in_one_sentence():
    assert refusal(["deepsava-table5"], {"c3d": "/w/x.pt"}) == (
        "no training of these tables uses c3d: give weights of i3d"
    )
    assert refusal(["kinfu-table2", "deepsava-table5"], {"i3d": "/w/i3d.pt"}) == (
        "kinfu-table2 needs the weights of resnext3d_101, which the paper starts from Kinetics-700: add "
        'resnext3d_101=<file> to WEIGHTS="..."'
    )
    assert "needs the weights of cnn_lstm, whose CNN is not trained" in refusal(["deepsava-tableb15"], {})
    check_weights([find_target("deepsava-tableb15")], {}, ["model.checkpoint=/w/x.pth"])
    check_weights([find_target("kinfu-table2")], {})


def test_networks_that_an_analysis_names_need_their_files_too():
    known = dict.fromkeys(("cnn_lstm", "cnn_rnn", "cnn_gru", "inception_v3"), "/w/inception.pth")
    assert "needs the weights of i3d" in refusal(["deepsava-table12"], known)


def test_every_network_with_weights_is_one_of_its_paper():
    for name in ("kinfu", "deepsava", "lo"):
        plan = studies()[name]
        quick = [run for run in plan.runs if "_" not in run or run.endswith("lstm")] + ["inception_v3"]
        used = {network(plan.runs[run]) for run in quick if run in plan.runs}
        assert set(plan.pretrained) <= used, name


def test_pairs_are_read_and_files_looked_for(tmp_path, capsys):
    path = tmp_path / "x.pt"
    path.touch()
    assert read_weights([f"i3d={path}"]) == {"i3d": str(path)}
    with pytest.raises(AdvvidError, match="weights are given as network=file, not 'i3d'"):
        read_weights(["i3d"])
    with pytest.raises(AdvvidError, match="two files of weights are given for i3d"):
        read_weights([f"i3d={path}", f"i3d={path}"])
    assert command_line.main(["run", "deepsava-table5", "--root", str(tmp_path), "--weights", "i3d=/nowhere.pt"]) == 1
    assert "there is no file /nowhere.pt, where the weights of i3d should be" in capsys.readouterr().err
    told = ["run", "kinfu-table2", "--scale", "demo", "--root", str(tmp_path), "--weights", f"resnext3d_101={path}"]
    assert command_line.main(told) == 1
    assert "leave WEIGHTS out, or give SCALE=full" in capsys.readouterr().err


def test_every_defended_row_at_full_scale_says_what_it_starts_from():
    plan, target = find_target("deepsava-table11")
    said = starts(plan, target, "full", {"cnn_lstm": "/w/inception.pth"})
    runs = {run for run, _ in target.wanted("full")}
    assert all(f"{run}," in said or f"{run} start" in said for run in runs)
    assert "cnn_lstm_pgd starts from the weights of cnn_pgd" in said
    assert "the file inception.pth (cnn_lstm)" in said

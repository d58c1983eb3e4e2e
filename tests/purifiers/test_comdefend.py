"""ComDefend: its networks, their training, their file, and the purifier."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image

from advvid.core.errors import AdvvidError
from advvid.data.encode import write_video
from advvid.purifiers.comdefend import ComDefend, _cut, _joined
from advvid.purifiers.comdefend_networks import CODE, ComDefendNetworks, load_networks, save_networks
from advvid.purifiers.train_comdefend import Training, main, psnr, train
from advvid.purifiers.training_frames import frames_of_folder, patches_of


@pytest.fixture(scope="module")
def pictures():
    """A folder of smooth pictures and one video."""
    y, x = np.mgrid[0:24, 0:28] / 28
    return [
        np.uint8(255 * np.stack([(x * a + b) % 1, y * 0 + b, y], axis=2)) for a in (0.3, 0.6) for b in (0, 0.4, 0.7)
    ]


@pytest.fixture(scope="module")
def trained(tmp_path_factory, pictures):
    """Small networks, trained by the command on a folder."""
    folder = tmp_path_factory.mktemp("comdefend")
    for number, picture in enumerate(pictures[:-1]):
        Image.fromarray(picture).save(folder / f"{number}.png")
    write_video(folder / "last.avi", [pictures[-1]] * 3, 25)
    words = "--patches 60 --patch 8 --width 0.1 --noise 2 --epochs 12 --batch-size 6 --step-size 0.005 --device cpu"
    assert main([str(folder), "--out", str(folder / "c.pt"), *words.split()]) == 0
    return folder / "c.pt"


def test_the_networks_are_the_papers():
    networks = ComDefendNetworks()
    shapes = [
        tuple(layer.weight.shape[:2]) for layer in (*networks.encoder, *networks.decoder) if hasattr(layer, "weight")
    ]
    there = [3, 16, 32, 64, 128, 256, 128, 64, 32, 12]
    back = [12, 32, 64, 128, 256, 128, 64, 32, 16, 3]
    assert shapes == [(after, before) for row in (there, back) for before, after in pairwise(row)]


def test_without_trained_networks_it_names_the_command():
    for path in (None, "/nowhere/c.pt"):
        with pytest.raises(
            AdvvidError, match=r"ComDefend needs trained networks.*python -m advvid.purifiers.train_comdef"
        ):
            ComDefend(path)


def test_a_file_that_holds_something_else_is_refused(tmp_path):
    from advvid.core import checkpoint

    checkpoint.save(tmp_path / "other.pt", {"model": {}})
    with pytest.raises(AdvvidError, match="holds no networks of ComDefend"):
        ComDefend(str(tmp_path / "other.pt"))


def test_the_command_trains_what_the_purifier_reads(trained, pictures):
    """Better than the mean colour, which is what networks that learnt nothing give back at best."""
    networks, noise = load_networks(str(trained))
    assert noise == 2
    assert not any(p.requires_grad for p in networks.parameters())
    patches = torch.stack([torch.from_numpy(p).permute(2, 0, 1)[:, :16, :16] for p in pictures])
    mean = -10 * np.log10(float((patches / 255).var(dim=(0, 2, 3)).mean()))
    assert psnr(networks, patches, 0) > mean + 1
    clips = (patches / 255)[None].transpose(1, 2)
    assert (ComDefend(str(trained), noise=0, patch=8)(clips) - clips).square().mean() < 10 ** (-(mean + 1) / 10)


def test_the_code_is_one_bit_per_value(trained):
    """Whatever the noise: the decoder sees nothing but zeros and ones."""
    purifier = ComDefend(str(trained))
    seen = []
    purifier.networks.decoder.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    purifier(torch.rand(1, 3, 2, 32, 32))
    assert seen[0].shape[1] == CODE
    assert set(seen[0].unique().tolist()) <= {0.0, 1.0}


def test_noise_makes_it_random(trained):
    clips = torch.rand(2, 3, 2, 16, 16, generator=torch.Generator().manual_seed(0))
    calm, noisy = ComDefend(str(trained), noise=0), ComDefend(str(trained))
    assert not calm.random
    assert noisy.random
    assert torch.equal(calm(clips), calm(clips))
    assert not torch.equal(noisy(clips), noisy(clips))
    pair = [torch.Generator().manual_seed(7) for _ in range(2)]
    found = noisy(clips[:1].repeat(2, 1, 1, 1, 1), pair)
    assert torch.equal(found[0], found[1])


@pytest.mark.parametrize("side", [8, 5])
def test_patches_are_put_back_where_they_were(side):
    frames = torch.rand(2, 4, 3 * side, 2 * side)
    assert torch.equal(_joined(_cut(frames, side), side, frames.shape[-2:]), frames)


def test_patches_do_not_see_each_other(trained):
    """A change in one patch stays in it; frames that are no whole number of patches keep their size."""
    purifier = ComDefend(str(trained), noise=0, patch=8)
    clips = torch.rand(1, 3, 1, 20, 13, generator=torch.Generator().manual_seed(1))
    other = clips.clone()
    other[..., :8, :8] = 1 - other[..., :8, :8]
    same = (purifier(clips) == purifier(other)).all(dim=1)[0, 0]
    assert same[8:].all()
    assert same[:, 8:].all()
    assert not same[:8, :8].all()


def test_a_short_training_finds_more_than_the_mean_colour_under_the_noise_of_the_authors():
    y, x = torch.meshgrid(torch.arange(8), torch.arange(8), indexing="ij")
    generator = torch.Generator().manual_seed(0)
    slopes = torch.rand(64, 3, 2, 1, 1, generator=generator) * 20 - 10
    base = torch.randint(40, 216, (64, 3, 1, 1), generator=generator)
    patches = (base + slopes[:, :, 0] * (x - 4) + slopes[:, :, 1] * (y - 4)).clamp(0, 255).to(torch.uint8)
    networks, _ = train(patches, Training(width=0.25, epochs=25, batch_size=8))
    mean = -10 * np.log10(float((patches / 255).var(dim=(0, 2, 3)).mean()))
    assert psnr(networks, patches, Training().noise) > mean + 5


def test_training_is_repeatable_and_says_when_it_diverges():
    patches = torch.randint(0, 256, (12, 3, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    how = Training(width=0.05, epochs=2, batch_size=4)
    (one, errors), (other, _) = train(patches, how), train(patches, how)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    assert len(errors) == 2
    with pytest.raises(AdvvidError, match="smaller --step-size"):
        train(patches, Training(width=0.05, epochs=1, batch_size=4, step_size=1e30))


def test_squares_come_from_every_frame_that_is_large_enough(tmp_path):
    frames = [torch.full((3, 9, 9), 1, dtype=torch.uint8), torch.full((3, 4, 9), 2, dtype=torch.uint8)]
    frames.append(torch.full((3, 8, 30), 3, dtype=torch.uint8))
    found = patches_of(iter(frames), 8, 4, 0)
    assert found.shape == (4, 3, 8, 8)
    assert sorted(found[:, 0, 0, 0].tolist()) == [1, 1, 3, 3]
    with pytest.raises(AdvvidError, match="no frame has 40 x 40 pixels"):
        patches_of(iter(frames), 40, 4, 0)
    with pytest.raises(AdvvidError, match="no pictures or videos"):
        list(frames_of_folder(tmp_path, 0))
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(AdvvidError, match=r"a\.png cannot be read"):
        list(frames_of_folder(tmp_path, 0))


def test_saving_keeps_the_width(tmp_path):
    save_networks(tmp_path / "n.pt", ComDefendNetworks(0.1), 3.0, "nothing")
    networks, noise = load_networks(str(tmp_path / "n.pt"))
    assert (networks.width, noise) == (0.1, 3.0)


def test_the_command_answers_in_one_sentence(tmp_path, capsys):
    assert main(["dataset=mosion", "--out", str(tmp_path / "n.pt")]) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert "mosion" in said
    assert main([str(tmp_path), "--out", str(tmp_path / "n.pt"), "--epochs", "0"]) == 1


def test_the_command_says_how_to_use_what_it_wrote(tmp_path, capsys, pictures):
    Image.fromarray(pictures[0]).save(tmp_path / "a.png")
    words = "--patches 4 --patch 8 --width 0.01 --epochs 1 --device cpu"
    assert main([str(tmp_path), "--out", str(tmp_path / "n.pt"), *words.split()]) == 0
    assert f"purifier=[comdefend] purifier.comdefend.checkpoint={tmp_path / 'n.pt'}" in capsys.readouterr().out

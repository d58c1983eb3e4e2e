"""The simulated GPU refuses what a GPU refuses, counts what makes the host wait, and computes as the CPU does."""

import copy

import pytest
import torch
from torch import nn

from gpu_rules import READS, UPLOADS, DeviceError
from simulated_gpu import CUDA, SimulatedGpu, same_bits


@pytest.fixture
def gpu():
    with SimulatedGpu() as simulated:
        yield simulated


REFUSED = {
    "a host tensor beside one of the GPU": lambda x: x + torch.ones(2, 3),
    "a host mask": lambda x: torch.where(torch.ones(2, 3, dtype=torch.bool), x, x),
    "a host tensor among joined ones": lambda x: torch.cat([x, torch.ones(2, 3)]),
    "a host tensor indexed by one of the GPU": lambda x: torch.ones(2, 3)[x.long()],
    "host values put into one of the GPU": lambda x: x.__setitem__(
        torch.zeros(1, dtype=torch.long, device=CUDA), torch.ones(1, 3)
    ),
    "a CPU generator for the GPU": lambda x: torch.rand(2, device=CUDA, generator=torch.Generator()),
    "a CPU generator for a draw in place": lambda x: x.uniform_(generator=torch.Generator()),
    "a GPU generator for the CPU": lambda x: torch.rand(2, generator=torch.Generator("cuda")),
    "a network left on the host": lambda x: nn.Linear(3, 1)(x),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refuses(gpu, what):
    with pytest.raises(DeviceError):
        REFUSED[what](torch.ones(2, 3, device="cuda"))


def test_numpy_is_refused_as_by_a_gpu(gpu):
    with pytest.raises(TypeError, match="cuda:0"):
        torch.ones(2, device="cuda").numpy()


COUNTED = {
    "item": (lambda x: x.sum().item(), READS),
    "bool": (lambda x: bool(x.any()), READS),
    "float": (lambda x: float(x[0, 0]), READS),
    "tolist": (lambda x: x.tolist(), READS),
    "cpu": (lambda x: x.cpu(), READS),
    "nonzero": (lambda x: x.nonzero(), READS),
    "a mask": (lambda x: x[x > 0], READS),
    "values under a mask": (lambda x: x.__setitem__(x > 0, x[0, :1]), READS),
    "equal": (lambda x: torch.equal(x, x), READS),
    "a list": (lambda x: torch.tensor([1.0], device=x.device), UPLOADS),
    "new_tensor": (lambda x: x.new_tensor([1.0]), UPLOADS),
    "to": (lambda x: torch.ones(2).to(x.device), UPLOADS),
    "a host index": (lambda x: x[torch.tensor([0])], UPLOADS),
}


@pytest.mark.parametrize("what", COUNTED)
def test_counts_one_wait_of(gpu, what):
    work, kind = COUNTED[what]
    x = torch.ones(2, 3, device=CUDA)
    work(x)
    assert gpu.count(kind) == gpu.count() == 1


FREE = {
    "arithmetic": lambda x: (x * 2 + 1).sum(),
    "a copy beside the host": lambda x: torch.ones(2).to(x.device, non_blocking=True),
    "where": lambda x: torch.where(x > 0, x, 0.0),
    "a constant under a mask": lambda x: x.__setitem__(x > 0, 0.0),
    "places": lambda x: x[torch.zeros(1, dtype=torch.long, device=CUDA)],
    "the same device": lambda x: x.to(CUDA),
    "a host number": lambda x: x * torch.tensor(2.0),
}


@pytest.mark.parametrize("what", FREE)
def test_counts_nothing_for(gpu, what):
    FREE[what](torch.ones(2, 3, device=CUDA))
    assert not gpu.count()


def test_a_wait_has_its_file_and_line(gpu):
    from advvid.core.batch import Space

    clips = torch.ones(2, 3, device=CUDA)
    bool(Space().contains(clips).all())
    assert [place for _, place in gpu.waits] == ["elsewhere"]
    gpu.waits.clear()
    from advvid.training.validation import Meter

    meter = Meter()
    meter.add(clips.sum(), None, 2)
    float(meter.mean_loss)
    ((kind, place),) = gpu.waits
    assert kind == "device to host"
    assert place.startswith("training/validation.py:")


def test_a_training_step_gives_the_bits_of_the_cpu(gpu):
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv3d(3, 4, 3), nn.BatchNorm3d(4), nn.ReLU(), nn.Dropout(), nn.Flatten(), nn.Linear(32, 2)
    )
    other, clips = copy.deepcopy(model).to(CUDA), torch.rand(2, 3, 4, 4, 4)
    for network, device in ((model, "cpu"), (other, CUDA)):
        optimizer = torch.optim.Adam(network.parameters())
        torch.manual_seed(1)
        network(clips.to(device)).square().sum().backward()
        optimizer.step()
    assert all(weight.is_cuda for weight in other.parameters())
    assert same_bits(dict(model.state_dict()), dict(other.state_dict()))
    assert same_bits(dict(other.state_dict()), dict(copy.deepcopy(other).state_dict()))


def test_there_is_no_gpu_afterwards():
    before = torch.cuda.is_available()
    with SimulatedGpu():
        assert torch.cuda.is_available()
        inside = torch.ones(2, device=CUDA)
    assert torch.cuda.is_available() == before
    assert torch.Generator().device.type == "cpu"
    assert type(torch.ones(2)) is torch.Tensor
    assert type(inside) is not torch.Tensor

"""Memory is measured before it runs out, and running out costs speed, not the run."""

import resource

import pytest
import torch
from torch import nn

from advvid.attacks.pgd import PGD
from advvid.core.batch import Batch
from advvid.data.content import Contents
from advvid.distributed.micro_batches import activation_bytes, free_bytes, in_parts, micro_batch, out_of_memory
from advvid.evaluation.columns import Column
from advvid.evaluation.evaluator import Evaluator
from advvid.tasks.classification import Classification


def test_activations_are_counted_once_and_weights_are_not():
    """Squaring keeps its input; the layer's weights are needed too but are no activation."""
    clips = torch.rand(2, 3, 4, 8, 8)
    each = clips.numel() * 4

    class Squares(nn.Module):
        def forward(self, x):
            return ((x * 2) ** 2).flatten(1).sum(1)

    assert activation_bytes(Squares(), clips) == each
    layer = nn.Sequential(nn.Flatten(), nn.Linear(768, 1000))
    assert activation_bytes(layer, clips) <= each  # the input at most, never the 3 MB of weights
    assert activation_bytes(Squares(), clips[:1]) == each // 2


def test_counting_leaves_the_model_alone(small, clips):
    before = {name: value.clone() for name, value in small.state_dict().items()}
    small.train()
    activation_bytes(small, clips)
    assert small.training
    assert all(p.requires_grad and p.grad is None for p in small.parameters())
    assert all(torch.equal(value, before[name]) for name, value in small.state_dict().items())


def test_a_batch_that_would_not_fit_is_split(small, clips, monkeypatch):
    each = activation_bytes(small.eval(), clips[:1])
    monkeypatch.setattr("advvid.distributed.micro_batches.free_bytes", lambda device: int(each * 10))
    assert micro_batch(small, clips[:1], 50, None, "the attack") == 6
    assert micro_batch(small, clips[:1], 4, None, "the attack") == 4
    assert micro_batch(small, clips[:1], 50, 3, "the attack") == 3
    monkeypatch.setattr("advvid.distributed.micro_batches.free_bytes", lambda device: 0)
    assert micro_batch(small, clips[:1], 50, None, "the attack") == 1


def test_running_out_halves_and_loses_nothing():
    tried = []

    def work(index):
        tried.append(len(index))
        if len(index) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return index.tolist()

    results, size = in_parts(work, 8, 10, "work")
    assert [i for part in results for i in part] == list(range(10))
    assert (tried[:3], size) == ([8, 4, 2], 2)


def test_other_errors_and_single_clips_are_not_swallowed():
    def broken(index):
        raise RuntimeError("shapes differ")

    def greedy(index):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes")

    with pytest.raises(RuntimeError, match="shapes differ"):
        in_parts(broken, 4, 4, "work")
    with pytest.raises(RuntimeError, match="can't allocate"):
        in_parts(greedy, 4, 4, "work")
    assert not out_of_memory(RuntimeError("shapes differ"))


class Hungry(nn.Module):
    """A network that runs out of memory for more than two clips."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, clips):
        if len(clips) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self.inner(clips)


def test_the_table_is_the_same_when_memory_is_short(small, clips, labels, tmp_path):
    ids = [str(i) for i in range(len(clips))]

    def table(model, folder):
        columns = [Column("pgd", PGD(eps="4/255", steps=4))]
        evaluator = Evaluator(
            model=model.eval(),
            task=Classification(),
            columns=columns,
            seed=0,
            device=torch.device("cpu"),
            run_dir=folder,
        )
        lines = evaluator.run(lambda numbers: [Batch(clips, labels, ids)], Contents(ids, ids), len(ids))
        return [(s["clean"], s["attacks"]["pgd"]["pred"], s["attacks"]["pgd"]["steps"]) for s in lines]

    assert table(Hungry(small), tmp_path / "a") == table(small, tmp_path / "b")


def test_low_precision_search_keeps_only_what_fools_in_fp32(small, clips, labels, tmp_path):
    """Where bf16 rounding alone makes a clip look fooled, fp32 searches it again."""
    ids = [str(i) for i in range(len(clips))]

    class Rounded(nn.Module):
        """Another class wins whenever autocast is on."""

        def forward(self, x):
            out = small(x)
            return -out if torch.is_autocast_enabled("cpu") else out

    columns = [Column("pgd", PGD(eps="8/255", steps=20))]

    def accuracy(folder, **more):
        evaluator = Evaluator(
            model=Rounded(),
            task=Classification(),
            columns=columns,
            seed=0,
            device=torch.device("cpu"),
            run_dir=folder,
            **more,
        )
        lines = evaluator.run(lambda numbers: [Batch(clips, labels, ids)], Contents(ids, ids), len(ids))
        return [s["attacks"]["pgd"]["pred"] == s["label"] for s in lines]

    plain = accuracy(tmp_path / "fp32")
    low = accuracy(tmp_path / "bf16", search=lambda: torch.autocast("cpu", torch.bfloat16))
    assert low == plain


def test_bounds_of_container_and_process_count_as_little_memory(tmp_path, monkeypatch):
    """A run that looks at the machine alone is killed where less is allowed."""
    cpu, mib = torch.device("cpu"), 2**20
    for name, value in (("meminfo", "MemAvailable: 8192 kB"), ("status", "VmSize:\t 1024 kB")):
        (tmp_path / name).write_text(f"Other: 1 kB\n{value}\n")
        monkeypatch.setattr(f"advvid.distributed.micro_batches.{name.upper()}", tmp_path / name)
    monkeypatch.setattr("advvid.distributed.micro_batches.CGROUP", tmp_path)
    monkeypatch.setattr("resource.getrlimit", lambda kind: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert free_bytes(cpu) == 8 * mib  # no container
    (tmp_path / "memory.stat").write_text(f"anon 5\ninactive_file {mib}\n")
    (tmp_path / "memory.current").write_text(f"{3 * mib}\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert free_bytes(cpu) == 8 * mib  # one without a bound
    (tmp_path / "memory.max").write_text(f"{6 * mib}\n")
    assert free_bytes(cpu) == 4 * mib  # 3 MiB are in use, of which files hold 1
    monkeypatch.setattr("resource.getrlimit", lambda kind: (3 * mib, 3 * mib))
    assert free_bytes(cpu) == 2 * mib
    (tmp_path / "meminfo").unlink()
    assert free_bytes(cpu) == 2 * mib

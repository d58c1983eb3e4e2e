"""Clips for purifiers: random ones, and a smooth one."""

import pytest
import torch


@pytest.fixture
def noise():
    return torch.rand(2, 3, 3, 16, 24, generator=torch.Generator().manual_seed(5))

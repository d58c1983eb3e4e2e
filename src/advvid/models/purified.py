"""A generator in front of a classifier, as one network."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

PARTS = ("generator", "classifier")


class Purified(nn.Module):
    """Clips pass the generator before the classifier sees them: F(G(X)).

    Where the classifier averages over several views of a video, the generator takes them one by one, as in training.

    Args:
        generator: clips to clips.
        classifier: clips to the task's output.

    Shape:
        clips ``[B, 3, views * T, H, W]`` in [0, 1]; returns what the classifier returns.

    Example:
        >>> Purified(nn.Identity(), nn.Flatten())(torch.rand(2, 3, 1, 2, 2)).shape
        torch.Size([2, 12])
    """

    def __init__(self, generator: nn.Module, classifier: nn.Module) -> None:
        super().__init__()
        self.generator, self.classifier = generator, classifier
        self.trained: tuple[str, ...] = PARTS
        # Weights that the user froze stay so whenever the classifier is trained.
        self.frozen_names = frozenset(n for n, p in classifier.named_parameters() if not p.requires_grad)

    def train_only(self, parts: Sequence[str]) -> None:
        """Freeze what is not among these parts: its weights, and its BatchNorm statistics."""
        self.trained = tuple(parts)
        for part in PARTS:
            for name, weight in getattr(self, part).named_parameters():
                kept = part == "classifier" and name in self.frozen_names
                weight.requires_grad_(part in parts and not kept)
        self.train(self.training)

    def train(self, mode: bool = True) -> Purified:
        """Switch training mode; a frozen part stays in evaluation mode."""
        super().train(mode)
        for part in PARTS:
            if part not in self.trained:
                getattr(self, part).eval()
        return self

    def restore(self, clips: Tensor) -> Tensor:
        """Return the clips as the generator gives them."""
        shape = getattr(self.classifier, "clip_shape", None)
        frames = clips.shape[2] if shape is None or clips.ndim != 5 else shape[1]
        if clips.ndim != 5 or clips.shape[2] == frames or clips.shape[2] % frames:
            return self.generator(clips)
        views = clips.unflatten(2, (-1, frames)).transpose(1, 2)
        restored = self.generator(views.flatten(0, 1)).unflatten(0, views.shape[:2])
        return restored.transpose(1, 2).flatten(2, 3)

    def forward(self, clips: Tensor) -> Tensor:
        """Return the classifier's answer to the restored clips."""
        return self.classifier(self.restore(clips))

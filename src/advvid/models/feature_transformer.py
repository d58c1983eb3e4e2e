"""The transformer on frame features of A-ART: attention over time for each modality, its maps for everyone to see."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar

import torch
from annotated_types import Ge, Lt, MinLen
from torch import Tensor, nn
from torch.nn import functional as F

from advvid.core.allowed import checked
from advvid.core.errors import AdvvidError
from advvid.core.features import valid_frames
from advvid.core.kinds import Count, FilePath, Positive
from advvid.models.fit import check_logits
from advvid.models.weights import load_local_weights

# A network's attention maps: for each modality a tensor [B, heads, T, T] per layer.
Maps = dict[str, list[Tensor]]


@checked
class FeatureTransformer(nn.Module):
    """One layer of multi-head attention with 8 heads for each modality (Choudhary et al., sec. 3.1; Vaswani et al. 2017).

    Each modality goes through its own encoder; the mean of its outputs over the video's own frames is taken, and a
    linear layer maps the means of all modalities together to the logits. The paper does not say how frames are pooled
    and classified, nor how wide the feed-forward layer is: these are this network's own choices. Frames of zeros are
    padding, see ``advvid.core.features``: they are neither attended to nor pooled, so that they change no logit.

    Args:
        num_classes: number of logits, K.
        modalities: the name of each modality and its values per frame, in their order along F.
        width: factor on the inner dimensions, which are the modalities' own sizes at 1 (each a multiple of the heads);
            at 1 features enter as they are, else through a linear layer.
        heads: of each modality's attention.
        layers: of each modality's encoder.
        feed_forward: width of the feed-forward layer as a multiple of the inner dimension.
        dropout: after attention and feed-forward, and on the pooled features.
        clip_shape: ``(T, F)`` of the data's inputs, for the record; any T is taken.
        views: must be 1.
        checkpoint: a local file of weights, see ``load_local_weights``.

    Raises:
        AdvvidError: if a setting is impossible, the data have other features, or the weights do not fit.

    Shape:
        features ``[B, T, F]`` in [-2, 2]; logits ``[B, K]``.

    Example:
        >>> FeatureTransformer(10, width=0.125)(torch.rand(2, 30, 1152)).shape
        torch.Size([2, 10])
    """

    output: ClassVar[str] = "logits"

    def __init__(
        self,
        num_classes: Count,
        modalities: Annotated[Mapping[str, Count], MinLen(1)] | None = None,
        width: Positive = 1.0,
        heads: Count = 8,
        layers: Count = 1,
        feed_forward: Positive = 2.0,
        dropout: Annotated[float, Ge(0), Lt(1)] = 0.1,
        clip_shape: Sequence[Count] | None = None,
        views: Count = 1,
        checkpoint: FilePath | None = None,
    ) -> None:
        super().__init__()
        self.modalities = {"rgb": 1024, "audio": 128} if modalities is None else dict(modalities)
        if views != 1:
            raise AdvvidError(f"views={views} must be 1 for features")
        if clip_shape is not None and (len(clip_shape) != 2 or clip_shape[1] != sum(self.modalities.values())):
            raise AdvvidError(
                f"model=feature_transformer takes features [B, T, {sum(self.modalities.values())}], but the data's inputs "
                f"are {' x '.join(map(str, clip_shape))}: choose dataset=youtube8m or youtube8m_mini, or set "
                "model.modalities to the data's"
            )
        self.num_classes, self.views, self.width = num_classes, views, width
        self.clip_shape = None if clip_shape is None else tuple(clip_shape)
        inner = {name: heads * max(1, round(size * width / heads)) for name, size in self.modalities.items()}
        self.enter = nn.ModuleDict(
            {
                name: nn.Identity() if size == inner[name] else nn.Linear(size, inner[name])
                for name, size in self.modalities.items()
            }
        )
        self.encoders = nn.ModuleDict(
            {
                name: nn.ModuleList(
                    EncoderLayer(size, heads, round(feed_forward * size), dropout) for _ in range(layers)
                )
                for name, size in inner.items()
            }
        )
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(sum(inner.values()), num_classes)
        if checkpoint is not None:
            load_local_weights(self, checkpoint)

    def forward(self, features: Tensor) -> Tensor:
        """Return logits ``[B, K]``."""
        return self._run(features, None)

    def check(self, clip_shape: Sequence[int]) -> None:
        """Make sure that the network gives one row of logits per video of this shape; see ``advvid.models.fit.RunModel``."""
        check_logits(self, (2, *clip_shape), self.num_classes)

    def attention_maps(self, features: Tensor) -> Maps:
        """Return the attention that each layer pays, per modality a list of ``[B, heads, T, T]`` by layer.

        Rows of a video's own frames sum to one over its own frames; columns of padding are zero.
        """
        return self.with_attention(features)[1]

    def with_attention(self, features: Tensor) -> tuple[Tensor, Maps]:
        """Return logits and attention maps of one pass; both carry gradients (see ``attention_maps``)."""
        maps: Maps = {}
        return self._run(features, maps), maps

    def _run(self, features: Tensor, maps: Maps | None) -> Tensor:
        """Return logits, and put attention maps into ``maps`` where given.

        Raises:
            AdvvidError: if the features are not ``[B, T, F]``.
        """
        if features.ndim != 3 or features.shape[2] != sum(self.modalities.values()):
            raise AdvvidError(
                f"the model takes features [B, T, {sum(self.modalities.values())}], not {list(features.shape)}"
            )
        valid = valid_frames(features)
        # A video without any frame would leave the softmax nothing: it is taken for frames of zeros.
        valid = valid | ~valid.any(dim=1, keepdim=True)
        share = valid / valid.sum(dim=1, keepdim=True)
        pooled = []
        for name, part in zip(self.modalities, features.split(list(self.modalities.values()), dim=2), strict=True):
            x = self.enter[name](part)
            x = x + positions(x.shape[1], x.shape[2], x)
            seen: list[Tensor] | None = None if maps is None else maps.setdefault(name, [])
            layers = self.encoders[name]
            assert isinstance(layers, nn.ModuleList)
            for layer in layers:
                x = layer(x, valid, seen)
            pooled.append((x * share.unsqueeze(2)).sum(dim=1))
        return self.classifier(self.dropout(torch.cat(pooled, dim=1)))


class EncoderLayer(nn.Module):
    """Self-attention and a feed-forward network, each added to its input and normalised after (Vaswani et al. 2017, 3.1).

    Shape:
        x ``[B, T, D]``, valid bool ``[B, T]``; result like x.
    """

    def __init__(self, size: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj, self.out_proj = nn.Linear(size, 3 * size), nn.Linear(size, size)
        self.feed_forward = nn.Sequential(nn.Linear(size, hidden), nn.ReLU(), nn.Linear(hidden, size))
        self.norms = nn.ModuleList(nn.LayerNorm(size) for _ in range(2))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, valid: Tensor, maps: list[Tensor] | None = None) -> Tensor:
        """Return the layer's output; its attention map ``[B, heads, T, T]`` is appended to ``maps`` where given."""
        query, key, value = self.in_proj(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        allowed = valid[:, None, None, :]
        if maps is None:
            mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=allowed)
        else:
            scores = query @ key.transpose(2, 3) / math.sqrt(query.shape[3])
            maps.append(scores.masked_fill(~allowed, -torch.inf).softmax(dim=3))
            mixed = maps[-1] @ value
        x = self.norms[0](x + self.dropout(self.out_proj(mixed.transpose(1, 2).flatten(2))))
        return self.norms[1](x + self.dropout(self.feed_forward(x)))


def positions(frames: int, size: int, like: Tensor) -> Tensor:
    """Return the sinusoidal positional encoding ``[T, D]`` (Vaswani et al. 2017, sec. 3.5), in the type of ``like``."""
    time = torch.arange(frames, device=like.device, dtype=torch.float32)[:, None]
    rate = torch.exp(torch.arange(0, size, 2, device=like.device) * (-math.log(10_000.0) / size))
    waves = torch.stack([(time * rate).sin(), (time * rate).cos()], dim=2).flatten(1)
    return waves[:, :size].to(like.dtype)

"""The attention maps of a network, read while it computes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from advvid.core.errors import AdvvidError
from advvid.core.features import valid_frames
from advvid.models.feature_transformer import FeatureTransformer
from advvid.models.hugging_face import HuggingFaceNet

# By layer: the mean over the heads, [B, P, Q, K]. P counts the windows that the layer looks through one by one (1 where
# it looks at everything at once), Q the places that look and K those that are looked at. Rows sum to one; rows and
# columns of padding are zero.
Maps = dict[str, Tensor]

SOFTMAX = (torch.softmax, Tensor.softmax, F.softmax)


def with_attention(model: nn.Module, inputs: Tensor) -> tuple[Tensor, Maps]:
    """Return a model's output and the attention maps of the same pass; both carry gradients.

    The maps are the paper's ``A`` (Choudhary et al., sec. 2.2): averaged over the heads of a layer, before dropout. A
    ``FeatureTransformer`` hands over its own, and so do networks of Hugging Face. In other networks (MViT, Swin) forward
    hooks mark when a layer is at work, and the softmax that it computes is read: what is read is what the layer itself
    uses, with whatever positions, masks and pooling it puts in.

    Args:
        model: any network with attention layers, see ``attention_layers``.
        inputs: ``[B, ...]`` as the model takes them.

    Raises:
        AdvvidError: for a model without attention, or a layer whose maps cannot be read.

    Shape:
        output ``[B, K]``; maps ``[B, P, Q, K]`` in float32 by layer, in the order of computation.

    Example:
        >>> logits, maps = with_attention(FeatureTransformer(10, width=0.125), torch.rand(2, 30, 1152))
        >>> {name: tuple(weights.shape) for name, weights in maps.items()}
        {'rgb.0': (2, 1, 30, 30), 'audio.0': (2, 1, 30, 30)}
    """
    if isinstance(model, FeatureTransformer):
        out, own = model.with_attention(inputs)
        seen = valid_frames(inputs)[:, None, :, None]  # rows of padding lead to no logit
        return out, {
            f"{name}.{k}": weights.float().mean(dim=1, keepdim=True) * seen
            for name, layers in own.items()
            for k, weights in enumerate(layers)
        }
    hugging = next((module for module in model.modules() if isinstance(module, HuggingFaceNet)), None)
    if hugging is not None:
        with hugging.attentions() as passes, _uncompiled(model):
            out = model(inputs)
        return out, {
            str(k): weights.float().mean(dim=1).unflatten(0, (len(inputs), -1)) for k, weights in enumerate(passes[-1])
        }
    layers = attention_layers(model)
    if not layers:
        require_attention(model, "an attention map")
    with _read_softmax(layers) as found, _uncompiled(model), _unfused(layers):
        out = model(inputs)
    for name, weights in found.items():
        if len(weights) != 1:
            raise AdvvidError(
                f"the attention layer {name} ({type(layers[name]).__name__}) computes {len(weights)} softmaxes in a pass, "
                "so that its map cannot be told: use a model whose layers compute one each, such as mvit_v2_s or swin3d_t"
            )
    # Windows of a clip, and the views of a video, stand one after the other below their clip.
    maps = {name: weights[0].float().mean(dim=1).unflatten(0, (len(inputs), -1)) for name, weights in found.items()}
    return out, maps


def attention_layers(model: nn.Module) -> dict[str, nn.Module]:
    """Return the innermost modules whose class is called attention, by their names."""
    named = {name: module for name, module in model.named_modules() if "attention" in type(module).__name__.lower()}
    return {name: m for name, m in named.items() if not any(other.startswith(f"{name}.") for other in named)}


def require_attention(model: nn.Module, who: str) -> None:
    """Refuse a model without attention layers.

    Raises:
        AdvvidError: naming ``who`` needs them, and models that have them.
    """
    if not isinstance(model, FeatureTransformer) and not attention_layers(model):
        raise AdvvidError(
            f"{who} needs a model with attention, which {type(getattr(model, 'net', model)).__name__} has not: choose "
            "model=swin3d_tiny, swin3d_t or mvit_v2_s for clips, model=feature_transformer for features"
        )


def distance(first: Maps, second: Maps) -> Tensor:
    """Return ``||A - A_adv||_Fr`` of each clip (Choudhary et al., sec. 2.2), the mean over the layers.

    The paper has one map for a video; with several layers or modalities each has its norm, over all windows together.

    Shape:
        maps of the same inputs' shape; result ``[B]``. Gradients flow through both; where maps agree they are zero.

    Example:
        >>> a, b = torch.zeros(1, 1, 2, 2), torch.full((1, 1, 2, 2), 0.5)
        >>> distance({"rgb.0": a}, {"rgb.0": b})
        tensor([1.])
    """
    norms = [(weights - second[name]).flatten(1).norm(dim=1) for name, weights in first.items()]
    return torch.stack(norms).mean(dim=0)


class _SoftmaxReader(TorchFunctionMode):
    """Keeps every softmax that is computed while a layer is at work."""

    def __init__(self) -> None:
        super().__init__()
        self.layer: str | None = None
        self.found: dict[str, list[Tensor]] = {}

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if self.layer is not None and func in SOFTMAX:
            self.found[self.layer].append(result)
        return result

    def enter(self, layer: str) -> Callable[..., None]:
        """Return a hook that runs before a layer."""

        def hook(*_: Any) -> None:
            self.layer = layer
            self.found.setdefault(layer, [])

        return hook

    def leave(self, *_: Any) -> None:
        """Be the hook that runs after every layer."""
        self.layer = None


@contextmanager
def _read_softmax(layers: dict[str, nn.Module]) -> Iterator[dict[str, list[Tensor]]]:
    """Yield what fills up with the softmaxes of each layer."""
    reader = _SoftmaxReader()
    hooks = []
    try:
        for name, layer in layers.items():
            hooks.append(layer.register_forward_pre_hook(reader.enter(name)))
            hooks.append(layer.register_forward_hook(reader.leave, always_call=True))
        with reader:
            yield reader.found
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def _unfused(layers: dict[str, nn.Module]) -> Iterator[None]:
    """Have timm's layers compute their softmax by itself."""
    fused: list[Any] = [layer for layer in layers.values() if getattr(layer, "fused_attn", False)]
    try:
        for layer in fused:
            layer.fused_attn = False
        yield
    finally:
        for layer in fused:
            layer.fused_attn = True


def _uncompiled(model: nn.Module) -> AbstractContextManager[Any]:
    """Return a context in which a compiled model computes step by step: hooks put on later are lost on compiled code."""
    if any(module._compiled_call_impl is not None for module in model.modules()):
        return torch.compiler.set_stance("force_eager")
    return nullcontext()

"""Video classifiers of Hugging Face's transformers, from a local folder: VideoMAE, TimeSformer, ViViT, V-JEPA 2 and others."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn

from advvid.core.allowed import checked
from advvid.core.errors import AdvvidError
from advvid.core.finite import require_finite_state
from advvid.core.kinds import Count, FilePath, Positive
from advvid.core.paths import user_path
from advvid.models.classifier import VideoClassifier

log = logging.getLogger(__name__)

PROCESSORS = ("video_preprocessor_config.json", "preprocessor_config.json", "processor_config.json")
Channels = float | tuple[float] | tuple[float, float, float]
Scales = Positive | tuple[Positive] | tuple[Positive, Positive, Positive]


class HuggingFaceNet(nn.Module):
    """A video classifier of transformers behind the interface of all networks here.

    Args:
        network: a ``...ForVideoClassification``.

    Shape:
        clips ``[B, 3, T, H, W]``, normalised; logits ``[B, K]``.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network: Any = network
        self.takes = str(getattr(network, "main_input_name", "pixel_values"))
        self._maps: list[tuple[Tensor, ...]] | None = None

    def forward(self, clips: Tensor) -> Tensor:
        """Return logits ``[B, K]``."""
        given: dict[str, Any] = {self.takes: clips.transpose(1, 2)}
        if self._maps is None:
            return self.network(**given).logits
        out = self.network(**given, output_attentions=True)
        self._maps.append(tuple(out.attentions or ()))
        return out.logits

    @contextmanager
    def attentions(self) -> Iterator[list[tuple[Tensor, ...]]]:
        """Yield a list to which each pass adds its attention maps, ``[N, heads, Q, K]`` for each layer, with gradients.

        The library hands them over where it computes attention step by step (``eager``), which it does meanwhile.
        """
        before = self.network.config._attn_implementation
        self.network.set_attn_implementation("eager")
        self._maps = []
        try:
            yield self._maps
        finally:
            self._maps = None
            self.network.set_attn_implementation(before)


@checked
class HuggingFaceClassifier(VideoClassifier):
    """A video classifier of transformers from a local folder, as ``save_pretrained`` and ``hf download`` leave it.

    Mean, std and size of its processor and its number of frames are read from the folder; nothing is ever downloaded, no code
    of the folder runs, and weights are taken from ``safetensors`` alone.

    Args:
        path: the folder, with ``config.json``, ``preprocessor_config.json`` and ``model.safetensors``.
        num_classes: number of logits, K.
        head: keep the folder's own last layer, which has to have K classes in the data set's order; put in a new one; or
            (auto) keep it where the numbers agree.
        mean: see ``VideoClassifier``; None for the folder's own, as for std, size and frames.
        std: likewise.
        clip_shape: see ``VideoClassifier``, as for what follows.
        size: side of the frames that the network wants.
        frames: number of frames that the network wants.
        views: clips per video.
        channels_last: memory layout.
        checkpoint: a local file of weights that are loaded over the folder's.
        freeze: what is not trained.

    Raises:
        AdvvidError: without transformers, for a folder that is none or lacks something, and as ``VideoClassifier`` does.

    Example:
        >>> model = HuggingFaceClassifier("videomae-base-finetuned-kinetics", 400)     # doctest: +SKIP
    """

    def __init__(
        self, path: FilePath, num_classes: Count, head: Literal["auto", "keep", "new"] = "auto", mean: Channels | None = None,
        std: Scales | None = None, clip_shape: Sequence[Count] | None = None,
        size: Count | tuple[Count, Count] | None = None, frames: Count | None = None, views: Count = 1,
        channels_last: bool = False, checkpoint: FilePath | None = None, freeze: str | Sequence[str] | None = None,
    ) -> None:  # fmt: skip
        folder = user_path(path)
        network = _load(folder, num_classes, head)
        own = _processor(folder)
        read_mean, read_std = _normalisation(own, folder) if mean is None or std is None else (mean, std)
        config = network.config
        super().__init__(
            HuggingFaceNet(network), num_classes, mean=read_mean if mean is None else mean,
            std=read_std if std is None else std, clip_shape=clip_shape, size=size or _size(own, config),
            frames=frames or _first(config, "num_frames", "frames_per_clip"), views=views, channels_last=channels_last,
            checkpoint=checkpoint, freeze=freeze,
        )  # fmt: skip


def _load(folder: Path, num_classes: int, head: str) -> Any:
    """Return the network of a folder with a head for K classes."""
    if not (folder / "config.json").is_file():
        raise AdvvidError(
            f"model.path={folder} is no folder of a model with its config.json: advvid downloads nothing; where there is a "
            "network, 'hf download MCG-NJU/videomae-base-finetuned-kinetics --local-dir videomae' makes such a folder; for one "
            "that has moved give model.path=<folder>"
        )
    try:
        from safetensors import SafetensorError
        from transformers import AutoConfig, AutoModelForVideoClassification
        from transformers.utils import logging as their_logging
    except ImportError as error:
        raise AdvvidError(f"model=hf needs transformers ({error}): pip install 'advvid[hf]'") from None
    their_logging.set_verbosity_error()  # what it would say of the head is said below
    their_logging.disable_progress_bar()
    safe: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        has = AutoConfig.from_pretrained(folder, **safe).num_labels
        if head == "keep" and has != num_classes:
            raise AdvvidError(
                f"model.path={folder} has a head for {has} classes and the data set has {num_classes}: choose model.head=new"
            )
        keeps = head != "new" and has == num_classes
        network, told = AutoModelForVideoClassification.from_pretrained(
            folder,
            num_labels=num_classes,
            ignore_mismatched_sizes=True,
            use_safetensors=True,
            output_loading_info=True,
            **safe,
        )
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise AdvvidError(
            f"model.path={folder} cannot be loaded ({' '.join(str(error).split())[:200]}): it has to hold a video classifier "
            "that transformers knows, and its weights as model.safetensors"
        ) from None
    missing = sorted(told["missing_keys"])
    below = [name for name in missing if name.startswith(f"{network.base_model_prefix}.")]
    if below:
        raise AdvvidError(
            f"model.path={folder} lacks {len(below)} tensors of the network, such as {below[0]}: get the folder again"
        )
    if head == "keep" and missing:
        raise AdvvidError(f"model.path={folder} has no head ({missing[0]} is missing): choose model.head=new")
    require_finite_state(network.state_dict(), f"model.path={folder}")
    if keeps and not missing:
        labels = [str(network.config.id2label.get(i)) for i in range(min(3, num_classes))]
        log.info("the head of %s is kept: its classes are %s, ...", folder, ", ".join(labels))
    else:
        if not keeps:  # of equal size or not, it knows other classes
            _renew(network)
        log.info("the head of %s is new, for %d classes", folder, num_classes)
    return network


def _renew(network: Any) -> None:
    """Draw a linear head anew, as the library does for one that is missing."""
    for layer in (network.classifier, *network.classifier.modules()):
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=getattr(network.config, "initializer_range", 0.02))
            nn.init.zeros_(layer.bias)


def _processor(folder: Path) -> Mapping[str, Any]:
    """Return what the folder says of how its frames are prepared; empty where it says nothing."""
    for name in PROCESSORS:
        if not (folder / name).is_file():
            continue
        try:
            content = json.loads((folder / name).read_text(encoding="utf-8"))
        except ValueError as error:
            raise AdvvidError(f"{folder / name} is no JSON ({error}): get it again") from None
        for inner in (content.get("video_processor"), content.get("image_processor"), content):
            if isinstance(inner, Mapping) and "image_mean" in inner:
                return inner
    return {}


def _normalisation(own: Mapping[str, Any], folder: Path) -> tuple[Any, Any]:
    """Return mean and std for pixels in [0, 1] that do what the processor does to pixels in [0, 255].

    The processor computes ``(factor v - offset - mean) / std``; ViViT's has an offset of one.
    """
    if not own:
        raise AdvvidError(
            f"model.path={folder} does not say how its frames are normalised (no {PROCESSORS[1]}): give model.mean and model.std"
        )
    factor = 255.0 * (float(own.get("rescale_factor", 1 / 255)) if own.get("do_rescale", True) else 1.0)
    offset = 1.0 if own.get("offset") else 0.0
    plain = not own.get("do_normalize", True)
    mean, std = ([0.0] * 3, [1.0] * 3) if plain else (own["image_mean"], own["image_std"])
    return tuple((offset + m) / factor for m in mean), tuple(s / factor for s in std)


def _size(own: Mapping[str, Any], config: Any) -> tuple[int, int] | int | None:
    """Return the size of the frames that the network sees: of the processor's crop, else the network's own."""
    given = own.get("crop_size") if own.get("do_center_crop", True) else None
    for size in (given, own.get("size"), _first(config, "image_size", "crop_size")):
        if isinstance(size, int):
            return size
        if isinstance(size, Mapping) and "height" in size:
            return int(size["height"]), int(size["width"])
        if isinstance(size, list | tuple):
            return int(size[0]), int(size[-1])
    return None


def _first(config: Any, *names: str) -> Any:
    return next((value for name in names if (value := getattr(config, name, None)) is not None), None)

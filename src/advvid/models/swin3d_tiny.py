"""A video transformer with shifted windows, small enough to be trained on a CPU."""

from __future__ import annotations

from torchvision.models.video.swin_transformer import SwinTransformer3d

from advvid.core.allowed import checked
from advvid.core.kinds import Count, Positive

HEADS = (2, 4)


@checked
class Swin3DTiny(SwinTransformer3d):
    """Torchvision's Video Swin Transformer (Liu et al. 2022) with two stages of two blocks, for the embedded data.

    Args:
        num_classes: number of logits, K.
        width: factor on the channels, which are rounded to a multiple of the heads.

    Raises:
        AdvvidError: if a number is not positive.

    Shape:
        clips ``[B, 3, T, H, W]`` of any size; logits ``[B, K]``.

    Example:
        >>> Swin3DTiny(10)(torch.rand(2, 3, 8, 32, 32)).shape
        torch.Size([2, 10])
    """

    def __init__(self, num_classes: Count, width: Positive = 1.0) -> None:
        super().__init__(
            patch_size=[2, 4, 4],
            embed_dim=HEADS[0] * max(1, round(24 * width / HEADS[0])),
            depths=[2, 2],
            num_heads=list(HEADS),
            window_size=[4, 4, 4],
            num_classes=num_classes,
        )

"""C3D: eight 3-D convolutions and three linear layers."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from annotated_types import Ge, Lt
from torch import Tensor, nn

from advvid.core.allowed import checked
from advvid.core.errors import AdvvidError
from advvid.core.kinds import Count, Positive

# Convolutions with their channels; the frames are pooled after each group.
GROUPS = (
    (("conv1a", 64),),
    (("conv2a", 128),),
    (("conv3a", 256), ("conv3b", 256)),
    (("conv4a", 512), ("conv4b", 512)),
    (("conv5a", 512), ("conv5b", 512)),
)
HIDDEN = 4096


@checked
class C3D(nn.Module):
    """Convolutions of 3x3x3 with pooling between them, then ``fc6``, ``fc7`` and ``fc8``.

    Tran et al., "Learning Spatiotemporal Features with 3D Convolutional Networks", ICCV 2015, figure 3. The first
    pooling leaves time as it is, the four others halve it. At 16 x 112 x 112 ``fc6`` takes 512 x 1 x 4 x 4 numbers.

    Args:
        num_classes: number of logits, K.
        frames: length of the clips, which fixes the size of ``fc6``.
        size: side of the frames, likewise.
        width: factor on all channels, those of ``fc6`` and ``fc7`` included, for runs at small scale.
        dropout: share of ``fc6`` and ``fc7`` left out in training.
        pool5: where the last frame side (7 pixels at 112) is padded before it is pooled: on ``both`` sides, as in the
            PyTorch ports and the files of weights trained with them, or at the ``end`` only, as in Caffe.

    Raises:
        AdvvidError: if an option is unknown or impossible.

    Shape:
        clips ``[B, 3, frames, size, size]``, normalised; logits ``[B, K]``.

    Example:
        >>> C3D(101)(torch.rand(1, 3, 16, 112, 112)).shape
        torch.Size([1, 101])
    """

    # What other files of weights call these layers: some write conv1, some wrap each convolution.
    OTHER_NAMES: ClassVar = (
        (r"^conv([12])\.", r"conv\1a."),
        (r"^(conv\d[ab])\.conv\.", r"\1."),
        (r"^cls_head\.fc_cls\.", "fc8."),
    )

    def __init__(
        self,
        num_classes: Count,
        frames: Count = 16,
        size: Count = 112,
        width: Positive = 1.0,
        dropout: Annotated[float, Ge(0), Lt(1)] = 0.5,
        pool5: Literal["both", "end"] = "both",
    ) -> None:
        super().__init__()
        if round(GROUPS[0][0][1] * width) < 1:
            raise AdvvidError(f"model.width={width} leaves C3D without channels: choose at least 0.02")
        self.sides = (frames, size, size)
        channels = 3
        for number, group in enumerate(GROUPS, start=1):
            for name, published in group:
                self.add_module(name, nn.Conv3d(channels, round(published * width), 3, padding=1))
                channels = round(published * width)
            step = (1, 2, 2) if number == 1 else (2, 2, 2)
            last = number == len(GROUPS) and pool5 == "both"
            # Sides are rounded up, as in Caffe, so that short clips and small frames pass.
            self.add_module(f"pool{number}", nn.MaxPool3d(step, step, (0, 1, 1) if last else 0, ceil_mode=True))
            frames = -(-frames // step[0])
            size = size // 2 + 1 if last else -(-size // 2)
        hidden = round(HIDDEN * width)
        self.fc6 = nn.Linear(channels * frames * size * size, hidden)
        self.fc7 = nn.Linear(hidden, hidden)
        self.fc8 = nn.Linear(hidden, num_classes)
        self.relu = nn.ReLU(inplace=True)
        self.dropout = nn.Dropout(dropout)
        # Without BatchNorm the weights alone keep the scale from layer to layer.
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            else:
                nn.init.kaiming_normal_(parameter, nonlinearity="relu")
        # Max pooling lets the features grow all the same; small logits make the first loss that of guessing.
        nn.init.normal_(self.fc8.weight, std=1e-3)

    def forward(self, clips: Tensor) -> Tensor:
        """Return logits ``[B, K]``.

        Raises:
            AdvvidError: if the clips are not of the size that ``fc6`` was made for.
        """
        if clips.shape[2:] != self.sides:
            raise AdvvidError(
                f"this C3D takes clips of {' x '.join(map(str, self.sides))}, not "
                f"{' x '.join(map(str, clips.shape[2:]))}: set model.frames and model.size, which resample the clips"
            )
        x = clips
        for number, group in enumerate(GROUPS, start=1):
            for name, _ in group:
                x = self.relu(self.get_submodule(name)(x))
            x = self.get_submodule(f"pool{number}")(x)
        x = self.dropout(self.relu(self.fc6(x.flatten(1))))
        return self.fc8(self.dropout(self.relu(self.fc7(x))))

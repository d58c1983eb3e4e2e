"""Classes that saved configurations call by the module in which they were."""

from __future__ import annotations

# The name in a saved configuration, and the present one.
MOVED = {
    "advvid.schedules.Schedule": "advvid.core.Schedule",
    "advvid.runtime.Runtime": "advvid.distributed.Runtime",
    "advvid.purifiers.bilateral.Bilateral": "advvid.purifiers.Bilateral",
    "advvid.purifiers.bit_depth.BitDepth": "advvid.purifiers.BitDepth",
    "advvid.purifiers.fft_perturbation.FFTPerturbation": "advvid.purifiers.FFTPerturbation",
    "advvid.purifiers.gaussian_blur.GaussianBlur": "advvid.purifiers.GaussianBlur",
    "advvid.purifiers.grayscale.Grayscale": "advvid.purifiers.Grayscale",
    "advvid.purifiers.histogram_equalization.HistogramEqualization": "advvid.purifiers.HistogramEqualization",
    "advvid.purifiers.identity.Identity": "advvid.purifiers.Identity",
    "advvid.purifiers.jpeg.Jpeg": "advvid.purifiers.Jpeg",
    "advvid.purifiers.mean_filter.MeanFilter": "advvid.purifiers.MeanFilter",
    "advvid.purifiers.median_filter.MedianFilter": "advvid.purifiers.MedianFilter",
    "advvid.purifiers.noise_injection.NoiseInjection": "advvid.purifiers.NoiseInjection",
    "advvid.purifiers.resize.Resize": "advvid.purifiers.Resize",
    "advvid.purifiers.swirl.Swirl": "advvid.purifiers.Swirl",
}

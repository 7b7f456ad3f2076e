"""`densenet_cnn_depthwise` as a torch module: as `densenet_cnn`, but all layers after the first are separable."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from nnmass_core.nets.densenet_cnn import DenseNetCnnModule


class DenseNetCnnDepthwiseModule(DenseNetCnnModule):
    """The network of a `densenet_cnn_depthwise`, with torch's default weights."""

    def convolution(self, w_in: int, w: int, stride: int, *, very_first: bool) -> nn.Module:
        """Return a layer's convolution: 1x1, 3x3 depthwise with the stride, and 1x1, each with its BatchNorm."""
        if very_first:
            return super().convolution(w_in, w, stride, very_first=True)
        parts: dict[str, nn.Module] = {
            "expand": nn.Conv2d(w_in, w, 1, bias=False),
            "expand_norm": nn.BatchNorm2d(w),
            "expand_relu": nn.ReLU(inplace=True),
            "depthwise": nn.Conv2d(w, w, self.kernel, stride, padding=self.padding, groups=w, bias=False),
            "depthwise_norm": nn.BatchNorm2d(w),
            "depthwise_relu": nn.ReLU(inplace=True),
            "project": nn.Conv2d(w, w, 1, bias=False),
            "project_norm": nn.BatchNorm2d(w),
        }
        return nn.Sequential(OrderedDict(parts))

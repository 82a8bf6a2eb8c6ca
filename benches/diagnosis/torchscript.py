"""Writes small networks that gradwatch does not have as TorchScript files, for the benchmark of the diagnosis.

    .deps/peers/bin/python benches/diagnosis/torchscript.py FOLDER

All are torchvision's, narrowed, with random weights: they take gray images of 32 x 32 pixels and return ten logits.
"""

import pathlib
import sys

import torch
import torchvision.models as models
from torch import nn


def gray(network, stride=1):
    """Replaces the first convolution by one of a single channel."""
    name, first = next((name, module) for name, module in network.named_modules() if isinstance(module, nn.Conv2d))
    parent, _, child = name.rpartition(".")
    new = nn.Conv2d(1, first.out_channels, 3, stride, padding=1, bias=first.bias is not None)
    setattr(network.get_submodule(parent), child, new)
    return network


def swin():
    network = models.SwinTransformer([2, 2], embed_dim=24, depths=[2, 2], num_heads=[2, 4], window_size=[4, 4], num_classes=10)
    old = network.features[0][0]
    network.features[0][0] = nn.Conv2d(1, old.out_channels, 4, stride=4)
    return network


def regnet():
    parameters = models.regnet.BlockParams.from_init_params(
        depth=6, w_0=16, w_a=8.0, w_m=2.0, group_width=8, se_ratio=0.25)
    return models.RegNet(parameters, num_classes=10)


NETWORKS = {
    "resnext": lambda: gray(models.ResNet(models.resnet.Bottleneck, [1, 1, 1, 1], 10, groups=4, width_per_group=4), 2),
    "shufflenet": lambda: gray(models.ShuffleNetV2([2, 2, 2], [8, 24, 48, 96, 128], num_classes=10)),
    "squeezenet": lambda: gray(models.squeezenet1_1(num_classes=10, dropout=0.0)),
    "mnasnet": lambda: gray(models.MNASNet(0.25, num_classes=10, dropout=0.0)),
    "regnet": lambda: gray(regnet()),
    "swin": swin,
}

folder = pathlib.Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
for name, make in NETWORKS.items():
    torch.manual_seed(1)
    network = make()
    assert network(torch.zeros(2, 1, 32, 32)).shape == (2, 10), name
    path = folder / f"{name}.pt"
    torch.jit.script(network).save(path.with_suffix(".part"))
    path.with_suffix(".part").rename(path)
    print(f"{path}: {sum(p.numel() for p in network.parameters()):,} parameters")

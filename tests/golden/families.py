"""Writes families.json: results of torchvision and timm for the models of tests/library/families_golden.rs.

Run with torch 2.13, torchvision 0.28, and timm 1.0.31: python tests/golden/families.py

Weights and images are those of model.py. If neither library has a net (NASNet for CIFAR and for mobiles, binary nets, batch
normalization with attention), this script builds it from their layers, or implements it.
"""

import json
import pathlib
from functools import partial

import timm
import torch
import torchvision
from model import CifarResnet, golden, group_norm, state
from timm.models import nasnet
from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import VisionTransformer
from torch import nn
from torch.nn import functional as F
from torchvision.models.convnext import CNBlockConfig, ConvNeXt
from torchvision.models.densenet import DenseNet

CLASSES = 10
MODELS = torchvision.models


class NasNet(nn.Module):
    """NASNet-A from timm's cells, with as many cells as the paper's nets for mobiles and for CIFAR."""

    def __init__(self, cells, width, stem, is_cifar):
        super().__init__()
        stride, padding = (1, 1) if is_cifar else (2, 0)
        self.conv0 = nn.Module()
        self.conv0.conv = nn.Conv2d(3, stem, 3, stride, padding, bias=False)
        self.conv0.bn = nn.BatchNorm2d(stem, eps=0.001)
        names, before, last = [], stem, stem

        def add(name, cell, given):
            nonlocal before, last
            setattr(self, name, cell)
            names.append(name)
            before, last = last, given

        if not is_cifar:
            add("cell_stem_0", nasnet.CellStem0(stem, width // 4, "same"), width)
            add("cell_stem_1", nasnet.CellStem1(stem, width // 2, "same"), 2 * width)
        for stage in range(3):
            w = width << stage
            if stage > 0:
                name = f"reduction_cell_{stage - 1}"
                add(name, nasnet.ReductionCell0(before, w, last, w, "same"), 4 * w)
            for i in range(cells):
                is_halved = i == 0 and not (stage == 0 and is_cifar)
                kind, left = (nasnet.FirstCell, w // 2) if is_halved else (nasnet.NormalCell, w)
                add(f"cell_{6 * stage + i}", kind(before, left, last, w, "same"), 6 * w)
        self.last_linear = nn.Linear(last, CLASSES)
        self.names = names

    def forward(self, images):
        last = before = conv0 = self.conv0.bn(self.conv0.conv(images))
        for name in self.names:
            cell = getattr(self, name)
            if name == "cell_stem_0":
                maps = cell(last)
            elif name == "cell_stem_1":
                maps = cell(conv0, last)
            else:
                maps = cell(last, before)
            before, last = last, maps
        return self.last_linear(F.relu(last).mean((2, 3)))


class Sign(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return torch.where(x >= 0, 1.0, -1.0).to(x.dtype)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * (x.abs() <= 1)


class BinaryConv(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs, 3, 3))
        self.stride = stride

    def forward(self, maps):
        scale = self.weight.detach().abs().mean((1, 2, 3), keepdim=True)
        return F.conv2d(Sign.apply(maps), Sign.apply(self.weight) * scale, None, self.stride, 1)


class BinaryBlock(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = BinaryConv(inputs, outputs, stride)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs))
        self.conv2 = BinaryConv(outputs, outputs, 1)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.stride = stride

    def forward(self, maps):
        kept = maps
        if self.downsample:
            kept = self.downsample(F.avg_pool2d(maps, self.stride, ceil_mode=True, count_include_pad=False))
        maps = F.hardtanh(self.bn1(self.conv1(maps)) + kept)
        return F.hardtanh(self.bn2(self.conv2(maps)) + maps)


class BinaryResnet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        inputs = 16
        for stage, outputs in enumerate([16, 32, 64]):
            layers = []
            for i in range(3):
                layers.append(BinaryBlock(inputs, outputs, 2 if stage > 0 and i == 0 else 1))
                inputs = outputs
            setattr(self, f"layer{stage + 1}", nn.Sequential(*layers))
        self.fc = nn.Linear(64, CLASSES)

    def forward(self, images):
        maps = F.hardtanh(self.bn1(self.conv1(images)))
        return self.fc(self.layer3(self.layer2(self.layer1(maps))).mean((2, 3)))


class AttentionBatchNorm(nn.BatchNorm2d):
    def __init__(self, channels):
        super().__init__(channels)
        self.attention_weight = nn.Parameter(torch.zeros(channels))
        self.attention_bias = nn.Parameter(-torch.ones(channels))

    def forward(self, maps):
        seen = torch.sigmoid(maps.mean((2, 3)) * self.attention_weight + self.attention_bias)
        if self.training:
            self.num_batches_tracked += 1
        mean, var = self.running_mean, self.running_var
        standard = F.batch_norm(maps, mean, var, None, None, self.training, self.momentum, self.eps)
        gain = self.weight[None, :] * seen
        return standard * gain[:, :, None, None] + self.bias[None, :, None, None]


def convnext(width):
    stages = [CNBlockConfig(width << i, width << i + 1 if i < 3 else None, n) for i, n in enumerate([3, 3, 9, 3])]
    return ConvNeXt(stages, num_classes=CLASSES)


def vit(kind, **more):
    sizes = {"img_size": 32, "patch_size": 8, "embed_dim": 128, "depth": 12, "num_heads": 2}
    return kind(num_classes=CLASSES, **sizes, **more)


def nfnet(name):
    sizes = {"channels": (32, 64, 192, 192), "stem_chs": 16, "group_size": 16, "num_features": 384}
    return timm.create_model(name, num_classes=CLASSES, **sizes)


CASES = [
    # Name, images, and model; the test builds the same model from its own table under the same name.
    ("mobilenet_v2", (4, 3, 32, 32), lambda: MODELS.mobilenet_v2(num_classes=CLASSES, dropout=0.0)),
    ("mobilenet_v2_narrow_group", (4, 3, 40, 24),
     lambda: MODELS.mobilenet_v2(num_classes=CLASSES, dropout=0.0, width_mult=0.25, norm_layer=group_norm)),
    ("mobilenet_v3_small", (4, 3, 32, 32), lambda: MODELS.mobilenet_v3_small(num_classes=CLASSES, dropout=0.0)),
    ("mobilenet_v3_large_narrow", (4, 3, 32, 32),
     lambda: MODELS.mobilenet_v3_large(num_classes=CLASSES, dropout=0.0, width_mult=0.5)),
    ("efficientnet_b0", (4, 3, 32, 32),
     lambda: MODELS.efficientnet_b0(num_classes=CLASSES, dropout=0.0, stochastic_depth_prob=0.0)),
    ("densenet121_narrow", (4, 3, 32, 32), lambda: DenseNet(4, (6, 12, 24, 16), 8, num_classes=CLASSES)),
    ("convnext_tiny_narrow", (4, 3, 32, 32), lambda: convnext(16)),
    ("vit_tiny_narrow", (4, 3, 32, 32), lambda: vit(VisionTransformer)),
    ("deit_tiny_narrow", (4, 3, 32, 32), lambda: vit(VisionTransformerDistilled)),
    ("nfnet_f0_narrow", (4, 3, 32, 32), lambda: nfnet("nfnet_f0")),
    ("dm_nfnet_f0_narrow", (4, 3, 36, 36), lambda: nfnet("dm_nfnet_f0")),
    ("nasnet_large_narrow", (4, 3, 65, 65),
     lambda: nasnet.NASNetALarge(num_classes=CLASSES, stem_size=4, num_features=192)),
    ("nasnet_mobile_narrow", (4, 3, 48, 48), lambda: NasNet(4, 8, 32 * 8 // 44, False)),
    ("nasnet_cifar_narrow", (4, 3, 16, 16), lambda: NasNet(6, 4, 12, True)),
    ("binary_resnet20", (4, 3, 16, 16), BinaryResnet),
    ("resnet8_attention_batch", (4, 3, 32, 32), lambda: CifarResnet(1, norm=AttentionBatchNorm)),
]

TIMM = partial(timm.create_model, num_classes=1000)
STATES = {
    "mobilenet_v2": MODELS.mobilenet_v2,
    "mobilenet_v3_small": MODELS.mobilenet_v3_small,
    "mobilenet_v3_large": MODELS.mobilenet_v3_large,
    "efficientnet_b0": MODELS.efficientnet_b0,
    "efficientnet_b3": MODELS.efficientnet_b3,
    "densenet121": MODELS.densenet121,
    "densenet161": MODELS.densenet161,
    "convnext_tiny": MODELS.convnext_tiny,
    "convnext_base": MODELS.convnext_base,
    "vit_tiny": lambda: TIMM("vit_tiny_patch16_224"),
    "vit_base": lambda: TIMM("vit_base_patch16_224"),
    "deit_small": lambda: TIMM("deit_small_distilled_patch16_224"),
    "nfnet_f0": lambda: TIMM("nfnet_f0"),
    "dm_nfnet_f1": lambda: TIMM("dm_nfnet_f1"),
    "nasnet_large": lambda: TIMM("nasnetalarge"),
}


def main():
    result = {
        "cases": {name: golden(shape, make()) for name, shape, make in CASES},
        "state_dicts": {name: listed(state(make())) for name, make in STATES.items()},
    }
    text = json.dumps(result, separators=(",", ":")).replace('{"', '{\n"').replace('],"', '],\n"')
    pathlib.Path(__file__).with_suffix(".json").write_text(text + "\n")


def listed(lines):
    """Number of tensors, name and shape of some, and FNV-1a of all, because the lists are long."""
    digest = 0xCBF29CE484222325
    for byte in "\n".join(lines).encode():
        digest = (digest ^ byte) * 0x100000001B3 % 2**64
    return {"tensors": len(lines), "fnv1a": f"{digest:016x}", "some": lines[::29]}


if __name__ == "__main__":
    main()

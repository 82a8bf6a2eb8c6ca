"""Writes model.json: results of PyTorch and torchvision for the models of tests/library/model_golden.rs.

Run with torch 2.13 and torchvision 0.28: python tests/golden/model.py

No weights are stored. This script and the test compute element j of tensor i of a state_dict from an integer hash of
(i, j), and the images as tensor 2^20.

All values are float64. In float32 a deep network with ReLU gives gradients that differ by 4e-3 from one instruction set to the
next: a sum near zero changes its sign, and with it a whole path of the gradient.
"""

import json
import math
import pathlib

import numpy as np
import torch
import torchvision
from torch import nn
from torch.nn import functional as F

CLASSES = 10
IMAGES = 1 << 20
LISTED_GRADS = 12


def uniform(tensor, count):
    """Numbers in [-1/2, 1/2) by splitmix64 (Steele et al. 2014) of tensor * 2^32 + element."""
    with np.errstate(over="ignore"):
        z = (np.uint64(tensor) << np.uint64(32)) + np.arange(count, dtype=np.uint64)
        z = (z + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(11)).astype(np.float64) * 2.0**-53 - 0.5


def values(tensor, name, shape):
    """Weights of variance 2 / fan_in, norm weights and variances around one, all others around zero."""
    u = uniform(tensor, math.prod(shape))
    if len(shape) > 1:
        u = u * math.sqrt(24.0 / math.prod(shape[1:]))
    elif name.endswith("weight") or name.endswith("running_var"):
        u = 1.0 + 0.4 * u
    else:
        u = 0.2 * u
    return torch.from_numpy(u).reshape(shape)


def fill(model):
    model.double()
    state = {}
    for tensor, (name, old) in enumerate(model.state_dict().items()):
        is_counter = name.endswith("num_batches_tracked")
        state[name] = torch.zeros_like(old) if is_counter else values(tensor, name, tuple(old.shape))
    model.load_state_dict(state)


class Mlp(nn.Module):
    """Two shortcuts at depth 5: layer 0 changes the shape, layers 1 and 2, and 3 and 4, are pairs."""

    def __init__(self, inputs, width, depth, norm, activation, residual):
        super().__init__()
        sizes = [inputs] + [width] * depth
        layers = []
        for i in range(depth):
            layers.append(nn.ModuleDict({"linear": nn.Linear(sizes[i], width)} | ({"norm": norm(width)} if norm else {})))
        self.layers = nn.ModuleList(layers)
        self.classifier = nn.Linear(width, CLASSES)
        self.activation, self.residual = activation, residual

    def forward(self, images):
        hidden = images.flatten(1)
        for i, layer in enumerate(self.layers):
            if i % 2 == 1:
                kept = hidden
            hidden = layer["linear"](hidden)
            if "norm" in layer:
                hidden = layer["norm"](hidden)
            if self.residual and i > 0 and i % 2 == 0:
                hidden = hidden + kept
            hidden = self.activation(hidden)
        return self.classifier(hidden)


class Lenet5(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 6, 5, padding=2)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(400, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, CLASSES)

    def forward(self, images):
        maps = F.max_pool2d(F.relu(self.conv1(images)), 2)
        maps = F.max_pool2d(F.relu(self.conv2(maps)), 2)
        return self.fc3(F.relu(self.fc2(F.relu(self.fc1(maps.flatten(1))))))


class Cnn(nn.Module):
    """Six convolutions in three stages; with residual, the second one of each stage keeps its shape."""

    def __init__(self, channels, width, norm, residual):
        super().__init__()
        outputs = [width, width, 2 * width, 2 * width, 4 * width, 4 * width]
        layers = []
        for inputs, out in zip([channels] + outputs, outputs):
            parts = {"conv": nn.Conv2d(inputs, out, 3, padding=1, bias=norm is None)}
            layers.append(nn.ModuleDict(parts | ({"norm": norm(out)} if norm else {})))
        self.layers = nn.ModuleList(layers)
        self.classifier = nn.Linear(4 * width, CLASSES)
        self.residual = residual

    def forward(self, images):
        maps = images
        for i, layer in enumerate(self.layers):
            sums = layer["conv"](maps)
            if "norm" in layer:
                sums = layer["norm"](sums)
            if self.residual and i % 2 == 1:
                sums = sums + maps
            maps = F.relu(sums)
            if i in (1, 3):
                maps = F.max_pool2d(maps, 2)
        return self.classifier(maps.mean((2, 3)))


class CifarBlock(nn.Module):
    def __init__(self, inputs, outputs, stride, norm, activation, residual):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=norm is None)
        self.bn1 = norm(outputs) if norm else nn.Identity()
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=norm is None)
        self.bn2 = norm(outputs) if norm else nn.Identity()
        self.downsample = None
        if residual and (stride != 1 or inputs != outputs):
            conv = nn.Conv2d(inputs, outputs, 1, stride, bias=norm is None)
            self.downsample = nn.Sequential(conv, norm(outputs)) if norm else nn.Sequential(conv)
        self.activation, self.residual = activation, residual

    def forward(self, images):
        sums = self.bn2(self.conv2(self.activation(self.bn1(self.conv1(images)))))
        if self.residual:
            sums = sums + (self.downsample(images) if self.downsample else images)
        return self.activation(sums)


class CifarResnet(nn.Module):
    def __init__(self, blocks, norm=nn.BatchNorm2d, activation=F.relu, residual=True):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=norm is None)
        self.bn1 = norm(16) if norm else nn.Identity()
        inputs = 16
        for stage, outputs in enumerate([16, 32, 64]):
            layers = []
            for i in range(blocks):
                stride = 2 if stage > 0 and i == 0 else 1
                layers.append(CifarBlock(inputs, outputs, stride, norm, activation, residual))
                inputs = outputs
            setattr(self, f"layer{stage + 1}", nn.Sequential(*layers))
        self.fc = nn.Linear(64, CLASSES)
        self.activation = activation

    def forward(self, images):
        maps = self.activation(self.bn1(self.conv1(images)))
        maps = self.layer3(self.layer2(self.layer1(maps)))
        return self.fc(maps.mean((2, 3)))


def group_norm(channels):
    return nn.GroupNorm(8, channels)


MODELS = torchvision.models
CASES = [
    # Name, images, and model; the test builds the same model from its own table under the same name.
    ("mlp", (4, 1, 8, 8), lambda: Mlp(64, 32, 5, None, F.relu, False)),
    ("mlp_residual_batch_gelu", (4, 1, 8, 8), lambda: Mlp(64, 32, 5, nn.BatchNorm1d, F.gelu, True)),
    ("mlp_layer_tanh", (4, 1, 8, 8), lambda: Mlp(64, 32, 5, nn.LayerNorm, torch.tanh, False)),
    ("lenet5", (4, 1, 28, 28), lambda: Lenet5(1)),
    ("cnn", (4, 3, 16, 16), lambda: Cnn(3, 8, None, False)),
    ("cnn_residual_batch", (4, 3, 16, 16), lambda: Cnn(3, 8, nn.BatchNorm2d, True)),
    ("vgg11", (4, 3, 32, 32), lambda: MODELS.vgg11(num_classes=CLASSES, dropout=0.0)),
    ("vgg11_batch", (4, 3, 32, 32), lambda: MODELS.vgg11_bn(num_classes=CLASSES, dropout=0.0)),
    ("resnet8", (4, 3, 32, 32), lambda: CifarResnet(1)),
    ("resnet20", (4, 3, 32, 32), lambda: CifarResnet(3)),
    ("resnet20_group_gelu", (4, 3, 32, 32), lambda: CifarResnet(3, group_norm, F.gelu)),
    ("resnet20_plain", (4, 3, 32, 32), lambda: CifarResnet(3, residual=False)),
    ("resnet8_without_norm", (4, 3, 32, 32), lambda: CifarResnet(1, norm=None)),
    ("resnet18", (4, 3, 32, 32), lambda: MODELS.resnet18(num_classes=CLASSES)),
    ("resnet18_group", (4, 3, 32, 32), lambda: MODELS.resnet18(num_classes=CLASSES, norm_layer=group_norm)),
    ("resnet50", (4, 3, 32, 32), lambda: MODELS.resnet50(num_classes=CLASSES)),
]


def numbers(tensor):
    """Eleven digits, a hundredth of the test's tolerance; they also read back as the same float32."""
    return [float(f"{value:.11g}") for value in tensor.detach().flatten().tolist()]


def golden(shape, model):
    fill(model)
    images = torch.from_numpy(2.0 * uniform(IMAGES, math.prod(shape))).reshape(shape)
    labels = torch.arange(shape[0]) % CLASSES
    model.train()
    logits = model(images)
    loss = F.cross_entropy(logits, labels)
    loss.backward()
    model.eval()
    with torch.no_grad():
        evaluated = model(images)
    params = list(model.named_parameters())
    step = -(-len(params) // LISTED_GRADS)
    grads = {name: numbers(param.grad.norm()) + numbers(param.grad.flatten()[:3]) for name, param in params[::step]}
    return {
        "images": shape,
        "logits": numbers(logits),
        "loss": numbers(loss)[0],
        "grads": grads,
        "evaluated": numbers(evaluated),
        "total_norm": math.sqrt(sum(param.grad.norm().item() ** 2 for _, param in params)),
    }


def seeded(model):
    """Weights of torch's own layers after manual_seed(7): the last values of each tensor."""
    torch.manual_seed(7)
    return {name: numbers(tensor.flatten()[-3:]) for name, tensor in model().state_dict().items()}


def state(model):
    return [f"{name} {'x'.join(map(str, tensor.shape))}".strip() for name, tensor in model.state_dict().items()]


def main():
    result = {
        "cases": {name: golden(shape, make()) for name, shape, make in CASES},
        "seeded": {
            "mlp": seeded(lambda: Mlp(64, 32, 5, None, F.relu, False)),
            "lenet5": seeded(lambda: Lenet5(1)),
        },
        "state_dicts": {
            "vgg11": state(MODELS.vgg11()),
            "vgg16_batch": state(MODELS.vgg16_bn()),
            "resnet18": state(MODELS.resnet18()),
            "resnet50": state(MODELS.resnet50()),
        },
    }
    text = json.dumps(result, separators=(",", ":")).replace('{"', '{\n"').replace('],"', '],\n"')
    pathlib.Path(__file__).with_suffix(".json").write_text(text + "\n")


if __name__ == "__main__":
    main()

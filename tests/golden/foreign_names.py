"""Writes foreign_names.json: names and shapes in files of torchvision, timm, and transformers, and the logits of their models;
and foreign_names.pth, a part of such a file by torch.save.

Run with torch 2.13, torchvision 0.28, timm 1.0.31, and transformers 5.24: python tests/golden/foreign_names.py

No weights are stored. This script and the test compute element j of a tensor from an integer hash of its name and j, so that the
order of tensors does not matter. Images are those of model.py. All values are float64.
"""

import json
import math
import pathlib
import re
import tempfile
from functools import partial

import timm
import torch
import torchvision
import transformers
from model import CLASSES, IMAGES, numbers, uniform, values
from safetensors import safe_open
from timm.layers import ClassifierHead
from timm.models import convnext, densenet, efficientnet, vgg
from torch import nn
from torchvision.models.vision_transformer import VisionTransformer

SHAPE = (2, 3, 32, 32)
LABELS = {"num_labels": CLASSES}
TOKENS = {"hidden_size": 128, "num_attention_heads": 2, "intermediate_size": 512, "image_size": 32, "patch_size": 8}


def fnv1a(text, bits):
    basis, prime = {32: (0x811C9DC5, 0x01000193), 64: (0xCBF29CE484222325, 0x100000001B3)}[bits]
    for byte in text.encode():
        basis = (basis ^ byte) * prime % 2**bits
    return basis


def timm_vgg11_bn():
    widths = [2, "M", 4, "M", 8, 8, "M", 16, 16, "M", 16, 16, "M"]
    model = vgg.VGG(widths, num_classes=CLASSES, norm_layer=nn.BatchNorm2d)
    # 4096 units for every width; gradwatch's model has 64 times the first width.
    model.pre_logits = vgg.ConvMlp(16, 128, 7)
    model.head = ClassifierHead(128, CLASSES)
    return model


def hf_resnet(kind, depths, widening):
    sizes = [8 * widening << stage for stage in range(4)]
    config = transformers.ResNetConfig(embedding_size=8, hidden_sizes=sizes, depths=depths, layer_type=kind, **LABELS)
    return transformers.ResNetForImageClassification(config)


def hf_vit(eps=1e-6):
    return transformers.ViTForImageClassification(transformers.ViTConfig(layer_norm_eps=eps, **TOKENS, **LABELS))


def hf_deit():
    config = transformers.DeiTConfig(layer_norm_eps=1e-6, **TOKENS, **LABELS)
    return transformers.DeiTForImageClassificationWithTeacher(config)


def hf_convnext(eps=1e-6):
    sizes = {"hidden_sizes": [4, 8, 16, 32], "depths": [3, 3, 9, 3]}
    return transformers.ConvNextForImageClassification(transformers.ConvNextConfig(layer_norm_eps=eps, **sizes, **LABELS))


def old_names(renames):
    """Names in older files."""

    def rename(name):
        for pattern, old in renames:
            name = re.sub(pattern, old, name)
        return name

    return rename


OLD_DENSENET = [(r"(denselayer\d+\.(?:norm|conv))([12])\.", r"\1.\2.")]
OLD_VIT = [(r"\.mlp\.0\.", ".mlp.linear_1."), (r"\.mlp\.3\.", ".mlp.linear_2.")]
TIMM = partial(timm.create_model, num_classes=CLASSES)
TV_VIT = partial(VisionTransformer, 32, 8, 12, 2, 128, 512, num_classes=CLASSES)


def tv_densenet():
    return torchvision.models.DenseNet(4, (6, 12, 24, 16), 8, num_classes=CLASSES)


# Name and model; the test builds gradwatch's model from its own table under the same name. A third entry maps the names
# in the file if they differ from the names of the running model.
CASES = [
    ("timm vgg11 with batch normalization", timm_vgg11_bn),
    ("timm mobilenet_v2", lambda: efficientnet._gen_mobilenet_v2("mobilenetv2_100", 0.25, num_classes=CLASSES)),
    ("timm mobilenet_v3_small", lambda: TIMM("mobilenetv3_small_100")),
    ("timm mobilenet_v3_large", lambda: TIMM("mobilenetv3_large_100")),
    ("timm efficientnet_b0", lambda: efficientnet._gen_efficientnet("efficientnet_b0", 0.25, 1.0, num_classes=CLASSES)),
    ("timm efficientnet_b4", lambda: efficientnet._gen_efficientnet("efficientnet_b4", 0.25, 1.8, num_classes=CLASSES)),
    ("timm efficientnet_b5", lambda: efficientnet._gen_efficientnet("efficientnet_b5", 0.25, 2.2, num_classes=CLASSES)),
    ("timm densenet121", lambda: densenet.DenseNet(4, (6, 12, 24, 16), num_classes=CLASSES)),
    ("timm convnext_tiny", lambda: convnext.ConvNeXt(dims=(4, 8, 16, 32), num_classes=CLASSES)),
    ("torchvision vit_tiny", TV_VIT),
    ("torchvision vit_tiny of before", TV_VIT, old_names(OLD_VIT)),
    ("torchvision densenet121 of before", tv_densenet, old_names(OLD_DENSENET)),
    ("transformers resnet18", lambda: hf_resnet("basic", [2, 2, 2, 2], 1)),
    ("transformers resnet50", lambda: hf_resnet("bottleneck", [3, 4, 6, 3], 4)),
    ("transformers vit_tiny", hf_vit),
    ("transformers vit_tiny in memory", hf_vit, old_names([])),
    ("transformers deit_tiny", hf_deit),
    ("transformers convnext_tiny", hf_convnext),
]

# Models whose names match gradwatch's.
SAME = ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "densenet121", "densenet161", "densenet169", "densenet201"]


def saved(model):
    """Names and shapes in a file of transformers, which are not those of the module, in the order of the module."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        with safe_open(pathlib.Path(folder) / "model.safetensors", "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}


def shape(tensor):
    return "x".join(map(str, tensor.shape))


def tree(tensors):
    """Names as a tree of their segments; identical siblings share a key, and a layer is one line."""
    if not isinstance(tensors, dict):
        return shape(tensors)
    heads = dict.fromkeys(name.partition(".")[0] for name in tensors)
    inner = {}
    for head in heads:
        inside = {name[len(head) + 1 :]: tensor for name, tensor in tensors.items() if name.partition(".")[0] == head}
        inner[head] = tree(inside[""] if "" in inside else inside)
    if list(inner) == ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]:
        return f"batch {inner['weight']}"
    if sorted(inner) == ["bias", "weight"]:
        return f"{inner['weight']} + {inner['bias']}"
    alike = {}
    for head, value in inner.items():
        alike.setdefault(json.dumps(value), []).append(head)
    return {",".join(heads): json.loads(value) for value, heads in alike.items()}


def logits(model):
    model.eval()
    images = torch.from_numpy(2.0 * uniform(IMAGES, math.prod(SHAPE))).reshape(SHAPE)
    with torch.no_grad():
        given = model(images)
    return getattr(given, "logits", given)


def golden(make, rename=None):
    """Generates the weights by their names in the file, and loads them into the model."""
    model = make().double()
    own = model.state_dict()
    if rename is None and hasattr(model, "save_pretrained"):
        # Each tensor is filled with its index in the module, so that the module can be identified from the file.
        marks = {name: torch.full_like(tensor, place) for place, (name, tensor) in enumerate(own.items())}
        model.load_state_dict(marks)
        by_place = {int(tensor.flatten()[0]): name for name, tensor in saved(model).items()}
        names = {name: by_place[place] for place, name in enumerate(own)}
    else:
        names = {name: (rename or str)(name) for name in own}
    state = {}
    for name, old in own.items():
        theirs = names[name]
        is_counter = name.endswith("num_batches_tracked")
        made = torch.zeros_like(old) if is_counter else values(fnv1a(theirs, 32), theirs, tuple(old.shape))
        state[name] = made
    model.load_state_dict(state)
    return model, {"names": tree({names[name]: tensor for name, tensor in own.items()}), "logits": numbers(logits(model))}


def listed(model):
    lines = [f"{name} {shape(tensor)}".strip() for name, tensor in model.state_dict().items()]
    return f"{fnv1a(chr(10).join(lines), 64):016x}"


def epsilon(make):
    """Difference between the logits with transformers' epsilon and gradwatch's, relative to the largest."""
    ours, theirs = (logits(golden(partial(make, eps))[0]) for eps in (1e-6, 1e-12))
    return float((ours - theirs).abs().max() / theirs.abs().max())


def thirds():
    """The biases of one attention: together, 0 to 383."""
    layer = "module.vit.encoder.layer.5.attention.attention"
    parts = torch.arange(3 * 128, dtype=torch.float16).reshape(3, 128)
    return {f"{layer}.{name}.bias": part for name, part in zip(["query", "key", "value"], parts)}


def main():
    torch.save(thirds(), pathlib.Path(__file__).with_suffix(".pth"))
    result = {
        "cases": {name: golden(*make)[1] for name, *make in CASES},
        "same": {name: listed(timm.create_model(name)) for name in SAME},
    }
    text = json.dumps(result, separators=(",", ":")).replace('"logits"', '\n"logits"').replace('"names"', '\n"names"')
    pathlib.Path(__file__).with_suffix(".json").write_text(text.replace("]},", "]},\n").replace('"same"', '\n"same"') + "\n")
    print(f"1e-12 for 1e-6 moves the logits by {epsilon(hf_vit):.1e} (ViT), {epsilon(hf_convnext):.1e} (ConvNeXt)")


if __name__ == "__main__":
    main()

"""Makes a TorchScript file of a net of torchvision or timm, for model.name = "torchscript".

    python models/export.py resnet18 --classes 10 --out models/resnet18.pt --pretrained
    python models/export.py vit_tiny_patch16_224 --classes 10 --image-size 28 --channels 1 --out models/vit.pt

Needs torch, and torchvision or timm: `setup/setup.sh peers` fetches them, .deps/peers/bin/python has them. --pretrained downloads
weights; with --classes of their number they keep their head. Names of the classes and the preprocessing lie in the file too, as
classes.json and preprocessing.json: `gradwatch predict` and `explain` go by them.
"""

import argparse
import json
import pathlib

import torch

IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}


def of_timm(timm, name, arguments):
    options = {"num_classes": arguments.classes, "in_chans": arguments.channels, "pretrained": arguments.pretrained}
    try:
        model = timm.create_model(name, scriptable=True, img_size=arguments.image_size, **options)
    except TypeError:  # Only nets with positions ask for the size.
        model = timm.create_model(name, scriptable=True, **options)
    config = model.pretrained_cfg
    framing = {}
    if arguments.pretrained:  # Random weights do not depend on a crop.
        smooth = "bicubic" if config["interpolation"] == "bicubic" else "bilinear"
        framing = {"crop_fraction": config["crop_pct"], "interpolation": smooth}
    return model, {"mean": list(config["mean"]), "std": list(config["std"]), **framing}, None


def of_torchvision(torchvision, name, arguments):
    model = torchvision.models.get_model(name, weights="DEFAULT" if arguments.pretrained else None)
    # The last linear layer puts out the classes; the first convolution takes the channels.
    replace(model, torch.nn.Linear, -1, lambda old: old if arguments.pretrained and old.out_features == arguments.classes
            else torch.nn.Linear(old.in_features, arguments.classes))
    if arguments.channels != 3:
        options = ("out_channels", "kernel_size", "stride", "padding", "dilation")
        replace(model, torch.nn.Conv2d, 0, lambda old: torch.nn.Conv2d(
            arguments.channels, *(getattr(old, option) for option in options), bias=old.bias is not None))
    if not arguments.pretrained:
        return model, dict(IMAGENET), None
    weights = torchvision.models.get_model_weights(name).DEFAULT
    transforms = weights.transforms()
    # At another size, the crop keeps the same part of the image.
    resize = round(arguments.image_size * transforms.resize_size[0] / transforms.crop_size[0])
    preprocessing = {"mean": transforms.mean, "std": transforms.std, "resize": resize,
                     "interpolation": transforms.interpolation.value}
    return model, preprocessing, weights.meta["categories"]


def replace(model, kind, place, make):
    names = [name for name, module in model.named_modules() if isinstance(module, kind)]
    if not names:
        raise SystemExit(f"export: this net has no {kind.__name__} to fit to the data; choose another, such as one of timm")
    name = names[place]
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, make(model.get_submodule(name)))


def create(name, arguments):
    """torchvision's net of this name, or else timm's."""
    try:
        import torchvision

        if name in torchvision.models.list_models(module=torchvision.models):
            return of_torchvision(torchvision, name, arguments)
    except ImportError:
        pass
    import timm

    if not timm.is_model(name):
        raise SystemExit(f"export: neither torchvision nor timm has {name!r}; timm.list_models('*resnet*') lists names")
    return of_timm(timm, name, arguments)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="of torchvision or timm")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--class-names", nargs="+", metavar="NAME", help="in the order of the labels")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--channels", type=int, default=3)
    parser.add_argument("--pretrained", action="store_true")
    parser.add_argument(
        "--method", choices=["script", "trace"], default="script",
        help="trace takes nets that script does not, but keeps them in evaluation mode: no dropout, and batch "
        "normalization by the statistics of the file",
    )
    arguments = parser.parse_args()
    if arguments.class_names and len(arguments.class_names) != arguments.classes:
        parser.error(f"--class-names: got {len(arguments.class_names)}, want {arguments.classes}")

    model, preprocessing, categories = create(arguments.name, arguments)
    # The weights' own names, where all of their classes are kept.
    known = categories if categories and len(categories) == arguments.classes else None
    names = arguments.class_names or known or [str(index) for index in range(arguments.classes)]
    images = torch.zeros(2, arguments.channels, arguments.image_size, arguments.image_size)
    module = torch.jit.script(model.train()) if arguments.method == "script" else torch.jit.trace(model.eval(), images)
    logits = module.eval()(images)
    if not isinstance(logits, torch.Tensor) or logits.shape != (2, arguments.classes):
        raise SystemExit(f"export: {arguments.name} puts out {getattr(logits, 'shape', type(logits))}, "
                         f"want [2, {arguments.classes}]; choose another net")
    side = arguments.image_size
    if arguments.channels != 3:  # Of colours there is one mean and one deviation for all.
        for key in ("mean", "std"):
            preprocessing[key] = [sum(preprocessing[key]) / 3] * arguments.channels
    preprocessing |= {"channels": arguments.channels, "height": side, "width": side, "edition": 4}
    extra = {"classes.json": json.dumps(names), "preprocessing.json": json.dumps(preprocessing)}
    torch.jit.save(module, str(arguments.out), _extra_files=extra)
    print(f"{arguments.out}: {sum(param.numel() for param in module.parameters())} trainable numbers, {preprocessing}")


if __name__ == "__main__":
    main()

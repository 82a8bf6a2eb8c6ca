"""Compares the logits of torchvision's MobileNetV2 on twenty photos with given logits.

    python tests/golden/photos.py mobilenet_v2-b0353104.pth photos.safetensors [photos.json data/photos]

tests/library/photos.rs runs it. The second file has the normalized images [20, 3, 224, 224] and the logits [20, 1000]. The
exit status is zero if they agree. Writes the third file, if given: class, logit, and norm of all logits of each photo, and the
ten largest logits if torchvision itself prepares the photo from its file.
"""

import json
import pathlib
import sys

import safetensors.torch
import torch
import torchvision
from PIL import Image

# Relative to the largest logit: sums in float32 depend on their order.
TOLERANCE = 1e-5


def main():
    weights, photos, *golden = sys.argv[1:]
    given = safetensors.torch.load_file(photos)
    net = torchvision.models.mobilenet_v2().eval()
    net.load_state_dict(torch.load(weights, weights_only=True), strict=True)
    with torch.no_grad():
        logits = net(given["images"])
    off = ((logits - given["logits"]).abs().max() / logits.abs().max()).item()
    print(f"{logits.numel()} logits are off by {off:.1e} of the largest at most")
    if golden:
        path, folder = golden
        prepare = torchvision.models.MobileNet_V2_Weights.IMAGENET1K_V1.transforms()
        photos = sorted(pathlib.Path(folder).iterdir())
        with torch.no_grad():
            own = net(torch.stack([prepare(Image.open(photo).convert("RGB")) for photo in photos])).double().topk(10)
        best = logits.double().max(1)
        rows = zip(best.indices.tolist(), best.values.tolist(), logits.double().norm(dim=1).tolist(),
                   own.indices.tolist(), own.values.tolist())
        result = [{"class": label, "logit": logit, "norm": norm, "torchvision": dict(zip(classes, values))}
                  for label, logit, norm, classes, values in rows]
        pathlib.Path(path).write_text("[" + ",\n".join(json.dumps(row) for row in result) + "]\n")
    sys.exit(off > TOLERANCE)


if __name__ == "__main__":
    main()

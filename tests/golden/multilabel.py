"""Writes multilabel.json: metrics of multi-label predictions by scikit-learn.

Run with NumPy 2 and scikit-learn 1.9: python tests/golden/multilabel.py

Scores are logits on a coarse grid, so that many are equal. A class is predicted if its logit is at least 0. The last class of
the first case has no image and is never predicted, and its second class has no image but is predicted; the means leave out
classes that neither occur nor are predicted.
"""

import json
import pathlib
import warnings

import numpy as np
from sklearn.metrics import accuracy_score, average_precision_score, precision_recall_fscore_support


def case(seed, images, classes, levels):
    draw = np.random.default_rng(seed)
    labels = (draw.random((images, classes)) < draw.uniform(0.1, 0.6, classes)).astype(int)
    logits = np.round((draw.normal(size=(images, classes)) + labels - 0.5) * levels) / levels
    if classes > 2:
        labels[:, [1, -1]] = 0
        logits[:, -1] = -1.0
    return labels, logits


def figures(labels, predicted, average):
    # scikit-learn takes a single column for two classes, of which the second is asked for here.
    only = {"labels": [1]} if labels.shape[1] == 1 else {}
    return precision_recall_fscore_support(labels, predicted, average=average, zero_division=0, **only)


def measure(labels, logits):
    predicted = (logits >= 0).astype(int)
    has_images = labels.any(axis=0)
    counted = has_images | predicted.any(axis=0)
    per_class = figures(labels, predicted, None)
    macro = figures(labels[:, counted], predicted[:, counted], "macro")
    micro = figures(labels, predicted, "micro")
    areas = [average_precision_score(labels[:, c], logits[:, c]) if has else None for c, has in enumerate(has_images)]
    return {
        "labels": labels.tolist(),
        "logits": logits.tolist(),
        "average_precision": areas,
        "mean_average_precision": average_precision_score(labels[:, has_images], logits[:, has_images], average="macro"),
        "precision": per_class[0].tolist(),
        "recall": per_class[1].tolist(),
        "f1": per_class[2].tolist(),
        "support": per_class[3].tolist(),
        "macro": macro[:3],
        "micro_f1": micro[2],
        "exact_match": accuracy_score(labels, predicted),
        "classes_without_images": int((~has_images).sum()),
    }


warnings.simplefilter("error")
cases = [measure(*case(*arguments)) for arguments in [(1, 40, 6, 2), (2, 25, 1, 3), (3, 7, 2, 1), (4, 60, 9, 50)]]
path = pathlib.Path(__file__).with_suffix(".json")
path.write_text(json.dumps(cases, separators=(",", ":")) + "\n")

"""Writes parquet/*: Parquet files as on the Hugging Face hub, and parquet/expected.json with their images and labels.

Run with pyarrow 26, datasets 5.2, and Pillow: python tests/golden/parquet.py

Images are PNG files of 6 x 5 pixels, and their pixels are given as hexadecimal digits, channel by channel. Rows of
`paths.parquet` name image files of tests/golden/images instead; their pixels are not listed.
"""

import io
import json
import pathlib

import datasets
import numpy
import pyarrow
import pyarrow.parquet
from PIL import Image

FOLDER = pathlib.Path(__file__).parent / "parquet"
CLASSES = ["moth", "ant", "bee"]  # not in the order of the alphabet
WIDTH, HEIGHT = 6, 5
HUB_IMAGE = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
EXPECTED = {}


def images(first, count):
    """Noise: pixels and PNG files."""
    for number in range(first, first + count):
        pixels = numpy.random.default_rng(number).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=numpy.uint8)
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        yield pixels, file.getvalue()


def expect(name, classes, labels, pixels):
    rows = [[label, image.transpose(2, 0, 1).tobytes().hex()] for label, image in zip(labels, pixels)]
    EXPECTED[name] = {"classes": classes, "rows": rows}


def features(image, label):
    """The metadata of the hub, with and without `info` around it."""
    return {image: {"_type": "Image"}, label: {"names": CLASSES, "_type": "ClassLabel"}}


def hub_table(first, count, metadata):
    """A table as older versions of `datasets` write it, with the usual defaults of pyarrow."""
    pixels, files = zip(*images(first, count))
    labels = [number * 2 % 3 for number in range(first, first + count)]
    schema = pyarrow.schema([("image", HUB_IMAGE), ("label", pyarrow.int64())], {"huggingface": json.dumps(metadata)})
    rows = [{"bytes": file, "path": f"{number}.png"} for number, file in enumerate(files)]
    return pyarrow.table([pyarrow.array(rows, HUB_IMAGE), pyarrow.array(labels)], schema=schema), labels, pixels


def write_hub(name, first, metadata, **options):
    table, labels, pixels = hub_table(first, 12, metadata)
    pyarrow.parquet.write_table(table, FOLDER / name, row_group_size=7, **options)
    expect(name, CLASSES, [CLASSES[label] for label in labels], pixels)


def write_by_datasets(name):
    table, labels, pixels = hub_table(200, 12, {})
    columns = {"image": table["image"].to_pylist(), "label": labels}
    types = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=CLASSES)})
    datasets.Dataset.from_dict(columns, features=types).to_parquet(FOLDER / name, batch_size=7)
    expect(name, CLASSES, [CLASSES[label] for label in labels], pixels)


def write_strings(name, **options):
    """Binary images and labels as strings, without metadata."""
    pixels, files = zip(*images(300, 12))
    labels = [CLASSES[number % 3] for number in range(12)]
    other = pyarrow.array([[number] * (number % 3) for number in range(12)])  # a column of lists, to be ignored
    table = pyarrow.table({"boxes": other, "fine_label": labels, "img": pyarrow.array(files, pyarrow.binary())})
    pyarrow.parquet.write_table(table, FOLDER / name, row_group_size=5, **options)
    expect(name, sorted(CLASSES), labels, pixels)


def write_paths(name):
    """Paths of image files, once as strings and once inside of the struct of the hub; labels as small integers."""
    paths = ["../images/gray-alpha.png", "../images/alpha.png", "../images/bilevel.png"]
    rows = [{"bytes": None, "path": path} for path in paths]
    labels = pyarrow.array([10, 9, 10], pyarrow.int8())
    table = pyarrow.table({"image": paths, "hub": pyarrow.array(rows, HUB_IMAGE), "label": labels})
    pyarrow.parquet.write_table(table, FOLDER / name)


FOLDER.mkdir(exist_ok=True)
write_hub("train-00000-of-00002.parquet", 0, {"info": {"features": features("image", "label")}})
write_hub("train-00001-of-00002.parquet", 100, {"features": features("image", "label")}, compression="zstd")
write_by_datasets("datasets.parquet")
write_strings("gzip.parquet", compression="gzip", data_page_version="2.0")
write_strings("lz4.parquet", compression="lz4", use_dictionary=False)
write_paths("paths.parquet")
(FOLDER / "expected.json").write_text(json.dumps(EXPECTED, indent=1) + "\n")

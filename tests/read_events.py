"""Prints all values that TensorBoard reads from a folder of event files, one JSON value per line.

tensorboard_reads_events.rs calls it with TensorBoard's own Python. It first prints all stored values, as the
EventAccumulator returns them without sampling. Then it prints the histograms as the dashboards get them, after
data_compat converted them to rows of left edge, right edge, and count.
"""

import glob
import json
import sys

from google.protobuf import json_format
from tensorboard.backend.event_processing import event_accumulator, event_file_loader
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.custom_scalar import metadata as custom_scalar
from tensorboard.plugins.pr_curve import metadata as pr_curve
from tensorboard.util import tensor_util

logdir = sys.argv[1]
accumulator = event_accumulator.EventAccumulator(
    logdir, size_guidance=event_accumulator.STORE_EVERYTHING_SIZE_GUIDANCE
)
accumulator.Reload()
tags = accumulator.Tags()


def exact(value):
    """repr keeps every bit of a float, and can represent nan and inf, which JSON cannot."""
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, list):
        return [exact(item) for item in value]
    return value


def show(kind, tag, event, **fields):
    fields = {name: exact(value) for name, value in fields.items()}
    print(json.dumps({"kind": kind, "tag": tag, "step": event.step, "wall_time": exact(event.wall_time), **fields}))


for tag in tags["scalars"]:
    for event in accumulator.Scalars(tag):
        show("scalar", tag, event, value=event.value)
for tag in tags["histograms"]:
    for event in accumulator.Histograms(tag):
        value = event.histogram_value
        show("histogram", tag, event, limits=list(value.bucket_limit), counts=list(value.bucket),
             moments=[value.min, value.max, value.num, value.sum, value.sum_squares])
for tag in tags["images"]:
    for event in accumulator.Images(tag):
        show("image", tag, event, width=event.width, height=event.height, png=event.encoded_image_string.hex())
for tag in tags["tensors"]:
    for event in accumulator.Tensors(tag):
        array = tensor_util.make_ndarray(event.tensor_proto)
        plugin = accumulator.SummaryMetadata(tag).plugin_data.plugin_name
        if plugin == custom_scalar.PLUGIN_NAME:
            layout = layout_pb2.Layout.FromString(array.item())
            show("layout", tag, event, layout=json_format.MessageToDict(layout),
                 plugin_tag=custom_scalar.CONFIG_SUMMARY_TAG)
            continue
        if plugin == pr_curve.PLUGIN_NAME:
            data = pr_curve.parse_plugin_metadata(accumulator.SummaryMetadata(tag).plugin_data.content)
            show("curve", tag, event, rows=array.astype(float).tolist(), thresholds=data.num_thresholds)
            continue
        show("text", tag, event, text=array.item().decode(), shape=list(array.shape),
             plugin=plugin)
for path in sorted(glob.glob(f"{logdir}/events.out.tfevents.*")):
    for event in event_file_loader.EventFileLoader(path).Load():
        for value in event.summary.value:
            if value.metadata.plugin_data.plugin_name == "histograms":
                rows = tensor_util.make_ndarray(value.tensor)
                show("dashboard", value.tag, event, rows=rows.astype(float).tolist())

"""Prints every event of a file as TensorBoard's own reader sees it: one JSON value a line.

Called by tensorboard_reads_events.rs with TensorBoard's own Python.
"""

import json
import sys

from tensorboard.backend.event_processing import event_accumulator

accumulator = event_accumulator.EventAccumulator(
    sys.argv[1], size_guidance={name: 0 for name in event_accumulator.DEFAULT_SIZE_GUIDANCE}
)
accumulator.Reload()
tags = accumulator.Tags()


def show(**fields):
    # repr keeps every bit of a float, and NaN and infinities as Python writes them.
    print(json.dumps({name: repr(value) if isinstance(value, float) else value for name, value in fields.items()}))


for tag in tags["scalars"]:
    for event in accumulator.Scalars(tag):
        show(kind="scalar", tag=tag, step=event.step, wall_time=event.wall_time, value=event.value)
for tag in tags["histograms"]:
    for event in accumulator.Histograms(tag):
        value = event.histogram_value
        show(kind="histogram", tag=tag, step=event.step, wall_time=event.wall_time, limits=list(map(repr, value.bucket_limit)),
             counts=list(map(repr, value.bucket)), min=value.min, max=value.max, num=value.num, sum=value.sum,
             sum_squares=value.sum_squares)
for tag in tags["images"]:
    for event in accumulator.Images(tag):
        show(kind="image", tag=tag, step=event.step, wall_time=event.wall_time, width=event.width, height=event.height,
             bytes=event.encoded_image_string.hex())
for tag in tags["tensors"]:
    for event in accumulator.Tensors(tag):
        show(kind="text", tag=tag, step=event.step, wall_time=event.wall_time,
             text=event.tensor_proto.string_val[0].decode(),
             plugin=accumulator.SummaryMetadata(tag).plugin_data.plugin_name)

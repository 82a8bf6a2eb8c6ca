"""Prints what TensorBoard's HParams page shows for a folder of runs, as one JSON object.

hparams.rs calls it with TensorBoard's own Python. The program answers the three requests of the page (experiment, session
groups, and the values of a metric), as it does in a browser: from its own reader of event files to JSON.
"""

import json
import sys

from tensorboard import default, program
from tensorboard.backend import application
from tensorboard.backend.event_processing import data_ingester
from werkzeug import test

tensorboard = program.TensorBoard(plugins=default.get_plugins())
# Reads the files once, before the first request.
options = {"logdir": sys.argv[1], "reload_interval": "0", "reload_task": "blocking"}
tensorboard.configure(argv=["tensorboard"] + [f"--{name}={value}" for name, value in options.items()])
ingester = data_ingester.LocalDataIngester(tensorboard.flags)
ingester.start()
client = test.Client(
    application.TensorBoardWSGIApp(tensorboard.flags, tensorboard.plugin_loaders, ingester.data_provider)
)


def ask(route, **request):
    response = client.post(f"/data/plugin/hparams/{route}", json=request)
    assert response.status_code == 200, (route, response.status, response.text)
    return json.loads(response.text)


experiment = ask("experiment")
groups = ask(
    "session_groups",
    startIndex=0,
    sliceSize=1000,
    allowedStatuses=["STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING"],
)
evaluations = {
    session["name"]: {
        metric["name"]["tag"]: ask("metric_evals", sessionName=session["name"], metricName=metric["name"])
        for metric in session.get("metricValues", [])
    }
    for group in groups["sessionGroups"]
    for session in group["sessions"]
}
print(json.dumps({"experiment": experiment, "groups": groups["sessionGroups"], "evaluations": evaluations}))

"""Train, load, evaluate and predict as plain functions: what the command line calls, and a notebook can call.

Example::

    from adcli import pipeline

    trained = pipeline.train(pipeline.TrainSettings(model="patchcore", data="photos/bottle"))
    for prediction in pipeline.predict(trained.run, ["photos/new"]):
        print(prediction.path, prediction.score, prediction.is_defect)
"""

from adcli.pipeline.evaluation import Evaluation
from adcli.pipeline.restore import load, open_scorer
from adcli.pipeline.train import Trained, resume, train
from adcli.pipeline.use import Prediction, draw, evaluate, predict
from adcli.settings import TrainSettings

__all__ = [
    "Evaluation",
    "Prediction",
    "TrainSettings",
    "Trained",
    "draw",
    "evaluate",
    "load",
    "open_scorer",
    "predict",
    "resume",
    "train",
]

"""What the program that trains leaves when it is told to stop while it writes its results."""

import json
import signal
from types import SimpleNamespace

import pytest
import torch
from conftest import run_record

import train
from trainkit.interrupts import Interrupted, Interrupts
from trainkit.spec import Recipe

FILES = {"history.csv", "model.safetensors", "predictions.safetensors", "record.json"}


@pytest.mark.parametrize("told", [None, signal.SIGTERM])
def test_no_record_stays_where_a_signal_came_before_it_was_complete(told, tmp_path):
    trainer = SimpleNamespace(model=torch.nn.Linear(2, 3), interrupts=Interrupts())
    trainer.interrupts.signal = told
    outcome = SimpleNamespace(history=[], test=None)
    if told:
        with pytest.raises(Interrupted):
            train.write(tmp_path, run_record("mnist-convnet"), outcome, trainer)
    else:
        train.write(tmp_path, run_record("mnist-convnet"), outcome, trainer)
    expected = FILES - {"record.json"} if told else FILES
    assert {path.name for path in tmp_path.iterdir()} == expected


def test_a_run_of_equal_time_gets_its_references_steps_and_end_less_its_own_end(tmp_path):
    measured = {
        "reference_steps_per_epoch": 100,
        "reference_finish_in_steps": 8.0,
        "finish_in_reference_steps": 4.0,
        "ratio": 2.0,
        "reference_seconds_per_step": 0.5,
    }
    (tmp_path / "calibration.json").write_text(json.dumps(measured))
    recipe = {"batch_size": 8, "optimizer": {"name": "sgd", "lr": 0.1}}
    recipe["budget"] = {"reference": "other", "epochs": 3}
    spec = SimpleNamespace(recipe=Recipe.model_validate(recipe))
    steps, seconds = train.length(SimpleNamespace(), spec, tmp_path / "calibration.json")
    assert steps == (3 * 100 + 8 - 4) / 2
    assert seconds == (3 * 100 + 8) * 0.5

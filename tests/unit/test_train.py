"""What the program that trains leaves when it is told to stop while it writes its results."""

import signal
from types import SimpleNamespace

import pytest
import torch
from conftest import run_record

import train
from trainkit.interrupts import Interrupted, Interrupts

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

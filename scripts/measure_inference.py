"""Measure what inference costs: images a second, memory; RepVGG also folded."""

import argparse
import json
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn

from trainkit import datasets, inference, runs
from trainkit import device as devices
from trainkit.errors import run_program
from trainkit.files import read_json
from trainkit.models import repvgg
from trainkit.outputs import write_table
from trainkit.progress import print_line
from trainkit.results import Results
from trainkit.spec import RunSpec

ROUNDS, BATCHES = 5, (1, 256)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", nargs="+", type=Path, required=True, help="one of each network")
    parser.add_argument("--declared", required=True, help="JSON: what each experiment's records are made of")
    parser.add_argument("--hardware", type=Path, required=True, help="hardware.json")
    parser.add_argument("--data", type=Path, required=True, help="the dataset's tensors")
    parser.add_argument("--seconds", type=float, required=True, help="about so long, all together")
    parser.add_argument("--threads", type=int, default=1024, help="CPU threads at most")
    parser.add_argument("--out", type=Path, required=True, help="folder of the table")
    args = parser.parse_args()
    hardware = read_json(args.hardware)
    device = devices.acquire(args.threads, False, hardware)
    rows = measure(Results(args.records, json.loads(args.declared)), device, hardware, args)
    shows = f"Inference by the trained networks on {rows[0]['device']}, interleaved over {ROUNDS} rounds."
    rates = "; ".join(
        f"{row['title']}{' folded' if row['folded'] == 'yes' else ''}: {row['images_per_second']:.0f}"
        for row in rows
        if row["batch_size"] == max(BATCHES)
    )
    said = f"Images a second at batch {max(BATCHES)}, median: {rates}."
    write_table("task3_inference", pd.DataFrame(rows), args.out, shows, said)
    print_line(f"inference: {len(rows)} measurements in {ROUNDS} rounds each: {args.out}")


def measure(
    results: Results, device: torch.device, hardware: dict[str, Any], args: argparse.Namespace
) -> list[dict[str, Any]]:
    """One row a network and batch size, on the first test images."""
    networks: dict[str, nn.Module] = {}
    facts: dict[str, dict[str, Any]] = {}
    cases, held, images = {}, {}, {}
    for name in results.runs:
        run = results.first(name)
        spec = RunSpec.model_validate(run.spec)
        model, pipeline = runs.trained(results.folders[name, run.seed] / "record.json")
        if spec.split not in images:
            images[spec.split] = datasets.load_splits(args.data, spec.split).test.x[: max(BATCHES)]
        x = pipeline.evaluate(images[spec.split]).to(device)
        numerics = devices.measured(spec.model, hardware, "inference")
        shared = {"experiment": name, "title": run.title, "model": run.model}
        shared |= {"multiply_adds": run.multiply_adds, "precision": numerics.precision}
        networks[name], facts[name] = model, shared | {"folded": "no", "largest_difference": None}
        forms = [name]
        if run.model == "repvgg":
            forms.append(f"{name} folded")
            networks[forms[1]] = repvgg.fold(model)
            difference = inference.largest_difference(model, networks[forms[1]], x)
            facts[forms[1]] = shared | {"folded": "yes", "largest_difference": difference}
        for form in forms:
            for batch in BATCHES:
                case = form, min(batch, len(x))
                cases[case] = inference.forward(networks[form], x[:batch], numerics)
                held[case] = inference.activation_mb(cases[case], device)
    measured = inference.rates(cases, device, ROUNDS, args.seconds)
    machine = {"device": devices.name(device), "threads": torch.get_num_threads()}
    return [
        facts[form]
        | {"batch_size": batch, **inference.summary(values)}
        | {"weight_mb": inference.weight_mb(networks[form]), "activation_mb": held[form, batch]}
        | machine
        for (form, batch), values in measured.items()
    ]


if __name__ == "__main__":
    run_program(main)

"""Accuracy on a folder of people's digits: photos, scans and drawings, read by a running server through the client.

    python -m benchmarks.real_digits FOLDER [--server HOST:PORT] [--model digits]

FOLDER holds labels.csv with the columns file, label and kind. Prints the accuracy of each kind, the files that were
read wrongly, and as its last line one JSON object.
"""

import argparse
import csv
import json
import time
from collections import defaultdict
from pathlib import Path

from benchmarks import machine
from client import Client, InvalidImage, read_image
from client.contract import DEFAULT_SERVER, MODEL


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("folder", type=Path)
    options.add_argument("--server", default=DEFAULT_SERVER)
    options.add_argument("--model", default=MODEL)
    given = options.parse_args()

    with (given.folder / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    images, labelled, wrong = [], [], []
    started = time.perf_counter()
    for row in rows:
        try:
            images.append(read_image(given.folder / row["file"]))
            labelled.append(row)
        except InvalidImage as error:
            wrong.append(row)
            print(error)
    preparing = time.perf_counter() - started
    with Client(given.server, model=given.model, timeout=30) as client:
        predictions = client.classify(images)

    for row, one in zip(labelled, predictions, strict=True):
        if one.digit != int(row["label"]):
            wrong.append(row)
            print(f"{row['file']}: {row['label']} read as {one.digit} ({one.probability:.0%})")

    right: dict[str, list[bool]] = defaultdict(list)
    for row in rows:
        right[row["kind"]].append(row not in wrong)
    width = max(map(len, right))
    print(f"\n{'kind':{width}}  images  right")
    for kind, answers in sorted(right.items()):
        print(f"{kind:{width}}  {len(answers):6}  {sum(answers) / len(answers):6.1%}")
    accuracy = 1 - len(wrong) / len(rows)
    print(f"{'all':{width}}  {len(rows):6}  {accuracy:6.1%}\n")
    kinds = {kind: round(sum(answers) / len(answers), 4) for kind, answers in right.items()}
    figures = {"images": len(rows), "accuracy": round(accuracy, 4), "kinds": kinds}
    served = {"model": given.model, "model_version": predictions[-1].model_version if predictions else None}
    speed = {"milliseconds_per_image": round(1000 * preparing / len(rows), 2)}
    print(json.dumps(machine.document("real_digits", **figures, **served, **speed)))


if __name__ == "__main__":
    main()

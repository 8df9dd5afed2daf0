"""The best few trainings as one model: the mean of what each of them answers."""

import json
from pathlib import Path

import keras

from client.contract import IMAGE_SIZE
from serving.versions import write_json
from training import data, evaluate, folder, layers, results
from training.device import configure


def build(members: list[keras.Model]) -> keras.Model:
    """Join models of one input and output into one that answers with their mean."""
    image = keras.layers.Input((IMAGE_SIZE, IMAGE_SIZE, 1))
    for number, member in enumerate(members, 1):
        member.name = f"{member.name}_{number}"  # one model may be there with several seeds
    answers = [member(image) for member in members]
    return keras.Model(image, keras.layers.Average()(answers), name=results.ENSEMBLE)


def join(run_dirs: list[Path], run_dir: Path, data_path: Path | None) -> results.Result:
    """Make a finished run of finished runs, evaluated and ready for export."""
    configure("cpu")
    rows = [results.read(member) for member in run_dirs]
    model = build([layers.load(member / "model.keras") for member in run_dirs])
    images = max(row.images for row in rows)
    evaluation = evaluate.evaluate(model, data.load(data_path).limit(images))
    model.save(run_dir / "model.keras")
    settings = json.loads((run_dirs[0] / folder.CONFIG).read_text())["settings"] | {"letter": None, "seed": None}
    first, *others = [folder.recipe_of(member) or {} for member in run_dirs]
    common = {name: value for name, value in first.items() if all(other.get(name) == value for other in others)}
    members = [{"run": row.run, "model": row.model, "seed": row.seed} for row in rows]
    config = {"settings": settings, "members": members, "recipe": common}
    write_json(run_dir / folder.CONFIG, config)
    (run_dir / results.EVALUATION).write_text(json.dumps({"history": [], **evaluation.details}) + "\n")
    result = results.Result(
        run=run_dir.name,
        model=results.ENSEMBLE,
        description=f"The mean of {', '.join(f'{row.model} (seed {row.seed})' for row in rows)}",
        **evaluation.figures,
        parameters=model.count_params(),
        images=images,
        epochs=sum(row.epochs for row in rows),
        seconds=round(sum(row.seconds for row in rows), 1),
        core_seconds=round(sum(row.core_seconds for row in rows), 1),
        recipe=rows[0].recipe,
        seed=rows[0].seed,
        device=rows[0].device,
    )
    results.write(result, run_dir)
    return result

# Results that were copied without Snakemake's records are compared with the settings.
import os
from functools import partial
from types import SimpleNamespace

from snakemake.io import IOFile
from swim.cli import copied_results as stored

COMPARED_SETTINGS = set()


def settings_of_files(name):
    """An experiment's files that say what they are: with which settings, and from which files.

    As swim.cli.copied_results compares them: path, JSON, and files by kind.
    """
    own, at = EXPERIMENTS[name], partial(SimpleNamespace, experiment=name)
    folder, data = f"results/{name}", dataset_of(at())
    model, named = f"{folder}/model.safetensors", {"dataset": own.dataset}
    adopted = {"checkpoint": own.checkpoint} if own.checkpoint else {}
    made = adopt_job(at()) if own.checkpoint else job(spec.TrainJob, at())
    yield model, json.dumps(json.loads(made) | named), {"data": data, **adopted}
    if images := CONFIG.data_sets.get(own.dataset):
        said = {key: getattr(images, key) for key in ("mean", "std", "augmentation")}
        yield data, json.dumps({key: x for key, x in said.items() if x is not None}), {}
    both = {"model": model, "data": data}
    for file in sorted(Path(folder, "sensitivity").glob("*.safetensors")):
        if file.stem in registry.ESTIMATORS:
            yield str(file), job(spec.SensitivityJob, at(), estimator=file.stem), both
    for file in points_of(name).files():
        point = at(**origin.place_of(file))
        yield from settings_of_point(f"{folder}/chips/{file}", point, both)
    for file in perturbations_of(name) if own.correlate else []:
        yield file, perturb_job(at(**origin.point_of(Path(file)))), both
    points = json.loads(spec.section_json(points_of(name)))
    shown = {"experiment": name, "model": own.model.label, "dataset": own.dataset}
    yield f"{folder}/accuracy.csv", json.dumps({**shown, "points": points}), both
    within = {"experiment": name, "within": own.within, "points": points}
    yield f"{folder}/cycles_to_accuracy.csv", json.dumps(within), {}


def settings_of_point(file, point, both):
    """The same of a chips file, and of its mask."""
    method, point.policy, point.budget = point.method, point.method, point.fraction
    folder, made, inputs = f"results/{point.experiment}", evaluate_job, dict(both)
    if levels := levels_of(point):
        inputs["levels"] = levels[0]
    if method == registry.IN_SITU:
        made = in_situ_job
    elif method in registry.POLICIES:
        made = program_job
        inputs["sensitivity"] = chosen_curvature_of(point)
    elif method in registry.METHODS:
        mask = f"{folder}/masks/{point.device}/{method}/{point.fraction}.npz"
        inputs["mask"] = mask
        ranked = {"model": both["model"]}
        if sensitivity := sensitivity_of(point):
            ranked["sensitivity"] = sensitivity
        chosen = {"method": method, "fraction": point.fraction}
        yield mask, job(spec.SelectJob, point, **chosen), ranked
    yield file, made(point), inputs


def require_settings(name):
    """Refuse files of other settings that Snakemake has no record of: a copy without its own.

    Where it has one, it makes them again.
    """
    records = workflow.persistence
    if records is None or workflow.dag_settings.forceall or name in COMPARED_SETTINGS:
        return
    COMPARED_SETTINGS.add(name)
    unknown = [
        wanted
        for wanted in settings_of_files(name)
        if os.path.exists(wanted[0]) and records.metadata(IOFile(wanted[0])) is None
    ]
    try:
        stored.require(unknown)
    except errors.SwimError as error:
        raise WorkflowError(f"{name}: {error}") from None

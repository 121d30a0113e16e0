import copy
import json

import pytest
import yaml

from rules.environment import rule_names
from swim.cli.settings_page import page
from swim.errors import SettingError
from swim.settings import (
    DeviceSettings,
    EvaluateJob,
    ModelSettings,
    OwnDataSet,
    PerturbJob,
    SensitivityJob,
    SummariseJob,
    TrainingSettings,
    TrainJob,
    load,
    registry,
    section_json,
)
from swim.settings.loading import TRAINING_IMAGES
from swim.settings.methods import TAKEN
from swim.settings.reference import schema
from tests import ROOT

GOOD = {"devices": {"four_bit": {}}, "experiments": {"mine": {}}}


def faulty(**experiment):
    with pytest.raises(SettingError) as caught:
        load({**GOOD, "experiments": {"mine": experiment}})
    return str(caught.value)


@pytest.mark.parametrize(
    ("experiment", "parts"),
    [
        ({"chip": 3}, ["experiments.mine.chip", "unknown setting", "'chips'"]),
        ({"training": {"epoch": 3}}, ["mine.training.epoch", "'epochs'"]),
        ({"model": {"name": "letnet"}}, ["model.name", "'letnet'", "'lenet'"]),
        ({"dataset": "mnst"}, ["dataset", "'mnst'", "'mnist'", "mnist5k"]),
        ({"methods": ["swin"]}, ["methods.0", "'swin'", "'swim'", "random"]),
        ({"estimator": "x"}, ["estimator", "'x'", "recursion"]),
        ({"devices": ["four"]}, ["mine.devices", "'four'", "four_bit"]),
        ({"sigmas": ["0.10"]}, ["sigmas.0", '"0.10"', '"0.1"']),
        ({"sigmas": ["-0.1"]}, ["sigmas.0", "-0.1", "at least 0"]),
        ({"sigmas": ["inf"]}, ["sigmas.0", "quoted decimal"]),
        ({"fractions": [0.1]}, ["fractions.0", "0.1", "quoted", '"0.1"']),
        ({"fractions": [0.1 + 0.2]}, ["fractions.0", "0.30000000000000004"]),
        ({"fractions": ["1.5"]}, ["fractions.0", "1.5", "between 0 and 1"]),
        ({"fractions": ["1.0"]}, ["fractions.0", 'spelt "1"']),
        ({"fractions": ["1e-1"]}, ["fractions.0", 'spelt "0.1"']),
        ({"fractions": ["0.1", "0.1"]}, ["fractions lists 0.1 twice"]),
        ({"fractions": []}, ["fractions", "at least 1"]),
        ({"budgets": []}, ["budgets", "at least 1"]),
        ({"budgets": [0.1]}, ["budgets.0", "0.1", "quoted", '"0.1"']),
        ({"budgets": ["-0.1"]}, ["budgets.0", "-0.1", "at least 0"]),
        ({"budgets": ["2", "2"]}, ["budgets lists 2 twice"]),
        (
            {"methods": [{"name": "swim", "import": "a:b"}]},
            ["methods.0.name: 'swim' is taken; choose another name"],
        ),
        ({"methods": [{"name": "SM", "import": "a:b"}]}, ["methods.0.name: 'SM' is taken"]),
        ({"methods": [{"name": "All", "import": "a:b"}]}, ["taken, like 'all' where case"]),
        ({"methods": [{"name": "delta", "import": "a:b"}]}, ["methods.0.name: 'delta' is taken"]),
        ({"methods": [{"name": "../x", "import": "a:b"}]}, ["methods.0.name: '../x' is no name"]),
        ({"methods": [{"name": "x", "import": "a.b"}]}, ["methods.0.import", "'a.b'"]),
        ({"methods": [{"name": "x"}]}, ["methods.0.import: is missing"]),
        (
            {"methods": [{"name": "x", "impot": "a:b"}]},
            ["methods.0.impot", "did you mean 'import'"],
        ),
        (
            {"methods": [{"name": "x", "import": "a:b", "needs": "curvatur"}]},
            ["methods.0.needs: unknown need 'curvatur'; did you mean 'curvature'?"],
        ),
        (
            {"methods": [{"name": "x", "import": "a:b"}, {"name": "x", "import": "a:c"}]},
            ["methods lists x twice"],
        ),
        (
            {"methods": [{"name": "x", "import": "a:b"}, {"name": "X", "import": "a:c"}]},
            ["methods: X, x differ in case alone"],
        ),
        (
            {"methods": ["swim"], "correlate": {"methods": ["mine"]}},
            ["correlate.methods: unknown selection method 'mine'"],
        ),
        (
            {"methods": ["swim"], "correlate": {"methods": ["uswim"]}},
            ["correlate.methods", "'uswim', which is a policy"],
        ),
        ({"methods": ["swim_devise"]}, ["methods.0", "'swim_devise'", "'swim_device'"]),
        ({"chips": 1}, ["chips", "greater than or equal to 2", "1"]),
        ({"chips": "30"}, ["chips", "integer", "'30'"]),
        ({"chips": True}, ["chips", "integer"]),
        ({"training": {"learning_rate": "1e-3"}}, ["learning_rate", "1.0e-3"]),
        (
            {"training": {"quantised_epochs": 21}, "model": {"weight_bits": 4}},
            ["quantised_epochs (21)", "epochs (20)"],
        ),
        ({"precision": 0.001, "chips": 30}, ["chips (30)", "at least 100"]),
        ({"precision": 0.001, "max_chips": 50}, ["max_chips (50)", "chips (100)"]),
        ({"precision": 0}, ["mine.precision", "greater than 0"]),
        ({"model": {"weight_bits": 0}}, ["weight_bits", "greater than or equal to 1"]),
        ({"correlate": {"sigmas": ["0"]}}, ["correlate.sigmas", 'sigma "0" changes no weight']),
        ({"correlate": {"methods": ["SM", "swim"]}}, ["methods lists swim twice"]),
        ({"correlate": {"weight": 5}}, ["correlate.weight", "did you mean 'weights'"]),
        ({"correlate": {}, "methods": ["random"]}, ["no score but random's"]),
        ({"sensitivity_images": 0}, ["sensitivity_images", "greater than or equal to 1", "0"]),
        ({"sensitivity_images": 0.5}, ["sensitivity_images", "integer", "0.5"]),
        ({"sensitivity_images": "all"}, ["sensitivity_images", "integer", "'all'"]),
        ({"sensitivity_images": 4001}, ["mine.sensitivity_images", "at most 4000", "mnist5k"]),
        (
            {"sensitivity_images": 50_001, "dataset": "cifar10"},
            ["mine.sensitivity_images", "at most 50000, the training images of cifar10", "50001"],
        ),
        ({"training": 3}, ["mine.training", "3"]),
        (3, ["experiments.mine", "mapping", "3"]),
    ],
)
def test_a_faulty_setting_is_named_with_its_value_and_what_is_allowed(experiment, parts):
    with pytest.raises(SettingError) as caught:
        load({**GOOD, "experiments": {"mine": experiment}})
    for part in parts:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ({"data_rot": "x"}, "data_root"),
        ({"devices": {"four_bit": {"M": 4, "K": 3}}}, "multiple of K"),
        ({"devices": {"four_bit": {"convention": "full"}}}, "full-scale"),
        ({"devices": {"four-bit": {}}}, "four-bit"),
        ({"devices": {"four_bit": {"clip": True}}}, "clip need write_verify: redraw or pulse"),
        ({"devices": {"four_bit": {"read_noise": 0.1}}}, "need write_verify: redraw or pulse"),
        ({"devices": {"four_bit": {"write_verify": "x"}}}, "closed_form"),
        ({"devices": {"four_bit": {"pulse_gain": 0.0}}}, "pulse_gain.*greater than 0"),
        ({"devices": {"four_bit": {"tolerance": 0.0}}}, "tolerance.*greater than 0"),
        ({"experiments": {"summary": {}}}, "taken"),
        ({"experiments": {"a/b": {}}}, "a/b"),
        ({"defaults": {"chip": 3}}, "defaults.chip"),
        ({"data_sets": {"own": {}}}, "data_sets.own: give either `file`.*or `folder`"),
        ({"data_sets": {"own": {"file": "a", "folder": "b"}}}, "give either `file`"),
        ({"data_sets": {"own": {"file": "a", "size": 8}}}, "size is for images of a `folder`"),
        ({"data_sets": {"own": {"folder": "a", "size": 0}}}, "size.*greater than or equal to 1"),
        ({"data_sets": {"own": {"folders": "a"}}}, "did you mean 'folder'"),
        ({"data_sets": {"tinyimagenet": {"folder": "a"}}}, "'tinyimagenet' is taken"),
        ({"experiments": [1]}, "experiments"),
    ],
)
def test_faults_outside_experiments(content, part):
    with pytest.raises(SettingError, match=part):
        load({**GOOD, **content})


def test_all_faults_are_reported_at_once():
    message = faulty(chip=3, sigmas=["0.10"], training={"epoch": 1})
    assert len(message.splitlines()) == 3


def test_defaults_are_merged_deeply_and_lists_replaced():
    config = load(
        {
            "devices": {"four_bit": {}},
            "defaults": {"training": {"epochs": 7, "batch_size": 5}, "sigmas": ["0.1", "0.2"]},
            "experiments": {"a": {"training": {"epochs": 9}}, "b": {"sigmas": ["0.3"]}, "c": None},
        }
    )
    a, b, c = (config.experiments[name] for name in "abc")
    assert (a.training.epochs, a.training.batch_size, a.sigmas) == (9, 5, ["0.1", "0.2"])
    assert (b.training.epochs, b.sigmas) == (7, ["0.3"])
    assert c.training.epochs == 7


def test_loading_leaves_the_content_alone():
    content = {**copy.deepcopy(GOOD), "defaults": {"chips": 5}}
    before = copy.deepcopy(content)
    load(content)
    assert content == before


def test_the_shipped_configuration_is_valid():
    config = load(yaml.safe_load((ROOT / "config.yaml").read_text()))
    quick = config.experiments["quick"]
    assert (quick.model.label, quick.chips, quick.sigmas) == ("lenet-w4a4", 25, ["0.3"])
    assert {"quick", "lenet_mnist", "lenet_float_mnist"} <= set(config.experiments)


def test_the_schema_file_is_what_the_settings_generate():
    stored = json.loads((ROOT / "rules/schemas/config.schema.json").read_text())
    assert stored == schema(), "run `make schema`"


def test_no_object_of_the_schema_takes_unknown_keys():
    def objects(node):
        if isinstance(node, list):
            node = dict(enumerate(node))
        if isinstance(node, dict):
            if node.get("type") == "object":
                yield node
            for child in node.values():
                yield from objects(child)

    found = list(objects(schema()))
    assert len(found) >= 7
    for node in found:
        # Names of experiments and devices are free; what is under them is not. The arguments of a
        # network of the user's own are anything.
        free = node.get("description", "") == "what that function is called with"
        assert free or not node["additionalProperties"] or "$ref" in node["additionalProperties"]


def test_the_schema_and_the_settings_agree_on_faults():
    jsonschema = pytest.importorskip("jsonschema")
    content = yaml.safe_load((ROOT / "config.yaml").read_text())
    jsonschema.validate(content, schema())
    for path, value in (
        (("experiments", "quick", "chip"), 3),
        (("experiments", "quick", "methods"), ["swin"]),
        (("experiments", "quick", "sigmas"), ["0.10"]),
        (("devices", "release", "L"), 1),
        (("defaults", "training"), {"epoch": 3}),
    ):
        wrong = copy.deepcopy(content)
        node = wrong
        for key in path[:-1]:
            node = node.setdefault(key, {})
        node[path[-1]] = value
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema())
        with pytest.raises(SettingError):
            load(wrong)


def test_the_settings_page_is_what_the_settings_generate():
    stored = (ROOT / "docs/settings.md").read_text()
    assert stored == page(), "run `make schema`"


def test_settings_without_effect_are_no_part_of_a_job():
    """No quantised epochs in a float network, no maximum without a precision, and few draw."""
    float_, quantised = (
        {section_json(TrainJob(model=model, training=TrainingSettings(**training)))
         for training in ({}, {"quantised_epochs": 1}, {"calibration_images": 9})}
        for model in (ModelSettings(), ModelSettings(weight_bits=4))
    )  # fmt: skip
    assert (len(float_), len(quantised)) == (1, 3)
    fixed, stopped = (
        {section_json(EvaluateJob(max_chips=most, precision=precision))
         for most in (200, 300)}
        for precision in (None, 0.01)
    )  # fmt: skip
    assert (len(fixed), len(stopped)) == (1, 2)
    certain, drawing = (
        {section_json(SensitivityJob(estimator=estimator, **draws))
         for draws in ({}, {"seed": 1}, {"estimator_samples": 2})}
        for estimator in ("recursion", "hutchinson")
    )  # fmt: skip
    assert (len(certain), len(drawing)) == (1, 3)


def test_the_images_of_second_derivatives_are_part_of_their_job_with_the_seed_that_draws_them():
    job = json.loads(section_json(SensitivityJob(estimator="recursion", seed=3)))
    assert job["sensitivity_images"] is None
    assert "seed" not in job
    job = json.loads(section_json(SensitivityJob(sensitivity_images=100, seed=3)))
    assert (job["sensitivity_images"], job["seed"]) == (100, 3)


def test_known_data_sets_have_as_many_training_images_as_they_say():
    assert set(TRAINING_IMAGES) == set(registry.DATASETS)
    for name, images in TRAINING_IMAGES.items():
        assert f"{images:,}/" in registry.find("data set", name).HELP
        load({**GOOD, "experiments": {"mine": {"dataset": name, "sensitivity_images": images}}})
    own = {**GOOD, "data_sets": {"own": {"file": __file__}}}
    load({**own, "experiments": {"mine": {"dataset": "own", "sensitivity_images": 10**8}}})


def test_a_device_is_part_of_a_job_as_far_as_it_is_used():
    """No read noise in the closed form, no gain but a pulse's, nothing closed where it is not."""
    changes = ({}, {"verified_sigma": 0.02}, {"pulse_gain": 0.1}, {"cycle_limit": 9})
    for kind, expected in (("closed_form", 3), ("redraw", 2), ("pulse", 3)):
        jobs = {
            section_json(EvaluateJob(device=DeviceSettings(write_verify=kind, **change)))
            for change in changes
        }
        assert len(jobs) == expected, kind


def test_points_of_policies_are_their_budgets():
    """End points are shared as far as a policy begins and ends where the others do."""
    shared = {
        "devices": ["d"],
        "sigmas": ["0.1"],
        "methods": ["swim", "swim_device", "compensate", "reslice_pair"],
        "fractions": ["0", "0.1", "1"],
    }

    def own(**settings):
        files = SummariseJob(**shared, **settings).files()
        ends = {"clean.csv", "none/0.csv", "all/1.csv"}
        return {f.removeprefix("d/sigma-0.1/") for f in files} - ends

    assert own() == {
        "swim/0.1.csv", "swim_device/0.1.csv", "compensate/0.1.csv", "compensate/1.csv",
        "reslice_pair/0.csv", "reslice_pair/0.1.csv", "reslice_pair/1.csv",
    }  # fmt: skip
    assert own(budgets=["0.05", "2"]) == {
        "swim/0.1.csv", "swim_device/0.05.csv", "swim_device/2.csv", "compensate/0.05.csv",
        "compensate/2.csv", "reslice_pair/0.csv", "reslice_pair/0.05.csv", "reslice_pair/2.csv",
    }  # fmt: skip
    config = load({**GOOD, "experiments": {"mine": {"budgets": ["0.05", "2"]}}})
    assert config.experiments["mine"].budgets == ["0.05", "2"]


def test_a_float_network_may_train_for_fewer_epochs_than_it_would_be_quantised_for():
    load({**GOOD, "experiments": {"mine": {"training": {"epochs": 3}}}})


def test_no_experiment_is_named_like_a_rule_or_a_folder_of_results():
    rules = rule_names(str(ROOT))
    assert {"all", "named", "train", "evaluate", "evaluate_none_verified", "compare"} <= rules
    for name in (*rules, "data", "summary", "cycles_to_accuracy", "Train"):
        with pytest.raises(SettingError, match="is taken"):
            load({**GOOD, "experiments": {name: {}}}, taken=rules)


def test_images_of_ones_own_depend_on_their_kinds_settings_alone():
    """An entry of a version without folders stays what it was: nothing is prepared again."""
    assert json.loads(section_json(OwnDataSet(file="a"))) == {
        "file": "a", "mean": None, "std": None, "augmentation": "none",
    }  # fmt: skip
    assert "file" not in json.loads(section_json(OwnDataSet(folder="a", size=8)))


def test_scores_to_correlate_are_the_methods_but_chance_unless_named():
    def scored(**own):
        return load({**GOOD, "experiments": {"a": own}}).experiments["a"].scored

    assert scored(correlate={}) == ["swim", "magnitude"]
    assert scored(correlate={"methods": ["fisher", "random"]}) == ["fisher", "random"]


def test_what_a_perturbation_depends_on():
    job = PerturbJob(device=DeviceSettings(verified_sigma=0.01, tolerance=0.1))
    assert section_json(job) == section_json(PerturbJob())
    coarse = PerturbJob(device=DeviceSettings(M=8, K=1))
    assert section_json(coarse) != section_json(PerturbJob())


PAIR = {"one": {}, "two": {"seed": 1}}


def comparison(*names, **changes):
    experiments = {name: {**PAIR[name], **changes.get(name, {})} for name in PAIR}
    compared = {"both": {"experiments": list(names)}}
    return load({**GOOD, "experiments": experiments, "comparisons": compared})


def test_a_comparison_is_of_experiments_that_differ_in_their_seed():
    assert comparison("one", "two").comparisons["both"].experiments == ["one", "two"]
    comparison("two")
    comparison("one", "two", one={"checkpoint": "a.pt"}, two={"checkpoint": "b.pt"})
    where = r"comparisons\.both\.experiments: "
    with pytest.raises(SettingError, match=where + "unknown experiment 'tow'; did you mean 'two'"):
        load({**GOOD, "experiments": PAIR, "comparisons": {"both": {"experiments": ["tow"]}}})
    with pytest.raises(SettingError, match=where + "two differs from one in chips; only seed and"):
        comparison("one", "two", two={"chips": 5})
    with pytest.raises(SettingError, match=where + r"each needs a seed of its own, .*\[0, 0\]"):
        comparison("one", "one")
    with pytest.raises(SettingError, match=r"comparisons\.both\.experiment: unknown setting"):
        load({**GOOD, "comparisons": {"both": {"experiment": ["mine"]}}})


def test_within_are_quoted_points_of_accuracy():
    assert "experiments.mine.within.0" in faulty(within=[0.5])
    assert "within" in faulty(within=["0.5", "0.5"])
    assert 'spelt "0.5"' in faulty(within=["0.50"])
    assert "between 0 and 100" in faulty(within=["101"])


def test_names_of_custom_methods_leave_out_all_that_tables_use():
    from swim.reports import accuracy_tables, correlation

    columns = {*correlation.KEYS, *correlation.MEASURED, "experiment", "model", "dataset"}
    assert columns | {*accuracy_tables.ENDS, "clean", "in_situ"} <= TAKEN

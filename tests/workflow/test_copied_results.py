"""Results copied without Snakemake's records, and files that are no longer what they were."""

import os
import shutil

import pytest

from swim.runtime import files
from swim.runtime.digests import beside
from tests.unit.conftest import run
from tests.workflow.conftest import TINY, Project, copy_of_the_pipeline
from tests.workflow.messages import ran

SMALL = {
    **TINY,
    "model": {"name": "mlp3", "weight_bits": 4, "activation_bits": 4},
    "training": {"epochs": 1, "quantised_epochs": 0},
    "methods": ["swim", "swim_device"],
    "test_images": 50,
    "chips": 2,
}
DEVICES = {"drawn": {"M": 4, "K": 2, "write_verify": "redraw"}}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("copied") / "project"
    project = Project(copy_of_the_pipeline(folder), {"tiny": {**SMALL, "devices": ["drawn"]}})
    project.devices = DEVICES
    project.make("tiny")
    return project


@pytest.fixture
def copied(finished, tmp_path):
    """A project that has the results, but not the folder .snakemake."""
    project = Project(copy_of_the_pipeline(tmp_path / "copy"), {"tiny": dict(
        finished.experiments["tiny"])})  # fmt: skip
    project.devices = {name: dict(device) for name, device in DEVICES.items()}
    shutil.copytree(finished.folder / "results", project.folder / "results",
                    copy_function=shutil.copy2)  # fmt: skip
    return project


CHANGES = [
    ({"training": {"epochs": 2, "quantised_epochs": 0}}, {}, "tensors: training.epochs is 1"),
    ({"seed": 5}, {}, "seed is 0 there and 5 now"),
    ({"chips": 3}, {}, "chips is 2 there and 3 now"),
    ({"test_images": 60}, {}, "test_images is 50"),
    ({"curvature_noise": 0.1}, {}, "recursion.safetensors: curvature_noise is 0.0"),
    ({}, {"tolerance": 0.05}, "device.tolerance is 0.06"),
]  # fmt: skip


def test_a_copy_is_taken_where_its_settings_are_the_same(copied):
    assert "Nothing to be done" in copied.make("tiny")


@pytest.mark.parametrize(("change", "device", "text"), CHANGES, ids=lambda value: str(value)[:30])
def test_other_settings_than_a_copy_was_made_with_are_named(copied, change, device, text):
    copied.experiments["tiny"] |= change
    copied.devices["drawn"] |= device
    run = copied.snakemake("tiny", "-n")
    output = run.stdout + run.stderr
    assert run.returncode != 0
    assert text in output
    assert "Delete them" in output


def test_a_checkpoint_of_another_run_among_a_copy_is_named(copied):
    """Its settings are the same, but nothing else was made from it."""
    model = copied.folder / "results/tiny/model.safetensors"
    arrays, record = files.load_arrays(model)
    before = model.stat()
    files.save_arrays(model, {name: array + 1 for name, array in arrays.items()}, record)
    assert "select" in ran(copied.make("tiny", "-n"))  # it is newer
    os.utime(model, ns=(before.st_atime_ns, before.st_mtime_ns))
    run = copied.snakemake("tiny", "-n")
    assert run.returncode != 0
    text = "was made from another checkpoint than results/tiny/model.safetensors"
    assert text in run.stdout + run.stderr


def test_where_snakemake_has_its_records_it_makes_files_again(finished):
    project = Project(finished.folder, {"tiny": {**finished.experiments["tiny"], "chips": 3}})
    project.devices = DEVICES
    assert "evaluate" in ran(project.make("tiny", "-n"))
    finished.write()


def test_an_exported_checkpoint_gives_the_results_of_the_experiment_that_trained_it(
    finished, copied
):
    """Sensitivity, masks, chips and tables are made anew from it, without training."""
    kept = copied.folder / "docs/kept.safetensors"
    run("export", "--model", finished.folder / "results/tiny/model.safetensors", "--data",
        finished.folder / "results/data/mnist5k.safetensors", "--out", kept)  # fmt: skip
    shutil.rmtree(copied.folder / "results/tiny")
    copied.experiments["tiny"]["checkpoint"] = "docs/kept.safetensors"
    table = "results/tiny/accuracy.csv"
    jobs = ran(copied.make(table))
    assert {"adopt", "sensitivity", "select", "evaluate", "program"} <= jobs
    assert "train" not in jobs
    before, after = (
        {name: content for name, content in project.results().items()
         if "/chips/" in name or name == table}
        for project in (finished, copied)
    )  # fmt: skip
    assert len(after) == 6
    assert after == before


def test_a_damaged_file_ends_the_run_that_reads_it(copied):
    """One byte of a chips file and of the checkpoint: whoever reads them next says so."""
    chips = copied.folder / "results/tiny/chips/drawn/sigma-0.3/swim/0.1.csv"
    chips.write_bytes(chips.read_bytes().replace(b"0.1", b"0.2", 1))
    (copied.folder / "results/tiny/accuracy.csv").unlink()
    run = copied.snakemake("tiny")
    assert run.returncode != 0
    assert "swim/0.1.csv: is not what it was when it was written" in run.stdout + run.stderr
    chips.unlink()
    model = copied.folder / "results/tiny/model.safetensors"
    content = bytearray(model.read_bytes())
    content[-9] ^= 4
    model.write_bytes(content)
    run = copied.snakemake("tiny")
    assert run.returncode != 0
    assert "model.safetensors: is not what it was" in run.stdout + run.stderr


def test_a_table_without_its_record_is_stamped_by_the_command_that_is_named(copied):
    table = copied.folder / "results/tiny/accuracy.csv"
    beside(table).unlink()
    (copied.folder / "results/tiny/figures/accuracy-sigma-0.3.svg").unlink()
    run = copied.snakemake("tiny")
    assert run.returncode != 0
    assert "swim stamp results/tiny/accuracy.csv" in run.stdout + run.stderr

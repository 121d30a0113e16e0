"""Where a policy's curve begins and ends follows from its entry."""

import pytest

from swim.settings import SummariseJob, policies, registry
from swim.settings.policies import PolicyEntry


@pytest.mark.parametrize(
    ("entry", "points"),
    [
        (PolicyEntry("m", ends_verified=True), {"none": {}, "all": {}}),
        (PolicyEntry("m", ends_verified=False), {"none": {}}),
        (PolicyEntry("m", ends_verified=True, reads_first=True),
         {"none": {"reads": 1.0}, "all": {}}),
        (PolicyEntry("m", ends_verified=False, reads_first=True, acts_without_cycles=True), {}),
    ],
)  # fmt: skip
def test_shared_points_of_a_policy(monkeypatch, entry, points):
    monkeypatch.setitem(policies.ENTRIES, "mine", entry)
    assert policies.shared_points("mine") == points


def test_a_mask_shares_both_ends_and_training_only_the_first():
    assert policies.shared_points("swim") == {"none": {}, "all": {}}
    assert policies.shared_points(policies.IN_SITU) == {"none": {}}


@pytest.mark.parametrize("name", policies.ENTRIES)
def test_files_of_a_policy_are_its_budgets_without_the_shared_points(name):
    job = SummariseJob(devices=["d"], sigmas=["0.1"], methods=[name], fractions=["0", "0.5", "1"])
    shared = {"none": "0", "all": "1"}
    own = {"0", "0.5", "1"} - {shared[end] for end in policies.shared_points(name)}
    prefix = f"d/sigma-0.1/{name}/"
    files = {file.removeprefix(prefix) for file in job.files() if file.startswith(prefix)}
    assert files == {f"{budget}.csv" for budget in own}


def test_every_policy_of_the_registry_has_an_entry():
    assert list(registry.POLICIES) == list(policies.ENTRIES)

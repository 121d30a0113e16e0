"""The arithmetic of an estimate: exact, from given seconds of parts, against slow twins."""

import math
import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

import swim
from swim.evaluation import monte_carlo, stopping, stratified
from swim.reports import run_cost, run_cost_text
from swim.reports.run_cost import Cost, Sample, Spread
from swim.settings import EvaluateJob, TrainingSettings

TIMES = {"start": 3.0, "setup": 2.0, "group": 1.0, "chip": 0.5, "whole": 0.01, "offset": 0.1,
         "sampled": 0.02}  # fmt: skip


def cost(name, seconds, needs=(), threads=1, step="rest", memory=math.nan, disk=0.0):
    job = SimpleNamespace(experiment="e", step=step, rule=name, output=name, needs=tuple(needs),
                          threads=threads)  # fmt: skip
    return Cost(job, (seconds, seconds, seconds), memory, disk)


def test_training_is_its_steps_in_float_and_quantised():
    settings = TrainingSettings(epochs=5, quantised_epochs=2, batch_size=100)
    times = {"start": 7.0, "step": 2.0, "quantised_step": 3.0, "threads": 2}
    # 250 images are 3 steps an epoch.
    assert run_cost.training_seconds(settings, True, 250, times, 2) == 7 + 3 * (3 * 2 + 2 * 3)
    assert run_cost.training_seconds(settings, False, 250, times, 2) == 7 + 3 * 5 * 2
    # Four times the threads of the measurement: two doublings.
    faster = run_cost.training_seconds(settings, False, 250, times, 8)
    assert faster == pytest.approx(7 + 3 * 5 * 2 / 1.8**2)


def test_second_derivatives_on_device_training_and_single_weights():
    assert run_cost.derivatives_seconds(100, {"start": 3.0, "offset": 2.0, "image": 0.1}) == 15
    times = {"write": 2.0, "step": 5.0, "steps": 10.0}
    assert run_cost.on_device_chip(0.25, times) == 2 + 2 * 5  # whole steps
    times = {"start": 3.0, "weight_image": 0.01}
    assert run_cost.perturbation_seconds(50, 10, 0, times) == 3 + 5
    assert run_cost.perturbation_seconds(50, 10, 4, times) == 3 + 20


def test_chips_on_all_images_and_on_samples():
    assert run_cost.chips_seconds(Sample(20, 100), 100, TIMES) == pytest.approx(
        3 + 2 + 20 * 0.5 + 20 * 100 * 0.01
    )
    # The network before programming is shown all images, sixteen pilot chips 500.
    assert run_cost.chips_seconds(Sample(20, 30), 2000, TIMES) == pytest.approx(
        3 + 2 + 20 * 0.5 + 2000 * 0.01 + 20 * 0.1 + (16 * 500 + 4 * 30) * 0.02
    )
    clean = run_cost.chips_seconds(Sample(20, 100), 100, TIMES, clean=True)
    assert clean - run_cost.chips_seconds(Sample(20, 100), 100, TIMES) == pytest.approx(1.0)
    # A last group takes as long as a full one.
    groups = {**TIMES, "group": 8.0}
    expected = run_cost.chips_seconds(Sample(32, 100), 100, groups)
    assert run_cost.chips_seconds(Sample(25, 100), 100, groups) == expected


@pytest.mark.parametrize(("chips", "images"), [(20, None), (24, 60), (10, 60)])
def test_image_passes_of_chips_are_those_that_the_engine_runs(monkeypatch, chips, images):
    """Slow twin: the passes of the run itself, counted."""
    shown = []
    measure = monte_carlo.Network.measure

    def counted(self, weights, positions=None, numbers=None):
        result = measure(self, weights, positions, numbers)
        shown.append(result[0].numel())
        return result

    monkeypatch.setattr(monte_carlo.Network, "measure", counted)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)).eval()
    batches = [(torch.randn(500, 6), torch.randint(0, 3, (500,))) for _ in range(2)]
    made = monte_carlo.stream(model, batches, device=swim.Device(sigma=0.1), images=images)
    for _ in range(chips):
        next(made)
    group = monte_carlo.prepare(model, batches).group
    times = {**dict.fromkeys(TIMES, 0.0), "group": float(group), "whole": 1.0, "sampled": 1.0}
    # Each sample is rounded stratum by stratum.
    planned = run_cost.chips_seconds(Sample(chips, images or 1000), 1000, times)
    assert planned == pytest.approx(sum(shown), abs=8 * chips if images else 0)


def test_the_best_number_of_images_is_that_of_the_sampling_with_one_stratum():
    """Slow twin: the plan of a run, whose strata are one here."""
    total, image = 5000, 0.2
    for between in (0.001, 0.01, 0.05):
        least = max(between, stratified.LEAST_DEVIATION)
        for price in (2.0, 50.0):
            spread = Spread(between, image)
            sizes, need = np.array([total]), np.array([total * image])
            chosen = stratified._best(least**2, sizes, need, price)
            products = [
                (price + n) * Spread(least, image).variance(n, total)
                for n in (chosen, run_cost.best_images(price, total, spread))
            ]
            assert products[1] == pytest.approx(products[0], rel=0.01)


def test_the_number_of_chips_is_that_of_the_stopping_rule():
    """Slow twin: the rule itself, on values of that spread."""
    job = EvaluateJob(chips=100, precision=0.002, max_chips=3000)
    for std in (0.001, 0.015, 0.03):
        values = np.resize([0.5 - std, 0.5 + std], 4000)
        expected = stopping.chips_needed(values, chips=100, precision=0.002, most=3000)
        found = run_cost.sample(job, 10_000, 10.0, Spread(std))
        assert found.images == 10_000
        assert abs(found.chips - expected) <= stopping.BLOCK
    assert run_cost.sample(job, 10_000, 10.0, Spread(0.3)).chips == 3000


def test_chips_without_a_precision_and_images_that_are_asked_for():
    job = EvaluateJob(chips=7, images_per_chip=60)
    assert run_cost.sample(job, 1000, 10.0, Spread()) == Sample(7, 60)
    assert run_cost.sample(job, 40, 10.0, Spread()) == Sample(7, 40)
    auto = EvaluateJob(chips=100, precision=0.0015, images_per_chip="auto")
    found = run_cost.sample(auto, 10_000, 12.0, Spread(0.02))
    assert found.images == run_cost.best_images(12.0, 10_000, Spread(0.02))
    # At the interval of 3,000 chips on all images, where that is wider.
    wide = run_cost.sample(auto, 10_000, 12.0, Spread(0.1), reference=3000)
    assert wide.chips < run_cost.sample(auto, 10_000, 12.0, Spread(0.1)).chips
    assert wide.chips == pytest.approx(
        3000 * Spread(0.1).variance(wide.images, 10_000) / 0.1**2, abs=50
    )


def test_core_hours_count_the_threads_of_a_job():
    costs = [cost("a", 3600.0), cost("b", 1800.0, threads=4)]
    assert run_cost.core_hours(costs) == 3.0


def test_wall_time_of_a_chain_of_independent_jobs_and_of_wide_ones():
    chain = [cost("a", 2.0), cost("b", 3.0, ["a"]), cost("c", 4.0, ["b"]), cost("d", 1.0)]
    assert run_cost.wall_seconds(chain, 8) == 9
    assert [link.job.rule for link in run_cost.critical_path(chain)] == ["a", "b", "c"]
    assert run_cost.wall_seconds([cost(str(n), 2.0) for n in range(10)], 4) == 6
    # Two threads on one core: the job has that core.
    assert run_cost.wall_seconds([cost(str(n), 2.0, threads=2) for n in range(4)], 4) == 4
    assert run_cost.wall_seconds([cost(str(n), 2.0, threads=2) for n in range(4)], 1) == 8
    # What is no job of the run, such as a user's file, is there.
    assert run_cost.wall_seconds([cost("a", 2.0, ["mine.pt"])], 1) == 2
    assert run_cost.wall_seconds([], 1) == 0


def second_by_second(costs, cores):
    """Slow twin of the schedule: the same rule, a second at a time."""

    def behind(one):
        after = [other for other in costs if one.job.output in other.job.needs]
        return one.seconds[1] + max(map(behind, after), default=0)

    left = {c.job.output: c.seconds[1] for c in costs}
    running, now = [], 0
    while any(left.values()):
        for one in sorted(costs, key=lambda c: (-behind(c), costs.index(c))):
            free = cores - sum(min(other.job.threads, cores) for other in running)
            ready = not any(left[need] for need in one.job.needs)
            waiting = one not in running and left[one.job.output]
            if waiting and ready and min(one.job.threads, cores) <= free:
                running.append(one)
        now += 1
        for one in list(running):
            left[one.job.output] -= 1
            if not left[one.job.output]:
                running.remove(one)
    return now


def test_wall_time_is_that_of_a_schedule_second_by_second_and_within_grahams_bounds():
    draw = random.Random(0)
    for _ in range(50):
        costs = []
        for n in range(draw.randint(1, 9)):
            needs = [c.job.output for c in costs if draw.random() < 0.3]
            costs.append(cost(f"j{n}", draw.randint(1, 5), needs, draw.randint(1, 3)))
        cores = draw.randint(1, 4)
        found = run_cost.wall_seconds(costs, cores)
        assert found == second_by_second(costs, cores)
        chain = sum(link.seconds[1] for link in run_cost.critical_path(costs))
        work = sum(c.seconds[1] * min(c.job.threads, cores) for c in costs) / cores
        assert found >= max(chain, work)
        assert found <= sum(c.seconds[1] for c in costs)


def test_the_table_sums_jobs_by_experiment_and_step():
    chips = {"step": "evaluation", "disk": 1e5}
    costs = [
        cost("train", 7200.0, threads=2, step="training", memory=2e9, disk=4.5e7),
        cost("evaluate", 1800.0, ["train"], memory=1e9, **chips),
        cost("evaluate2", 900.0, ["train"], memory=3e9, **chips),
    ]
    assert run_cost_text.rows(costs, ("training", "scores", "evaluation")) == [
        ["e", "training", "1", "4", "4", "4", "2 h", "2 GB", "45 MB"],
        ["e", "evaluation", "2", "0.75", "0.75", "0.75", "30 min", "3 GB", "200 kB"],
        ["all", "", "3", "4.75", "4.75", "4.75", "2 h", "3 GB", "45.2 MB"],
    ]
    assert run_cost_text.wall(costs, 2)[0].startswith("Wall time on 2 cores: at least 2.5 h,")
    assert "train 2 h, evaluate 30 min" in run_cost_text.wall(costs, 2)[1]
    assert run_cost_text.summary(costs, 2) == "4.75 core-hours, at least 2.5 h on 2 cores"
    assert run_cost_text.size(math.nan) == "?"


def test_a_machine_with_other_work_is_told_of():
    assert run_cost_text.busy([0.98, 1.9]) == []
    assert "30% of a core" in run_cost_text.busy([0.98, 0.3])[0]

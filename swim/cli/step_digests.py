"""The digest of each step's code, as its settings choose it: what makes a job run again."""

from typing import Any

from swim.runtime.code_digest import digest, digest_of
from swim.settings import registry
from swim.settings.plan import Plan, Wildcards


class StepDigests:
    """Digests by wildcards; a method for each step whose settings choose code."""

    def __init__(self, plan: Plan):
        """Of the steps of a plan."""
        self._plan = plan

    def _variation(self, wildcards: Wildcards) -> dict[str, str]:
        variation = self._plan.variation(wildcards)
        return {"variation": variation.source} if variation else {}

    def _chips(self, step: str, wildcards: Wildcards, **chosen: str) -> str:
        """Of a step that programs chips: a network's code, and a device's."""
        network = self._plan.network(wildcards)
        return digest(step, network=network, **self._variation(wildcards), **chosen)

    def evaluate(self, wildcards: Wildcards) -> str:
        """Of chips that a mask programs."""
        return self._chips("evaluate", wildcards)

    def program(self, wildcards: Wildcards) -> str:
        """Of chips that a policy programs."""
        return self._chips("program", wildcards, policy=wildcards.policy)

    def in_situ(self, wildcards: Wildcards) -> str:
        """Of chips that are trained in place."""
        return self._chips("in_situ", wildcards)

    def perturb(self, wildcards: Wildcards) -> str:
        """Of the loss that single weights cost."""
        return self._chips("perturb", wildcards)

    def train(self, wildcards: Wildcards) -> str:
        """Of training."""
        return digest("train", network=self._plan.network(wildcards))

    def adopt(self, wildcards: Wildcards) -> str:
        """Of a checkpoint that is taken over."""
        return digest("adopt", network=self._plan.network(wildcards))

    def sensitivity(self, wildcards: Wildcards) -> str:
        """Of second derivatives."""
        chosen = {"network": self._plan.network(wildcards), "estimator": wildcards.estimator}
        return digest("sensitivity", **chosen)

    def select(self, wildcards: Wildcards) -> str:
        """Of masks."""
        home = self._plan.score(wildcards.experiment, wildcards.method)
        return digest("select", selection_method=home)

    def where(self, wildcards: Wildcards) -> list[str]:
        """Of the map of rewritten devices, and of each policy in it."""
        _, policies = self._plan.at_budget(wildcards)
        own = digest("where", **self._variation(wildcards))
        return [own, *(digest_of(policy=name) for name in policies)]

    def correlate(self, wildcards: Wildcards) -> str:
        """Of the study of scores, and of each score in it."""
        scored = self._plan.experiment(wildcards).scored
        homes = [
            registry.home("selection method", self._plan.score(wildcards.experiment, method))
            for method in scored
        ]
        return digest_of("swim.cli.correlate", *(home.partition(":")[0] for home in homes))

    def prepare(self, wildcards: Wildcards) -> str:
        """Of a data set."""
        images = self._plan.config.data_sets.get(wildcards.dataset)
        chosen: dict[str, Any] = {"data_set": wildcards.dataset}
        if images:
            chosen = {"own_data_set": images.kind}
        return digest("prepare", **chosen)

"""Which tensors of a model are programmed into memory devices, and why others stay digital."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Inventory(Mapping[str, int]):
    """The programmed weights, name -> how many there are, in the order in which they are used.

    Attributes:
        counts: of each programmed weight.
        digital: name -> why, of every stored tensor that no device holds.
    """

    counts: dict[str, int]
    digital: dict[str, str] = field(default_factory=dict)

    def __getitem__(self, name: str) -> int:
        return self.counts[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.counts)

    def __len__(self) -> int:
        return len(self.counts)

    @property
    def total(self) -> int:
        """How many weights are programmed."""
        return sum(self.counts.values())

    def record(self) -> dict[str, Any]:
        """The same as JSON has it."""
        return {"programmed": self.counts, "total": self.total, "digital": self.digital}

    @property
    def line(self) -> str:
        """In one line: how much is programmed, and how many tensors are not."""
        shown = [f"{name} {count:,}" for name, count in self.counts.items()]
        if len(shown) > 6:
            shown = [*shown[:3], f"... {len(shown) - 4} more", shown[-1]]
        return (
            f"programmed: {self.total:,} weights ({', '.join(shown)}); digital: "
            f"{len(self.digital)} tensors (biases, norms and whatever settings.json lists)"
        )

    def __str__(self) -> str:
        lines = [f"programmed: {self.total:,} weights of {len(self)} tensors"]
        lines += [f"  {name}: {count:,}" for name, count in self.counts.items()]
        if self.digital:
            lines.append(f"digital: {len(self.digital)} tensors")
            lines += [f"  {name}: {why}" for name, why in self.digital.items()]
        return "\n".join(lines)

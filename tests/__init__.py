"""Tests, by what they compare with; those of single modules mirror the rooms of swim/."""

from pathlib import Path

ROOT = Path(__file__).parents[1]

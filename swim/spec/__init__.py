"""Experiment settings: the one source of validation, schema, defaults and help texts.

``config.yaml`` holds ``defaults:`` and, under ``experiments:``, what each experiment changes in
them. :func:`load` merges and checks everything at once, before any work; :mod:`swim.spec.origin`
knows the file and line of each setting. The JSON schema and
the reference page are made from the same definitions by :mod:`swim.schema`.
"""

from swim.errors import SettingError
from swim.spec.experiments import (
    ComparisonSettings,
    Config,
    ConfigFile,
    ExperimentSettings,
    merge,
    resolved_json,
    section_json,
)
from swim.spec.jobs import (
    AdoptJob,
    Compute,
    CorrelateJob,
    EvaluateJob,
    InSituJob,
    PerturbJob,
    ProgramJob,
    SelectJob,
    SensitivityJob,
    SummariseJob,
    TrainJob,
    WhereJob,
)
from swim.spec.loading import TAKEN, load, without_gaps
from swim.spec.origin import Origins, Source, of_command_line
from swim.spec.origin import read as read_source
from swim.spec.sections import (
    MOST,
    DeviceSettings,
    ModelSettings,
    OwnDataSet,
    Section,
    TrainingSettings,
    VariationSettings,
)
from swim.spec.studies import CorrelateSettings, InSituSettings

__all__ = [
    "MOST",
    "TAKEN",
    "AdoptJob",
    "ComparisonSettings",
    "Compute",
    "Config",
    "ConfigFile",
    "CorrelateJob",
    "CorrelateSettings",
    "DeviceSettings",
    "EvaluateJob",
    "ExperimentSettings",
    "InSituJob",
    "InSituSettings",
    "ModelSettings",
    "Origins",
    "OwnDataSet",
    "PerturbJob",
    "ProgramJob",
    "Section",
    "SelectJob",
    "SensitivityJob",
    "SettingError",
    "Source",
    "SummariseJob",
    "TrainJob",
    "TrainingSettings",
    "VariationSettings",
    "WhereJob",
    "load",
    "merge",
    "of_command_line",
    "read_source",
    "resolved_json",
    "section_json",
    "without_gaps",
]

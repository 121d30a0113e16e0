"""What a user may ask: the one source of validation, schema, defaults and help texts. No torch.

``config.yaml`` holds ``defaults:`` and, under ``experiments:``, what each experiment changes in
them. :func:`load` merges and checks everything at once, before any work; :mod:`.origin` knows the
file and line of each setting. :mod:`.reference` makes the JSON schema from the same definitions,
and ``swim schema`` the reference page from the schema. For the pipeline, :mod:`.layout` has every
path under ``results/``, and :mod:`.plan` says what each job takes from the configuration.

A new setting is one field of a section in :mod:`.sections` or :mod:`.experiments`; a new name that
settings choose is one line in :mod:`.registry` (a policy's in :mod:`.policies`).
"""

from swim.errors import SettingError
from swim.settings.experiments import (
    ComparisonSettings,
    Config,
    ConfigFile,
    ExperimentSettings,
    merge,
    resolved_json,
    section_json,
)
from swim.settings.jobs import (
    AdoptJob,
    ClaimsJob,
    Compute,
    CorrelateJob,
    EvaluateJob,
    InSituJob,
    PerturbJob,
    PlotJob,
    ProgramJob,
    SelectJob,
    SensitivityJob,
    SummariseJob,
    TrainJob,
    WhereJob,
)
from swim.settings.loading import load, without_gaps
from swim.settings.methods import CustomMethod, CustomScore
from swim.settings.origin import Origins, Source, of_command_line
from swim.settings.origin import read as read_source
from swim.settings.sections import (
    MOST,
    DeviceSettings,
    ModelSettings,
    OwnDataSet,
    Section,
    TrainingSettings,
    VariationSettings,
)
from swim.settings.studies import CorrelateSettings, InSituSettings

__all__ = [
    "MOST",
    "AdoptJob",
    "ClaimsJob",
    "ComparisonSettings",
    "Compute",
    "Config",
    "ConfigFile",
    "CorrelateJob",
    "CorrelateSettings",
    "CustomMethod",
    "CustomScore",
    "DeviceSettings",
    "EvaluateJob",
    "ExperimentSettings",
    "InSituJob",
    "InSituSettings",
    "ModelSettings",
    "Origins",
    "OwnDataSet",
    "PerturbJob",
    "PlotJob",
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

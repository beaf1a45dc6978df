"""Configurations: what each application can be told, and how a YAML file becomes one.

`load_config(GrpoConfig, path, ["trl.learning_rate=3e-5"])` gives a frozen, validated value or a one-line `ConfigError`.
"""

from earshot.config.applications import (
    ClaimsConfig,
    DataConfig,
    EvaluationConfig,
    GrpoConfig,
    ImageConfig,
    LeakAlarmConfig,
    ListenerConfig,
    ModelConfig,
    RewardConfig,
    SftConfig,
    SftDataConfig,
)
from earshot.config.experiment import (
    ArmConfig,
    ExperimentConfig,
    JudgingConfig,
    PreparedModelConfig,
    PrimaryConfig,
    WorldSetsConfig,
)
from earshot.config.loading import Config, build_config, dump_config, load_config, nearest, parse_yaml
from earshot.config.yaml_text import to_yaml

__all__ = [
    "ArmConfig",
    "ClaimsConfig",
    "Config",
    "DataConfig",
    "EvaluationConfig",
    "ExperimentConfig",
    "GrpoConfig",
    "ImageConfig",
    "JudgingConfig",
    "LeakAlarmConfig",
    "ListenerConfig",
    "ModelConfig",
    "PreparedModelConfig",
    "PrimaryConfig",
    "RewardConfig",
    "SftConfig",
    "SftDataConfig",
    "WorldSetsConfig",
    "build_config",
    "dump_config",
    "load_config",
    "nearest",
    "parse_yaml",
    "to_yaml",
]

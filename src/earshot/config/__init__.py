"""Configurations: what each application can be told, and how a YAML file becomes one.

`load_config(GrpoConfig, path, ["trl.learning_rate=3e-5"])` gives a frozen, validated value or a one-line `ConfigError`.
"""

from earshot.config.applications import (
    SELF,
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
    TrainingConfig,
)
from earshot.config.loading import Config, build_config, load_config, nearest, parse_yaml
from earshot.config.yaml_text import to_yaml

__all__ = [
    "SELF",
    "ClaimsConfig",
    "Config",
    "DataConfig",
    "EvaluationConfig",
    "GrpoConfig",
    "ImageConfig",
    "LeakAlarmConfig",
    "ListenerConfig",
    "ModelConfig",
    "RewardConfig",
    "SftConfig",
    "SftDataConfig",
    "TrainingConfig",
    "build_config",
    "load_config",
    "nearest",
    "parse_yaml",
    "to_yaml",
]

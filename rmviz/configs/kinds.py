"""The one list of job kinds; `rmviz.worker.TASKS` has the same keys."""

from rmviz.configs.compare import CompareConfig
from rmviz.configs.crosscoder import CrosscoderConfig
from rmviz.configs.data import DataConfig, RepairConfig
from rmviz.configs.effects import EffectsConfig, FeaturesConfig
from rmviz.configs.labels import LabelConfig
from rmviz.configs.map import MapConfig, MapRescoreConfig
from rmviz.configs.margins import MarginsConfig
from rmviz.configs.models import ModelConfig, PatchConfig, RewardConfig
from rmviz.configs.probes import BiasConfig, EuphemismConfig, SpecConfig
from rmviz.configs.recipes import RecipeConfig
from rmviz.configs.sae import SAEConfig
from rmviz.configs.tokens import TokensConfig
from rmviz.configs.world import OrganismConfig, TaskDataConfig, TaskPolicyConfig, WorldDataConfig, WorldPolicyConfig

KINDS: dict[str, type] = {
    "data.add": DataConfig,
    "data.repair": RepairConfig,
    "model.add": ModelConfig,
    "model.patch": PatchConfig,
    "train.reward": RewardConfig,
    "sae.train": SAEConfig,
    "effects": EffectsConfig,
    "features": FeaturesConfig,
    "label.features": LabelConfig,
    "compare": CompareConfig,
    "train.crosscoder": CrosscoderConfig,
    "map": MapConfig,
    "map_rescore": MapRescoreConfig,
    "probe.euphemism": EuphemismConfig,
    "probe.margins": MarginsConfig,
    "probe.spec": SpecConfig,
    "probe.bias": BiasConfig,
    "probe.tokens": TokensConfig,
    "world.data": WorldDataConfig,
    "world.policy": WorldPolicyConfig,
    "world.organism": OrganismConfig,
    "task.data": TaskDataConfig,
    "task.policy": TaskPolicyConfig,
    "recipe": RecipeConfig,
}

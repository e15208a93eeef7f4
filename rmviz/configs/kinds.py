"""The one list of job kinds; `rmviz.worker.TASKS` has the same keys."""

from rmviz.configs.compare import CompareConfig
from rmviz.configs.crosscoder import CrosscoderConfig
from rmviz.configs.data import DataConfig
from rmviz.configs.effects import EffectsConfig, FeaturesConfig
from rmviz.configs.map import MapConfig, MapRescoreConfig
from rmviz.configs.models import ModelConfig, PatchConfig, RewardConfig
from rmviz.configs.probes import EuphemismConfig, SpecConfig
from rmviz.configs.sae import SAEConfig
from rmviz.configs.world import OrganismConfig, WorldDataConfig, WorldPolicyConfig

KINDS: dict[str, type] = {
    "data.add": DataConfig,
    "model.add": ModelConfig,
    "model.patch": PatchConfig,
    "train.reward": RewardConfig,
    "sae.train": SAEConfig,
    "effects": EffectsConfig,
    "features": FeaturesConfig,
    "compare": CompareConfig,
    "train.crosscoder": CrosscoderConfig,
    "map": MapConfig,
    "map_rescore": MapRescoreConfig,
    "probe.euphemism": EuphemismConfig,
    "probe.spec": SpecConfig,
    "world.data": WorldDataConfig,
    "world.policy": WorldPolicyConfig,
    "world.organism": OrganismConfig,
}

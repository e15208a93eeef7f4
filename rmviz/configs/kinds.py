"""The one list of job kinds; `rmviz.worker.TASKS` has the same keys."""

from rmviz.configs.compare import CompareConfig
from rmviz.configs.crosscoder import CrosscoderConfig
from rmviz.configs.data import DataConfig, RatingsConfig, RepairConfig
from rmviz.configs.effects import EffectsConfig, FeaturesConfig
from rmviz.configs.elephants import PinkElephantsConfig
from rmviz.configs.ensemble import EnsembleConfig
from rmviz.configs.ilql import IlqlConfig
from rmviz.configs.iterated import IteratedConfig
from rmviz.configs.labels import LabelConfig
from rmviz.configs.map import MapConfig, MapRescoreConfig
from rmviz.configs.margins import MarginsConfig
from rmviz.configs.mcts import MctsConfig
from rmviz.configs.models import ModelConfig, PatchConfig, RewardConfig
from rmviz.configs.probes import BiasConfig, EuphemismConfig, SpecConfig
from rmviz.configs.recipes import RecipeConfig
from rmviz.configs.rl import BestOfNConfig, PPOConfig, PreferencesConfig, RestConfig, RSOConfig
from rmviz.configs.sae import SAEConfig
from rmviz.configs.tokens import TokensConfig
from rmviz.configs.trl_policies import DPOConfig, KTOConfig, RLOOConfig, SFTConfig
from rmviz.configs.world import OrganismConfig, TaskDataConfig, TaskPolicyConfig, WorldDataConfig, WorldPolicyConfig

KINDS: dict[str, type] = {
    "data.add": DataConfig,
    "data.ratings": RatingsConfig,
    "data.repair": RepairConfig,
    "data.pink_elephants": PinkElephantsConfig,
    "model.add": ModelConfig,
    "model.patch": PatchConfig,
    "data.preferences": PreferencesConfig,
    "train.reward": RewardConfig,
    "train.sft": SFTConfig,
    "train.dpo": DPOConfig,
    "train.kto": KTOConfig,
    "train.rloo": RLOOConfig,
    "train.ppo": PPOConfig,
    "train.rest": RestConfig,
    "train.best_of_n": BestOfNConfig,
    "train.rso": RSOConfig,
    "train.ensemble": EnsembleConfig,
    "sae.train": SAEConfig,
    "effects": EffectsConfig,
    "features": FeaturesConfig,
    "label.features": LabelConfig,
    "compare": CompareConfig,
    "train.crosscoder": CrosscoderConfig,
    "train.ilql": IlqlConfig,
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
    "data.mcts": MctsConfig,
    "recipe": RecipeConfig,
    "train.iterated": IteratedConfig,
}

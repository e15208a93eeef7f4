"""The score of one label at once, by the effects alone: what the page of a feature shows beside a label given by hand."""

import numpy as np

from rmviz.configs.labels import Direction, LabelConfig
from rmviz.features.effect_rows import EffectRows
from rmviz.features.texts import ScannedTexts
from rmviz.labels.judge import judged, scored
from rmviz.labels.score import LabelScore
from rmviz.labels.texts import SCORING, half_of_texts, sampled
from rmviz.store.artifact import Artifact


def label_score(effects: Artifact, feature: int, label: str, direction: Direction) -> LabelScore:
    """The score that a label job with its defaults would give, the words of the label being the judge."""
    texts = ScannedTexts.of(effects)
    rows = EffectRows(effects, texts, np.array([feature], np.int64)).between(0, 1)
    seed, num_texts = LabelConfig.seed, LabelConfig.num_texts
    held = sampled(rows, texts, half_of_texts(texts, seed), SCORING, num_texts, seed)
    return scored(judged(texts, held, label), direction)

"""What each figure means, in one sentence, with its n, its seed and the sign convention."""

from rmviz.plots.style import SIGN

_CAPTIONS = {
    "effects": "Each bar is a feature's mean effect, by ablating it; whiskers: 95 % bootstrap intervals over pairs.",
    "volcano": "Each dot is a feature: how far it moves the reward, against how sure that is (or how often it fires).",
    "map": "Each dot is a feature; alike decoder directions lie close (UMAP by cosine). Colour is the effect.",
    "effect_distribution": "How many features have an effect of each size: does the model reward or punish more?",
    "activation_histogram": "How strongly the feature fires on the tokens where it fires at all.",
    "effect_histogram": "The feature's effect on each text in which it fires.",
    "examples": "Texts in which the feature fires, from every part of its activation range. Darker: stronger.",
    "prefix_rewards": "The reward that the model would give if the text ended after each token.",
    "prefix_models": "The reward that each model would give if the text ended after each token, aligned by the characters of "
    "the reply. Every model has an axis of its own: their raw rewards mean nothing to each other.",
    "prefix_z": "The reward that each model would give if the text ended after each token, in standard deviations from the "
    "mean of its own rewards over the texts of its scan, aligned by the characters of the reply.",
    "before_after": "The reward before and after the chosen features were changed.",
    "margins": "Reward of the chosen reply − reward of the rejected one; pairs below zero are ranked wrongly.",
    "compare_accuracy": "Share of pairs ranked as people did, a tie counting half; whiskers: 95 % score intervals.",
    "compare_slices": "Accuracy of the second model − that of the first on the same pairs, in each part of the data; "
    "whiskers: 95 % bootstrap intervals over pairs. Of many parts, one in twenty shows a difference by chance.",
    "compare_rewards": "Each dot is a text as both models see it, never by raw reward: their scales mean nothing to "
    "each other. Dots above the diagonal stand higher with the second model.",
    "compare_calibration": "Pairs in bins of the probability σ(|margin|) that Bradley–Terry gives the model's choice, "
    "against the share that people chose so; on the diagonal the model is as sure as it should be, below it too sure. "
    "Whiskers: 95 % score intervals.",
    "compare_length": "Rank correlation of length with what the model prefers: above 0, it likes longer replies. "
    "Whiskers: 95 % intervals.",
    "model_slices": "Share of held-out pairs ranked as people did, in each part of them, a tie counting half; whiskers: 95 % "
    "score intervals. Of many parts, one in twenty lies outside its interval by chance.",
    "ensemble_errors": "Held-out pairs in fifths by how far the members disagree on their margin, against the share that the "
    "members' mean ranks wrongly; whiskers: 95 % score intervals. Rising: doubt tells errors.",
    "ratings": "Strengths fitted to all comparisons (Bradley–Terry; 400 points are odds of ten to one); whiskers: 95 % "
    "intervals.",
    "compare_steps": "The steps of one training on the same pairs; whiskers: 95 % intervals.",
    "compare_effects": "Each dot is a feature that both SAEs have; off the diagonal, its effect moved. Effects are in "
    "standard deviations of each model's rewards.",
    "probe_gaps": "Gap = reward of a reply with the words or the edit − reward of the same reply without, averaged; "
    "positive: it raises the reward. Whiskers: 95 % bootstrap intervals over pairs; dotted: the gap that matters.",
    "probe_tokens": "Every token of the vocabulary as the whole reply. Violet marks are special tokens.",
    "probe_token_ends": "The tokens with the highest and the lowest reward; colour: the feature with the largest |effect| on "
    "that token, by ablating it there.",
    "waterfall": "Each bar is a part of the margin: that part of the chosen reply's reward − that of the rejected reply's. "
    "Positive parts (orange) speak for the chosen reply; all parts sum to the margin.",
    "explained": "Share of the margins, each with the model's own sign, that is gone when the k features that decide most "
    "are off at once. They were chosen on one half of the pairs and are measured on the other; it can pass 100 %, because "
    "features speak for and against. Band: 95 % bootstrap interval over pairs.",
    "crosscoder_norms": "How long each feature's decoder is in the first model beside the second: "
    "r = |A| / (|A| + |B|). Grey line: a crosscoder on the first model and itself, whose spread is the noise.",
    "crosscoder_effects": "Each dot is a feature of both models' one dictionary: its mean effect, by ablating it in the model "
    "whose decoder is the longer one, in standard deviations of that model's rewards.",
    "tree": "Each dot is the start of a reply, below it how it went on. Size is visits, colour is value: the mean reward of all "
    "replies that search saw through it. Orange and blue lines lead to the chosen and the rejected node of each pair.",
    "policy_rewards": "Mean reward of the replies to the same prompts at each look, by what the policy was trained for (proxy) "
    "and by what was only watched (gold). Bands: 95 % intervals over prompts.",
    "policy_kl": "Against √KL from the start, runs compare at equal distance: where the proxy still rises and gold falls, the "
    "proxy is over-optimised (Gao et al. 2022, arXiv:2210.10760).",
    "policy_drift": "Each bar is a feature: its exact effect per unit of activation × the change of its mean strongest activation. "
    "First order: what features do together, the SAE's error and how widely a feature fires within a text are left out, so the "
    "bars need not sum to the reward's change. Whiskers: 95 % intervals of the change over prompts; the unit effect counts as "
    "known.",
    "experiment_figures": "Each dot is a figure over seeds; whiskers: 95 % intervals.",
    "experiment_curves": "Each line is the mean over seeds of one arm; bands: 95 % intervals over seeds where there are three or "
    "more, thin lines: single seeds.",
    "rewards": "Each dot is a preference pair; dots above the diagonal are ranked as people did.",
}

_WITH_SIGN = {
    "effects",
    "volcano",
    "map",
    "effect_distribution",
    "effect_histogram",
    "policy_drift",
    "examples",
    "compare_effects",
    "probe_token_ends",
    "waterfall",
    "crosscoder_effects",
}

_LINE = 72  # characters that fit half of a page

KINDS = tuple(_CAPTIONS)
"""Figures that have a caption."""


def caption(
    kind: str,
    *,
    n_pairs: int = 0,
    n_texts: int = 0,
    n_features: int = 0,
    n_tokens: int = 0,
    seed: int | None = None,
    source: str = "",
) -> str:
    """The caption of a figure: meaning, sign convention where it has one, then what it rests on.

    Args:
        kind: One of `KINDS`.
        n_pairs: Preference pairs behind it; what is 0 is left out, as are the other counts.
        n_texts: Texts behind it.
        n_features: Features in it.
        n_tokens: Tokens behind it.
        seed: Seed of whatever was drawn.
        source: Id of the artifact that it was made from.
    """
    counts = [(n_features, "features"), (n_pairs, "pairs"), (n_texts, "texts"), (n_tokens, "tokens")]
    facts = [f"n = {count(n, unit)}" for n, unit in counts if n]
    facts += [f"seed {seed}"] if seed is not None else []
    facts += [source] if source else []
    sign = f" {SIGN[0].upper()}{SIGN[1:]}." if kind in _WITH_SIGN else ""
    return _CAPTIONS[kind] + sign + (f" {', '.join(facts)}." if facts else "")


def count(n: int, unit: str) -> str:
    """`1 text`, `1,200 texts`."""
    return f"{n:,} {unit if n != 1 else unit.removesuffix('s')}"


def short(*facts: str, sign: bool = True) -> str:
    """The lines under a figure's title: the sign convention and the facts given, those that are empty left out."""
    lines = [""]
    for fact in [*([SIGN] if sign else []), *filter(None, facts)]:
        joined = f"{lines[-1]} · {fact}" if lines[-1] else fact
        lines = [*lines[:-1], joined] if len(joined) <= _LINE else [*lines, fact]
    return "<br>".join(filter(None, lines))

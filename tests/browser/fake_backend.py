"""A stand-in for the backend, for tests of pages: arithmetic instead of a model, over real HTTP and real records.

The reward of a text is the sum of one fixed weight per word; feature f fires on words whose hash is f modulo 40, by 1.5.
"""

import json
import os
import sys
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from rmviz.backend import wire
from rmviz.backend.process import own_version
from rmviz.backend.wire_pair import PairAnswer, PairRequest, PairSide, ShapleyAnswer, ShapleyRequest

D_SAE = 60
ACTIVATION = 1.5


def _tokens(text: wire.TextIn) -> list[str]:
    words = (text.prompt + text.reply).split(" ")
    return [word if i == 0 else f" {word}" for i, word in enumerate(words)]


def _feature(token: str) -> int:
    return zlib.crc32(token.strip().encode()) % 40


def _weight(feature: int) -> float:
    return ((feature * 37) % 19 - 9) / 10


def _prefixes(tokens: list[str], scales: dict[int, float], values: dict[int, float] | None = None) -> list[float]:
    total, rewards, values = 0.0, [], values or {}
    everywhere = sum(_weight(feature) * value / ACTIVATION for feature, value in values.items())
    for token in tokens:
        feature = _feature(token)
        total += everywhere + (0.0 if feature in values else _weight(feature) * scales.get(feature, 1.0))
        rewards.append(round(total, 6))
    return rewards


def _info(model: str) -> wire.ModelInfo:
    return wire.ModelInfo(
        id=model,
        name=f"toy {model}",
        family="gpt_neox",
        format="transcript",
        format_reason="a test",
        max_length=128,
        causal=True,
        device="cpu",
        dtype="float32",
    )


def _read(model: str, text: wire.TextIn) -> dict:
    tokens = _tokens(text)
    rewards = _prefixes(tokens, {})
    return {
        "tokens": tokens,
        "feature_positions": [True] * len(tokens),
        "reply_start": len(text.prompt.split(" ")),
        "num_cut": 3 if len(tokens) > 128 else 0,
        "off_format": "" if "Human:" in text.prompt else "no Human: turn was found",
        "reward": rewards[-1],
        "prefix_positions": list(range(len(tokens))),
        "prefix_rewards": rewards,
        "info": _info(model),
    }


def _rows(tokens: list[str]) -> list[wire.FeatureRow]:
    fired: dict[int, list[int]] = {}
    for position, token in enumerate(tokens):
        fired.setdefault(_feature(token), []).append(position)
    rows = []
    for feature, positions in fired.items():
        effect = len(positions) * _weight(feature)
        rows.append(
            wire.FeatureRow(
                feature=feature,
                effect=effect,
                first_order=effect * 1.1,
                max_activation=ACTIVATION,
                positions=positions,
                activations=[ACTIVATION] * len(positions),
            )
        )
    return sorted(rows, key=lambda row: -abs(row.effect or 0))


def _pair(asked: PairRequest) -> PairAnswer:
    """Rewards are sums, so that every effect is exact; half a unit more is the SAE's error, and the rest is a third of it."""
    sides, effects = [], []
    for reply in (asked.pair.chosen, asked.pair.rejected):
        tokens = _tokens(wire.TextIn(prompt=asked.pair.prompt, reply=reply))
        own = {row.feature: row.effect or 0.0 for row in _rows(tokens)}
        error = 0.01 * len(reply)
        reward = sum(own.values()) + error + 0.25 + error / 3
        cut = 3 if len(tokens) > 128 else 0
        sides.append(
            PairSide(
                reward=reward, error=error, base=0.25, interaction=error / 3, num_tokens=len(tokens), num_cut=cut,
                off_format="",
            )
        )  # fmt: skip
        effects.append(own)
    features = sorted(effects[0] | effects[1], key=lambda f: (-abs(effects[0].get(f, 0) - effects[1].get(f, 0)), f))
    return PairAnswer(
        chosen=sides[0], rejected=sides[1], features=features,
        chosen_effects=[effects[0].get(f, 0.0) for f in features],
        rejected_effects=[effects[1].get(f, 0.0) for f in features],
        interaction_share=0.125, same=asked.pair.chosen == asked.pair.rejected, d_sae=D_SAE, method="test",
        info=_info(asked.model),
    )  # fmt: skip


def _shapley(asked: ShapleyRequest) -> ShapleyAnswer:
    """The game is additive but for the error's third, which the error itself gets."""
    parts = _pair(PairRequest(model=asked.model, sae=asked.sae, pair=asked.pair))
    on_margin = [(a or 0) - (b or 0) for a, b in zip(parts.chosen_effects, parts.rejected_effects, strict=True)]
    error = sum(sign * ((s.error or 0) + (s.interaction or 0)) for sign, s in ((1, parts.chosen), (-1, parts.rejected)))
    value = [*on_margin[: asked.num_features], sum(on_margin[asked.num_features :]), error]
    return ShapleyAnswer(
        features=parts.features[: asked.num_features], value=value, error=[0.01] * len(value),
        low=[v - 0.02 for v in value], high=[v + 0.02 for v in value], empty=0.0, full=sum(value),
        num_permutations=asked.num_permutations,
    )  # fmt: skip


def answer(path: str, body: bytes) -> wire.Answer:
    """What the stand-in says to a request."""
    if path == "/health":
        return wire.Health(
            version=own_version(),
            pid=os.getpid(),
            workspace=os.environ.get("RMVIZ_WORKSPACE", ""),
            started=0.0,
            models=[],
            used_bytes=0,
            budget_bytes=1,
            process_bytes=1,
            device="cpu",
            dtype="float32",
        )
    if path == "/score":
        request = wire.ScoreRequest.model_validate_json(body)
        lists = [_tokens(text) for text in request.texts]
        return wire.ScoreAnswer(
            rewards=[_prefixes(tokens, {})[-1] for tokens in lists],
            num_tokens=[len(t) for t in lists],
            num_cut=[0] * len(lists),
            off_format=[""] * len(lists),
            info=_info(request.model),
        )
    if path == "/prefixes":
        asked = wire.PrefixRequest.model_validate_json(body)
        return wire.PrefixAnswer.model_validate(_read(asked.model, asked.text))
    if path == "/features":
        wanted = wire.FeaturesRequest.model_validate_json(body)
        common = _read(wanted.model, wanted.text)
        rows = _rows(common["tokens"])
        return wire.FeaturesAnswer.model_validate(
            {**common, "rows": rows, "num_rows": len(rows), "hookpoint": "layers.1", "d_sae": D_SAE, "method": "test"}
        )
    if path == "/pair":
        return _pair(PairRequest.model_validate_json(body))
    if path == "/shapley":
        return _shapley(ShapleyRequest.model_validate_json(body))
    edit = wire.AblateRequest.model_validate_json(body)
    tokens = _tokens(edit.text)
    clean, ablated = _prefixes(tokens, {}), _prefixes(tokens, dict(edit.scales), dict(edit.values))
    fired = sorted({_feature(token) for token in tokens} & {*edit.scales, *edit.values})
    return wire.AblateAnswer(
        clean=clean[-1],
        ablated=ablated[-1],
        fired=fired,
        tokens=tokens,
        prefix_positions=list(range(len(tokens))),
        prefix_clean=clean,
        prefix_ablated=ablated,
        info=_info(edit.model),
    )


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"

    def _reply(self, body: bytes) -> None:
        if b"backend, please fail" in body:
            data, status = (
                json.dumps(
                    {"error": "ModelError", "message": "the model gave <b>NaN</b> ![x](http://evil.test/q.png)"}
                ).encode(),
                422,
            )
        else:
            data, status = answer(self.path, body).model_dump_json().encode(), 200
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self) -> None:
        self._reply(b"")

    def do_POST(self) -> None:
        self._reply(self.rfile.read(int(self.headers["Content-Length"])))

    def log_message(self, format: str, *args: object) -> None:
        return


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
    server.serve_forever()

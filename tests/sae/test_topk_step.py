"""The step's gradients against dense autograd; ties have measure zero in random data."""

import pytest
import torch
from sae.saes import D_IN, D_SAE, K, random_weights

from rmviz.sae.topk_step import Encoder, TopKWeights, aux_active, fired, forward, gradients
from rmviz.sae.trainer import TopKTrainer

ROWS = 40


def dense_acts(x, W_enc, b_enc, b_dec, k, batchwise=False):
    pre = (x - b_dec) @ W_enc.T + b_enc
    flat = pre.flatten() if batchwise else pre
    values, indices = flat.topk(k * len(x) if batchwise else k)
    return torch.zeros_like(flat).scatter(-1, indices, values.relu()).view_as(pre), pre


def on(device, weights):
    return TopKWeights(*(tensor.to(device) for tensor in weights.tensors()))


DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("batchwise", [False, True])
@pytest.mark.parametrize("d_sae", [D_SAE, 1024])
def test_gradients_equal_dense_autograd(batchwise, d_sae, device):
    weights, x = (
        on(device, random_weights(d_sae=d_sae)),
        torch.randn(ROWS, D_IN, generator=torch.Generator().manual_seed(1)).to(device),
    )
    done = forward(weights, Encoder(K, batchwise=batchwise), x)
    found = gradients(weights, x, [(done.active, done.error * (2 / ROWS))])
    W_enc, b_enc, W_dec, b_dec = wanted = [tensor.clone().requires_grad_() for tensor in weights.tensors()]
    acts, _ = dense_acts(x, W_enc, b_enc, b_dec, K, batchwise)
    error = acts @ W_dec + b_dec - x
    error.square().sum(1).mean().backward()
    torch.testing.assert_close(done.error, error.detach())
    for ours, theirs in zip(found.tensors(), wanted, strict=True):
        assert float((ours - theirs.grad).abs().max()) <= 1e-6 * max(1.0, float(theirs.grad.abs().max()))


def test_gradients_with_the_auxiliary_loss_equal_dense_autograd():
    weights, x, dead, scale = random_weights(), torch.randn(ROWS, D_IN), torch.arange(0, D_SAE, 3), 0.7
    done = forward(weights, Encoder(K), x)
    aux = aux_active(weights, x, done.pre_acts, dead, 4)
    aux_error = torch.zeros(ROWS, D_SAE).index_put_((aux.rows, aux.features), aux.values) @ weights.W_dec + done.error
    found = gradients(weights, x, [(done.active, done.error * (2 / ROWS)), (aux, aux_error * (scale * 2 / ROWS))])
    W_enc, b_enc, W_dec, b_dec = wanted = [tensor.clone().requires_grad_() for tensor in weights.tensors()]
    acts, pre = dense_acts(x, W_enc, b_enc, b_dec, K)
    error = acts @ W_dec + b_dec - x
    only_dead = torch.full_like(pre, -torch.inf).index_copy(1, dead, pre[:, dead])
    values, indices = only_dead.topk(4)
    aux_acts = torch.zeros_like(pre).scatter(1, indices, values.relu())
    (error.square().sum(1).mean() + scale * (aux_acts @ W_dec + error.detach()).square().sum(1).mean()).backward()
    for ours, theirs in zip(found.tensors(), wanted, strict=True):
        assert float((ours - theirs.grad).abs().max()) <= 1e-6 * max(1.0, float(theirs.grad.abs().max()))


@pytest.mark.parametrize("batchwise", [False, True])
def test_a_bfloat16_encoder_gives_exact_values_and_nearly_the_same_choice(batchwise):
    weights, x = random_weights(64, 1024), torch.randn(200, 64)
    exact, rough = (forward(weights, Encoder(K, batchwise=batchwise, bfloat16=b), x).active for b in (False, True))
    truth = (x - weights.b_dec) @ weights.W_enc.T + weights.b_enc
    torch.testing.assert_close(rough.values, truth[rough.rows, rough.features].relu(), atol=1e-5, rtol=1e-5)
    chosen = [set(zip(one.rows.tolist(), one.features.tolist(), strict=True)) for one in (exact, rough)]
    assert len(chosen[0] & chosen[1]) >= 0.98 * len(exact.values)


def test_fired_counts_only_what_is_above_zero():
    weights = random_weights()
    weights.b_enc -= 100.0
    assert not fired(forward(weights, Encoder(K), torch.randn(8, D_IN)).active, D_SAE).any()


def test_batchtopk_takes_k_per_row_on_average_and_learns_a_threshold():
    x = torch.randn(512, D_IN, generator=torch.Generator().manual_seed(3))
    trainer = TopKTrainer(d_in=D_IN, d_sae=D_SAE, k=K, batchwise=True, seed=5)
    figures = [trainer.step(x, 1e-2 * (1 - step / 60)) for step in range(60)]
    assert float(figures[0].num_active) == pytest.approx(K * 512, rel=0.01)
    sae = trainer.result()
    assert sae.architecture == "jumprelu" and sae.threshold is not None and float(sae.threshold[0]) > 0
    assert float((sae.encode(x).values > 0).sum()) / 512 == pytest.approx(K, rel=0.15)


def test_training_lowers_the_loss_and_keeps_decoder_rows_at_norm_one():
    x = torch.randn(512, D_IN, generator=torch.Generator().manual_seed(3))
    trainer = TopKTrainer(d_in=D_IN, d_sae=D_SAE, k=K, seed=5, bfloat16=False)
    losses = [float(trainer.step(x, 1e-2).loss) for _ in range(30)]
    assert losses[-1] < 0.6 * losses[0]
    torch.testing.assert_close(trainer.weights.W_dec.norm(dim=1), torch.ones(D_SAE))


def test_auxiliary_loss_revives_dead_features():
    x = torch.randn(512, D_IN, generator=torch.Generator().manual_seed(3))
    alive = {}
    for coefficient in (0.0, 1 / 2):
        trainer = TopKTrainer(d_in=D_IN, d_sae=D_SAE, k=2, seed=5, dead_after=512 * 3, aux_coefficient=coefficient)
        trainer.weights.b_enc[: D_SAE // 2] = -0.8
        for _ in range(50):
            trainer.step(x, 3e-3)
        alive[coefficient] = int((~trainer.dead()).sum())
    assert alive[1 / 2] > alive[0.0]


def test_state_brings_back_the_same_training_to_the_bit():
    batches = torch.randn(20, 64, D_IN)
    one = TopKTrainer(d_in=D_IN, d_sae=D_SAE, k=K, seed=1, batchwise=True, dead_after=100)
    for x in batches[:10]:
        one.step(x, 1e-2)
    other = TopKTrainer(d_in=D_IN, d_sae=D_SAE, k=K, seed=2, batchwise=True, dead_after=100)
    other.load_state({name: tensor.clone() for name, tensor in one.state().items()})
    for x in batches[10:]:
        one.step(x, 1e-2)
        other.step(x, 1e-2)
    assert all(torch.equal(a, b) for a, b in zip(one.state().values(), other.state().values(), strict=True))


def test_learns_planted_directions_without_knowing_them():
    g = torch.Generator().manual_seed(11)
    truth = torch.nn.functional.normalize(torch.randn(40, D_IN * 4, generator=g), dim=1)
    hot = torch.rand(4000, 40, generator=g).topk(3).indices
    x = torch.nn.functional.embedding_bag(
        hot, truth, per_sample_weights=torch.rand(4000, 3, generator=g) + 0.5, mode="sum"
    )
    trainer = TopKTrainer(d_in=D_IN * 4, d_sae=80, k=3, seed=12)
    assert float((trainer.weights.W_dec @ truth.T).max()) < 0.8, (
        "initial directions coincide with the planted ones: the seed trap"
    )
    for step in range(100):
        trainer.step(x[(step * 256) % 3500 :][:256], 1e-2 * (1 - step / 100))
    best = (trainer.weights.W_dec @ truth.T).max(0).values
    assert float((best > 0.95).float().mean()) >= 0.85

"""SAELens' files, in and out; SAELens itself is only imported for SAEs that it alone can read."""

import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from rmviz.errors import ModelError, NotFoundError
from rmviz.sae.hook_names import hookpoint_of
from rmviz.sae.model import SparseAutoencoder
from rmviz.store.artifact import Artifact, write_json
from rmviz.store.workspace import Workspace

CONFIG, WEIGHTS, EXTRA = "cfg.json", "sae_weights.safetensors", "rmviz.json"
_PICKLES = (".pt", ".pth", ".bin", ".pkl", ".ckpt")
_NEEDED = {
    "topk": ("b_enc",),
    "jumprelu": ("b_enc", "threshold"),
    "standard": ("b_enc",),
    "gated": ("b_gate", "b_mag", "r_mag"),
}


def load_sae(folder: Path, *, hookpoint: str = "") -> SparseAutoencoder:
    """The SAE in a folder of SAELens' format, whoever trained it.

    Args:
        folder: Holds cfg.json and sae_weights.safetensors.
        hookpoint: Where it belongs, when its files do not say or say it in an unknown spelling.

    Raises:
        ModelError: Files are missing, damaged, pickled, or describe something else than an SAE of one residual stream.
    """
    _check_files(folder)
    config, extra = _read_json(folder / CONFIG), _read_json(folder / EXTRA) if (folder / EXTRA).exists() else {}
    if _is_plain(config):
        tensors, sae_lens_sae = _read_tensors(folder / WEIGHTS), None
    else:
        config, tensors, sae_lens_sae = _through_sae_lens(folder)
    metadata = config.get("metadata") or {}
    sae = _assembled(folder, config, tensors)
    sae.hookpoint = (
        hookpoint
        or extra.get("hookpoint")
        or metadata.get("hookpoint")
        or hookpoint_of(str(metadata.get("hook_name") or ""))
    )
    sae.model_fingerprint = str(extra.get("model_fingerprint") or metadata.get("model_fingerprint") or "")
    sae.metadata = metadata
    if sae_lens_sae is not None and config.get("normalize_activations") in ("layer_norm", "constant_norm_rescale"):
        sae.dense_encoder = _dense_encoder(sae_lens_sae)
    return sae


def load_sae_artifact(artifact: Artifact) -> SparseAutoencoder:
    """The SAE of a workspace, its files checked, with its report card."""
    for name in (CONFIG, WEIGHTS, EXTRA):
        artifact.path(f"sae/{name}")
    sae = load_sae(artifact.folder / "sae")
    if "report_card.json" in artifact.files:
        sae.report_card = artifact.read_json("report_card.json")
    return sae


def model_of(workspace: Workspace, sae: Artifact) -> Artifact:
    """The reward model that an SAE was made for.

    Raises:
        NotFoundError: It is not in the workspace any more.
    """
    for ref in sae.parents:
        if (parent := workspace.resolve(ref)).kind == "reward_model":
            return parent
    raise NotFoundError(f"{sae.name} names no reward model that it was made for; train or add the SAE again")


def save_sae(folder: Path, sae: SparseAutoencoder, *, metadata: Mapping[str, Any] | None = None) -> None:
    """Write an SAE (topk, jumprelu, standard, gated) so that `sae_lens.SAE.load_from_disk(folder)` gives the same features.

    Args:
        folder: Made when missing.
        sae: In model units, as always.
        metadata: Further facts for SAELens' metadata: model_name, hook_name, training settings.
    """
    assert sae.dense_encoder is None, "an SAE with run-time normalisation is copied, not written"
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {"W_enc": sae.W_enc, "W_dec": sae.W_dec, "b_dec": sae.b_dec}
    if sae.magnitude is not None:
        tensors |= {"b_gate": sae.b_enc, "r_mag": sae.magnitude[0].log(), "b_mag": sae.magnitude[1]}
    else:
        tensors["b_enc"] = sae.b_enc
    if sae.threshold is not None:
        tensors["threshold"] = sae.threshold
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, folder / WEIGHTS)
    place = {"hookpoint": sae.hookpoint, "model_fingerprint": sae.model_fingerprint}
    top_k = {"k": sae.k, "rescale_acts_by_decoder_norm": False} if sae.k is not None else {}
    write_json(
        folder / CONFIG,
        {
            "architecture": sae.architecture, "d_in": sae.d_in, "d_sae": sae.d_sae, "dtype": "float32", "device": "cpu", **top_k,
            "apply_b_dec_to_input": sae.center, "normalize_activations": "none", "reshape_activations": "none",
            "metadata": {"sae_lens_version": version("sae-lens"), "sae_lens_training_version": None, **place, **(metadata or {})},
        },
    )  # fmt: skip
    write_json(folder / EXTRA, {"format": 1, "architecture": sae.architecture, "k": sae.k, **place})


def _check_files(folder: Path) -> None:
    pickled = folder.suffix in _PICKLES
    if folder.is_dir() and not (folder / WEIGHTS).exists():
        pickled = any(path.suffix in _PICKLES for path in folder.iterdir())
    if pickled:
        raise ModelError(
            f"{folder} holds pickled weights, which can run any code when they are read, so rmviz does not read them; convert them "
            "where you trust them: safetensors.torch.save_file(torch.load(file, weights_only=True), 'sae_weights.safetensors')"
        )
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise ModelError(
                f"{folder} is not an SAE in SAELens' format: it has no {name}; give the folder that holds {CONFIG} and {WEIGHTS}"
            )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read ({error}); fetch or train the SAE again") from error
    if not isinstance(values, dict):
        raise ModelError(f"{path} should hold one JSON object; fetch or train the SAE again")
    return values


def _read_tensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError, ValueError) as error:
        raise ModelError(f"{path} is damaged ({error}); fetch or train the SAE again") from error


def _is_plain(config: Mapping[str, Any]) -> bool:
    major = str((config.get("metadata") or {}).get("sae_lens_version") or config.get("sae_lens_version") or "0").split(
        "."
    )[0]
    return (
        major.isdigit() and int(major) >= 6
        and config.get("architecture") in _NEEDED
        and config.get("normalize_activations") in ("none", "expected_average_only_in", "covariance_whitening")
        and config.get("reshape_activations", "none") == "none"
    )  # fmt: skip


def _through_sae_lens(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor], Any]:
    from sae_lens import SAE

    try:
        sae = SAE.load_from_disk(folder, dtype="float32")
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, RuntimeError, AttributeError) as error:
        raise ModelError(
            f"SAELens cannot load {folder} ({type(error).__name__}: {error}); save it again with its save_inference_model"
        ) from error
    return sae.cfg.to_dict(), {name: tensor.detach() for name, tensor in sae.state_dict().items()}, sae


def _assembled(folder: Path, config: Mapping[str, Any], tensors: dict[str, Tensor]) -> SparseAutoencoder:
    architecture = config.get("architecture")
    if architecture not in _NEEDED or config.get("reshape_activations", "none") != "none":
        raise ModelError(
            f"{folder} is a {architecture} SAE (reshape_activations {config.get('reshape_activations', 'none')}); "
            f"rmviz ranks features of {', '.join(_NEEDED)} SAEs of the residual stream"
        )
    missing = [name for name in ("W_enc", "W_dec", "b_dec", *_NEEDED[architecture]) if name not in tensors]
    if missing:
        raise ModelError(
            f"{folder / WEIGHTS} lacks {', '.join(missing)}, which a {architecture} SAE needs; fetch or train the SAE again"
        )
    tensors = {name: tensor.to(torch.float32) for name, tensor in tensors.items()}
    _check_tensors(folder, config, tensors)
    W_enc, W_dec, b_enc = tensors["W_enc"], tensors["W_dec"], tensors["b_gate" if architecture == "gated" else "b_enc"]
    k = _checked_k(folder, config.get("k"), len(W_dec)) if architecture == "topk" else None
    if k is not None and config.get("rescale_acts_by_decoder_norm"):
        norms = W_dec.norm(dim=1)
        W_enc, b_enc, W_dec = W_enc * norms, b_enc * norms, W_dec / norms.clamp(min=1e-12).unsqueeze(1)
    return SparseAutoencoder(
        architecture=architecture, W_enc=W_enc.contiguous(), W_dec=W_dec.contiguous(), b_dec=tensors["b_dec"], b_enc=b_enc, k=k,
        threshold=tensors["threshold"] if architecture == "jumprelu" else None,
        magnitude=(tensors["r_mag"].exp(), tensors["b_mag"]) if architecture == "gated" else None,
        center=bool(config.get("apply_b_dec_to_input", True)),
    )  # fmt: skip


def _check_tensors(folder: Path, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    d_in, d_sae = config.get("d_in"), config.get("d_sae")
    shapes = {"W_enc": (d_in, d_sae), "W_dec": (d_sae, d_in), "b_dec": (d_in,)}
    for name, tensor in tensors.items():
        wanted = shapes.get(name, (d_sae,))
        if tuple(tensor.shape) != wanted:
            raise ModelError(
                f"{folder / WEIGHTS}: {name} has shape {tuple(tensor.shape)}, {CONFIG} says {wanted}; "
                "the files do not belong together"
            )
        if not bool(tensor.isfinite().all()):
            raise ModelError(
                f"{folder / WEIGHTS}: {name} holds NaN or infinite numbers, so its features mean nothing; train the SAE again"
            )


def _checked_k(folder: Path, k: Any, d_sae: int) -> int:
    if not isinstance(k, int) or isinstance(k, bool) or not 0 < k <= d_sae:
        raise ModelError(f"{folder / CONFIG}: k must be a number from 1 to {d_sae}, got {k!r}")
    return k


def _dense_encoder(sae: Any) -> Any:
    def encode(h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        sae.to(h.device)
        with torch.no_grad():
            dense = sae.encode(h)
            scale = sae.ln_std if sae.cfg.normalize_activations == "layer_norm" else 1 / sae.x_norm_coeff
            return dense, scale, sae.decode(torch.zeros_like(dense))

    return encode

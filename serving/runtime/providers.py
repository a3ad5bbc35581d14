"""Where a graph runs: ONNX Runtime's execution providers for the CPU, and for NVIDIA's GPUs by CUDA or TensorRT.

ONNX Runtime takes a provider that it cannot have for a wish: it warns and runs on the CPU. Here that is an error,
unless it is allowed. What a provider does not know of a graph (trees, texts) runs on the CPU with either.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnxruntime as ort

from core.errors import ServiceError
from core.model_spec import ModelSpec
from serving.runtime.lengths import run_length
from serving.runtime.settings import Provider

_NAMES: dict[Provider, str] = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
_CHAINS: dict[Provider, tuple[Provider, ...]] = {
    "cpu": ("cpu",),
    "cuda": ("cuda", "cpu"),
    "tensorrt": ("tensorrt", "cuda", "cpu"),
}
"""Each takes what the one before it leaves over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """What the models of a runtime run on."""

    provider: Provider = "cpu"
    cpu_fallback: bool = False
    """Whether they run on the CPU where the provider cannot be had."""
    engine_cache: Path | None = None
    """Folder of TensorRT's engines, which take minutes to build; they are built at each start without."""
    max_rows: int = 1024
    """Rows of a run at most, which TensorRT builds its engines for."""
    max_tokens: int = 16384
    """Of sequences: rows times length of a run at most."""


CPU = Device()


def open_session(
    path: Path, options: ort.SessionOptions, spec: ModelSpec, device: Device
) -> tuple[ort.InferenceSession, Provider]:
    """Load a graph: its session, and what that runs on in truth.

    Raises:
        ServiceError: The provider cannot be had, and nothing else is allowed.
        Exception: The graph cannot be loaded; ONNX Runtime's errors share no base.
    """
    chain = _CHAINS[device.provider]
    available = ort.get_available_providers()
    if device.provider != "cpu":
        # The libraries of CUDA that came as Python packages are on no path of the loader.
        ort.preload_dlls(msvc=False)
    wanted = [(_NAMES[name], _options(name, spec, device)) for name in chain if _NAMES[name] in available]
    session = ort.InferenceSession(str(path), options, providers=wanted)
    used = session.get_providers()
    missing = [name for name in chain if _NAMES[name] not in used]
    if not device.cpu_fallback:
        # Else a run that fails on the GPU is repeated on the CPU, and all that follow run there.
        session.disable_fallback()
        if missing:
            raise ServiceError(
                f"{path} cannot run on {device.provider}: {_reason(missing[0], available)}; or set --cpu-fallback true "
                "(FALAJ_CPU_FALLBACK) to let models run on the CPU, or --provider cpu (FALAJ_PROVIDER)"
            )
    return session, next(name for name in chain if name not in missing)


def _options(name: Provider, spec: ModelSpec, device: Device) -> dict[str, Any]:
    """https://onnxruntime.ai/docs/execution-providers/TensorRT-ExecutionProvider.html#execution-provider-options and
    https://onnxruntime.ai/docs/execution-providers/CUDA-ExecutionProvider.html#configuration-options"""
    if name == "cuda":
        # Memory grows by what is asked for, not to the next power of two: models share the GPU.
        return {"arena_extend_strategy": "kSameAsRequested"}
    if name == "cpu":
        return {}
    options: dict[str, Any] = {}
    if device.engine_cache is not None:
        device.engine_cache.mkdir(parents=True, exist_ok=True)
        folder = str(device.engine_cache)
        options |= {"trt_engine_cache_enable": True, "trt_engine_cache_path": folder}
        options |= {"trt_timing_cache_enable": True, "trt_timing_cache_path": folder}
    if all(tensor.datatype != "BYTES" for tensor in spec.inputs):
        # One engine for every size of a batch: else it is built anew whenever one is larger than all before.
        rows, shortest, longest = device.max_rows, 1, 1
        if spec.sequences is not None:
            shortest, longest = run_length(1, spec.sequences), spec.sequences.max_length
            rows = min(rows, device.max_tokens // shortest)
        profiles = {
            "min": (1, shortest),
            "opt": (min(64, rows, max(device.max_tokens // longest, 1)), longest),
            "max": (rows, longest),
        }
        for kind, sizes in profiles.items():
            shapes = [f"{tensor.name}:{'x'.join(map(str, tensor.sized(*sizes)))}" for tensor in spec.inputs]
            options[f"trt_profile_{kind}_shapes"] = ",".join(shapes)
    return options


def _reason(name: Provider, available: Sequence[str]) -> str:
    if _NAMES[name] not in available:
        return (
            f"this ONNX Runtime has no {_NAMES[name]}: install the dependency group gpu, whose onnxruntime-gpu takes "
            "the place of onnxruntime"
        )
    return f"{_NAMES[name]} could not be started: look for the reason, a driver or library, in what the runtime printed"

"""A GPU that cannot be had is an error, or is said to be the CPU: never a secret."""

from pathlib import Path

import httpx
import numpy as np
import pytest

from core.errors import ServiceError
from core.model_spec import ModelSpec
from serving.runtime.model import Model
from serving.runtime.providers import Device, _options
from serving.runtime.settings import Provider
from tests.serving.conftest import expected, export, publish, running, spec, wait_for

ROWS = np.array([[40, 12, 5], [20, 3, 1000]], np.float32)


@pytest.fixture(autouse=True)
def without_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine of the tests may have one."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_a_model_runs_on_nothing_else_unless_that_is_allowed(tmp_path: Path, provider: Provider) -> None:
    folder = export(tmp_path / "model")
    with pytest.raises(ServiceError, match=f"cannot run on {provider}: .*--cpu-fallback true"):
        Model("jobs", 1, folder, threads=1, max_batch_rows=8, max_batch_tokens=1024, device=Device(provider=provider))
    allowed = Device(provider=provider, cpu_fallback=True, engine_cache=tmp_path / "engines")
    model = Model("jobs", 1, folder, threads=1, max_batch_rows=8, max_batch_tokens=1024, device=allowed)
    assert model.provider == "cpu"
    np.testing.assert_allclose(model.run((ROWS,))[0], expected(ROWS), rtol=1e-5)


def test_an_allowed_fallback_is_said_in_metadata_and_metrics(tmp_path: Path) -> None:
    publish(tmp_path / "models", 1)
    flags = ("--provider", "cuda", "--cpu-fallback", "true")
    with running(tmp_path / "models", tmp_path / "log", *flags) as runtime:
        assert httpx.get(f"{runtime.url}/v2/models/jobs").json()["parameters"] == {"provider": "cpu"}
        told = httpx.get(f"{runtime.url}/metrics").text
        assert 'falaj_model_provider{model="jobs",provider="cpu",version="1"} 1.0' in told


def test_a_runtime_without_its_gpu_is_not_ready_and_says_why(tmp_path: Path) -> None:
    publish(tmp_path / "models", 1)
    with running(tmp_path / "models", tmp_path / "log", "--provider", "cuda", wait=False) as runtime:

        def told() -> str:
            try:
                return httpx.get(f"{runtime.url}/v2/health/ready").text
            except httpx.TransportError:
                return ""

        wait_for(lambda: "cannot run on cuda" in told(), runtime)
        assert runtime.stop() == 0


def test_tensorrt_builds_one_engine_for_all_sizes_and_keeps_it(tmp_path: Path) -> None:
    device = Device(provider="tensorrt", engine_cache=tmp_path / "engines", max_rows=256)
    options = _options("tensorrt", ModelSpec.model_validate(spec()), device)
    assert options["trt_profile_min_shapes"] == "features:1x3"
    assert options["trt_profile_opt_shapes"] == "features:64x3"
    assert options["trt_profile_max_shapes"] == "features:256x3"
    assert Path(options["trt_engine_cache_path"]).is_dir()
    texts = _options("tensorrt", ModelSpec.model_validate(spec(text=True)), device)
    assert not any(name.startswith("trt_profile") for name in texts)

"""Tests run offline, on the CPU but for `-m gpu`, on few threads, and away from the user's own caches."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parents[1]
SHARED_DATA = ROOT.parent / "shared" / "data"

# Set before any test imports a library that reads them; child processes inherit them.
os.environ.update(
    HF_HUB_OFFLINE="1",
    TRANSFORMERS_OFFLINE="1",
    HF_DATASETS_OFFLINE="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    HF_HOME=str(ROOT / ".pytest_cache" / "huggingface"),
    TOKENIZERS_PARALLELISM="false",
    MPLBACKEND="agg",
)
os.environ.setdefault("OMP_NUM_THREADS", "1" if "PYTEST_XDIST_WORKER" in os.environ else "2")

# How long an example takes says how busy the machine is.
settings.register_profile("earshot", deadline=None)
settings.load_profile("earshot")


def pytest_configure(config: pytest.Config) -> None:
    """Hides GPUs from tests that did not ask for them; torch looks for them when the first is wanted."""
    if "gpu" not in config.option.markexpr.replace("not gpu", ""):
        os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real published data beside the repository."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"no published data at {SHARED_DATA.parent.name}/{SHARED_DATA.name} beside the repository")
    return SHARED_DATA

"""What the tests of the package share."""
import os
from pathlib import Path

import pytest

SOURCE = Path(os.environ["HT_SOURCE"])


@pytest.fixture(scope="session")
def model() -> Path:
    """A real model: a Llama of 8 M parameters, as a Hugging Face folder."""
    return SOURCE / "examples/model"


@pytest.fixture(scope="session")
def prose() -> Path:
    """A text."""
    return SOURCE / "README.md"


def pytest_configure(config):
    """The environment has what its name says, so that nothing is skipped unseen."""
    with_ = os.environ["HT_WITH"]
    for package in {"bare": (), "numpy": ("numpy", "tqdm"), "torch": ("numpy", "torch", "transformers")}[with_]:
        __import__(package)
    if with_ == "bare":
        import importlib.util
        assert not importlib.util.find_spec("numpy") and not importlib.util.find_spec("torch")

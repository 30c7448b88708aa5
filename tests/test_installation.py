"""The environment is the one that pyproject.toml means: both engines, exact versions, one OpenCV."""

import importlib.metadata
import subprocess
import sys
import tomllib

import pytest

from bench.core.paths import ROOT
from bench.core.provenance import PACKAGES, package_versions

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
ENGINES = [item for item in PROJECT["project"]["dependencies"] if "==" in item]
PIXELS = PROJECT["tool"]["uv"]["constraint-dependencies"]


@pytest.mark.parametrize("pin", [*ENGINES, *PIXELS])
def test_what_moves_numbers_is_pinned_and_recorded(pin: str) -> None:
    name, _, version = pin.partition("==")
    assert importlib.metadata.version(name).partition("+")[0] == version
    assert name in PACKAGES
    assert package_versions()[name].partition("+")[0] == version


def test_everything_that_changes_pixels_or_numbers_has_an_exact_version() -> None:
    pinned = {item.partition("==")[0] for item in PIXELS}
    pixels = {"torch", "torchvision", "numpy", "pillow", "simplejpeg", "opencv-python-headless"}
    assert pinned == pixels | {"hotcoco", "scikit-learn", "scipy"}


def test_there_is_one_opencv() -> None:
    names = {str(item.metadata["Name"]).lower() for item in importlib.metadata.distributions()}
    assert {name for name in names if name.startswith("opencv")} == {"opencv-python-headless"}


@pytest.mark.slow
def test_mmsegmentation_runs() -> None:
    """The second engine's plain ResNet-50 takes torchvision's state dict strictly, with equal features."""
    code = (
        "import torch\n"
        "from mmseg.models.backbones import ResNet\n"
        "from torchvision.models import resnet50\n"
        "torch.manual_seed(0)\n"
        "source = resnet50().eval()\n"
        "state = {k: v for k, v in source.state_dict().items() if not k.startswith('fc.')}\n"
        "ours = ResNet(depth=50, norm_eval=False)\n"
        "ours.eval()\n"
        "ours.load_state_dict(state, strict=True)\n"
        "images = torch.randn(1, 3, 64, 64)\n"
        "with torch.no_grad():\n"
        "    x = source.maxpool(source.relu(source.bn1(source.conv1(images))))\n"
        "    layers = source.layer1, source.layer2, source.layer3, source.layer4\n"
        "    for layer, feature in zip(layers, ours(images)):\n"
        "        x = layer(x)\n"
        "        print(float((x - feature).abs().max()))\n"
    )
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    differences = [float(line) for line in done.stdout.split()]
    assert len(differences) == 4
    assert max(differences) <= 1e-5

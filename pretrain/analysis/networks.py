"""Small encoders of one view: from its channels to a map, a feature and a projection."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import resnet18, resnet50

from pretrain.analysis.config import NetworkConfig
from pretrain.backbones.resnet import backbone_tensors, feature_map


class ViewEncoder(nn.Module):
    """A view [batch, channels, height, width] to a projection of unit length.

    The feature is the mean over the last map's positions; the projector is MoCo v2's: two layers.

    Attributes:
        feature_dim: Channels of the map and length of the feature.
    """

    feature_dim: int

    def __init__(self, config: NetworkConfig, channels: int) -> None:
        super().__init__()
        self.trunk, self.feature_dim = build_trunk(config, channels)
        self.projector = nn.Sequential(
            nn.Linear(self.feature_dim, self.feature_dim),
            nn.ReLU(inplace=True),
            nn.Linear(self.feature_dim, config.projection_dim),
        )

    def maps(self, view: Tensor) -> Tensor:
        """[batch, feature_dim, rows, columns], before pooling."""
        found: Tensor = self.trunk(view)
        return found

    def features(self, view: Tensor) -> Tensor:
        """[batch, feature_dim]."""
        return self.maps(view).mean(dim=(2, 3))

    def tensors(self) -> dict[str, Tensor]:
        """Of a ResNet, as torchvision names them. Raises TypeError for others."""
        if not isinstance(self.trunk, _ResNetMaps):
            raise TypeError(type(self.trunk).__name__)
        return backbone_tensors(self.trunk.network)

    def forward(self, view: Tensor) -> Tensor:
        """[batch, projection_dim], of unit length."""
        return functional.normalize(self.projector(self.features(view)), dim=1)


class _ResNetMaps(nn.Module):
    """A ResNet of torchvision up to its last map."""

    def __init__(self, arch: str, channels: int) -> None:
        super().__init__()
        self.network = {"resnet18": resnet18, "resnet50": resnet50}[arch](weights=None)
        self.dim = int(self.network.fc.in_features)
        self.network.fc = nn.Identity()
        if channels != 3:
            self.network.conv1 = nn.Conv2d(channels, 64, kernel_size=7, stride=2, padding=3, bias=False)
            nn.init.kaiming_normal_(self.network.conv1.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, view: Tensor) -> Tensor:
        """See `ViewEncoder.maps`."""
        return feature_map(self.network, view)


def build_trunk(config: NetworkConfig, channels: int) -> tuple[nn.Module, int]:
    """A view to its last map, and the channels of that; draws from torch's global generator."""
    if config.arch == "four_convolutions":
        return _four_convolutions(channels, config.width)
    maps = _ResNetMaps(config.arch, channels)
    return maps, maps.dim


def _four_convolutions(channels: int, width: int) -> tuple[nn.Module, int]:
    """Each halves the map but the last: ours, for CPUs; the paper's are AlexNet's halves and ResNets."""
    widths = (width, 2 * width, 4 * width, 4 * width)
    layers: list[nn.Module] = []
    for number, out in enumerate(widths):
        stride = 1 if number == len(widths) - 1 else 2
        layers += [
            nn.Conv2d(channels, out, kernel_size=3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(out),
            nn.ReLU(inplace=True),
        ]
        channels = out
    return nn.Sequential(*layers), widths[-1]


def build_encoders(config: NetworkConfig, channels: tuple[int, int], *, shared: bool) -> nn.ModuleList:
    """The encoders of the two views: one twice where they share it.

    Draws initial values from torch's global generator.
    """
    first = ViewEncoder(config, channels[0])
    return nn.ModuleList([first, first if shared else ViewEncoder(config, channels[1])])

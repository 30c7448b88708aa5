"""What a name says of pretraining, and that nothing beyond it is guessed."""

from __future__ import annotations

import pytest

from bench.report.html.origin import Origin, origin_of


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("resnet50.random", Origin("none", 0, "none")),
        ("resnet50.supervised_torchvision", Origin("ImageNet-1K", None, "imagenet")),
        ("resnet50.supervised_msra", Origin("ImageNet-1K", None, "imagenet")),
        ("resnet50.supervised_caltech", Origin()),  # supervised, but with whose labels?
        ("resnet50.moco_v2_ep200", Origin("", 200, "")),
        ("resnet18.infomin_ep0800", Origin("", 800, "")),
        ("resnet50.ep200_longer", Origin()),
        ("resnet50.moco_v2_ep200 #1a2b3c4d", Origin()),
        ("my weights", Origin()),
    ],
)
def test_origin_by_name(name: str, expected: Origin) -> None:
    assert origin_of(name) == expected

"""Views of several sizes: which of them a backbone and a head see together."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pretrain.multi_crop import encode_crops


class Watched(nn.Module):
    """Notes the shapes it is given; gives the mean of each row."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, ...]] = []

    def forward(self, values: Tensor) -> Tensor:
        self.seen.append(tuple(values.shape))
        return values.flatten(1).mean(dim=1, keepdim=True)


def test_views_of_one_size_go_together_and_every_output_is_of_its_view() -> None:
    backbone, head = Watched(), Watched()
    sizes = (8, 8, 4, 4, 4)
    views = [torch.randn(3, 2, side, side) for side in sizes]
    outputs = encode_crops(backbone, head, views)
    assert backbone.seen == [(6, 2, 8, 8), (9, 2, 4, 4)]
    assert head.seen == [(15, 1)]
    for view, output in zip(views, outputs, strict=True):
        torch.testing.assert_close(output, view.flatten(1).mean(dim=1, keepdim=True))


def test_the_head_normalises_over_all_views() -> None:
    torch.manual_seed(0)
    views = [torch.randn(3, 2, 4, 4) for _ in range(2)]
    head = nn.BatchNorm1d(32, affine=False)
    outputs = torch.cat(encode_crops(nn.Flatten(), head, views))
    torch.testing.assert_close(outputs.mean(dim=0), torch.zeros(32), atol=1e-6, rtol=0)
    assert outputs[:3].mean(dim=0).abs().max() > 0.1

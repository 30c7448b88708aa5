"""Files of a ResNet, or near to one, that cannot serve: each with the reason that the message must give.

And files that cannot be told from others, with what they are taken for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from tests.helpers.layout_files.frameworks import lightly_keys
from tests.helpers.layout_files.image_methods import row_26_simclr2_converter
from tests.helpers.layout_files.pieces import (
    Given,
    Keys,
    blank,
    encoder,
    lightning,
    linear,
    mlp,
    mmcv,
    mmengine,
    norm,
    optimizer,
    under,
    without_counters,
)
from tests.helpers.layout_files.renames import to_blobs


def _half(given: Given, channels: int) -> Keys:
    """One branch of CMC: a stem that sees 1 or 2 channels, stages of half width."""
    keys: Keys = {}
    for name, value in encoder(given.ours).items():
        keys[name] = blank(*(n // 2 if n > 7 else n for n in value.shape))
    return keys | {"conv1.weight": blank(32, channels, 7, 7)}


def _pycontrast_cmc(given: Given) -> Keys:
    model = under("module.encoder1.", _half(given, 1)) | under("module.encoder2.", _half(given, 2))
    model |= linear("module.head1.0", given.head) | linear("module.head2.0", given.head)
    memory = {"memory_1": given.head, "memory_2": given.head}
    return {"model": model, "contrast": memory, "optimizer": optimizer(given.head), "epoch": 200}


def _pycontrast_cmc_jigsaw(given: Given) -> Keys:
    """With the queue of MoCo, and a second pair in `model_ema`."""
    keys = under("encoder1.", _half(given, 1)) | under("encoder2.", _half(given, 2))
    for at in ("head1", "head2"):
        keys |= mlp(at, given.head) | mlp(f"{at}_jig.fc1", given.head) | linear(f"{at}_jig.fc2", given.head)
    return {"model": under("module.", keys), "model_ema": keys, "epoch": 200}


def _cmc(prefix: str, given: Given) -> Keys:
    """Each branch has an fc of its own."""
    fc = linear("fc", given.head)
    model = under(f"{prefix}l_to_ab.", _half(given, 1) | fc) | under(
        f"{prefix}ab_to_l.", _half(given, 2) | fc
    )
    return {"opt": {}, "model": model, "contrast": {}, "epoch": 240}


def _cmc_first(given: Given) -> Keys:
    return _cmc("module.", given)


def _cmc_later(given: Given) -> Keys:
    """Later versions wrap inside the model (HobbitLong/CMC models/resnet.py, MyResNetsCMC)."""
    return _cmc("encoder.module.", given)


def _timm_deep_stem(given: Given) -> Keys:
    """resnet50c and s: conv1 is conv, norm, act, conv, norm, act, conv."""
    keys = {name: value for name, value in given.ours.items() if name != "conv1.weight"}
    for index in (0, 3, 6):
        keys |= linear(f"conv1.{index}", given.head, bias=False)
    return keys | norm("conv1.1", given.head) | norm("conv1.4", given.head)


def _timm_resnet50d(given: Given) -> Keys:
    """Also an average pool as downsample.0, so convolution and norm are 1 and 2 (in layer1 too)."""
    keys = {}
    for name, value in _timm_deep_stem(given).items():
        keys[name.replace("downsample.1.", "downsample.2.").replace("downsample.0.", "downsample.1.")] = value
    return keys


def _detectron1(given: Given) -> Keys:
    """R-50.pkl: the statistics are folded into scale and bias, convolutions have biases."""
    names = to_blobs(without_counters(given.ours))
    keys = {key: value for key, value in names.items() if not key.endswith(("_rm", "_riv"))}
    keys |= {f"{key.removesuffix('_w')}_b": given.head for key in names if key.endswith("_w")}
    return keys | {"fc1000_w": given.head, "fc1000_b": given.head}


def _supcontrast(prefix: str, given: Given) -> Keys:
    body = {name.replace("downsample", "shortcut"): value for name, value in encoder(given.ours).items()}
    model = under(prefix, body | {"conv1.weight": blank(64, 3, 3, 3)}) | mlp("head", given.head)
    return {"opt": {"model": "resnet50"}, "model": model, "optimizer": optimizer(given.head), "epoch": 1000}


def _supcontrast_parallel(given: Given) -> Keys:
    return _supcontrast("encoder.module.", given)


def _supcontrast_one_gpu(given: Given) -> Keys:
    return _supcontrast("encoder.", given)


def _simclr2_wide(given: Given) -> Keys:
    """r50_2x_sk0: all names right, shapes doubled."""
    row = row_26_simclr2_converter(given)
    keys = {name: value for name, value in row.checkpoint["resnet"].items() if not name.startswith("fc.")}
    return {"resnet": {name: blank(*(n * 2 if n > 7 else n for n in v.shape)) for name, v in keys.items()}}


def _simclr2_selective(given: Given) -> Keys:
    """r50_1x_sk1: a deep stem, selective kernels, ResNet-D shortcuts."""
    head = given.head
    keys: Keys = {}
    for conv in (0, 2, 4):
        keys |= {f"net.0.{conv}.weight": head} | norm(f"net.0.{conv + 1}.0", head)
    for stage, blocks in enumerate((3, 4, 6, 3), start=1):
        for block in range(blocks):
            at = f"net.{stage}.blocks.{block}"
            if block == 0:
                keys |= {f"{at}.projection.shortcut.2.weight": head} | norm(f"{at}.projection.bn.0", head)
            convs = ("net.0", "net.2.main_conv.0", "net.2.mixing_conv.0", "net.2.mixing_conv.2", "net.3")
            keys |= {f"{at}.{conv}.weight": head for conv in convs}
            for at_norm in ("net.1.0", "net.2.main_conv.1.0", "net.2.mixing_conv.1.0", "net.4.0"):
                keys |= norm(f"{at}.{at_norm}", head)
    return {"resnet": keys | linear("fc", head), "head": linear("layers.0", head, bias=False)}


def _solo_cifar(given: Given) -> Keys:
    """The same names as for ImageNet, no max-pool."""
    keys = under("backbone.", encoder(given.ours) | {"conv1.weight": blank(64, 3, 3, 3)})
    return lightning(keys | linear("classifier", given.head) | mlp("projector", given.head), given.head)


def _solo_probe(given: Given) -> Keys:
    """A linear probe, frozen, and a fine-tuned model have the same keys."""
    return lightning(under("backbone.", encoder(given.ours)) | linear("classifier", given.head), given.head)


def _lightly_evaluation(given: Given) -> Keys:
    """linear_eval, frozen, and finetune_eval, trained on labels, have the same keys."""
    keys = under("model.", lightly_keys(given)) | linear("classification_head", given.head)
    return lightning(keys, given.head)


def _spark_finetuned(given: Given) -> Keys:
    """Trained on labels, with the average beside it."""
    both = {"module": dict(given.ours), "ema": under("module.", given.theirs)}
    return {"arch": "resnet50", "epoch": 299, "is_pretrain": False, **both}


def _rotation_or_finetuned(given: Given) -> Keys:
    """MMSelfSup's rotation pretext and its Classification have the same keys."""
    return mmcv(under("backbone.", encoder(given.ours)) | linear("head.fc_cls", given.head), given.head)


def _mmpretrain_classifier(given: Given) -> Keys:
    return mmengine(under("backbone.", encoder(given.ours)) | linear("head.fc", given.head), given.head)


def _lightning_unknown(given: Given) -> Keys:
    keys = under("net.body.", encoder(given.ours)) | linear("net.top", given.head)
    return lightning(keys, given.head, {"lr": 0.1})


_ASKS = "no documented layout fits.*Name the one to take with --encoder"
_NOT_EXPLAINED = "keys are not explained"

REFUSED: dict[str, tuple[Callable[[Given], Keys], str]] = {
    "03_timm_resnet50c": (_timm_deep_stem, "a deep stem"),
    "03_timm_resnet50d": (_timm_resnet50d, "a deep stem"),
    "04_pycontrast_cmc": (_pycontrast_cmc, "a stem that sees 1 colour channels"),
    "04_pycontrast_cmc_jigsaw": (_pycontrast_cmc_jigsaw, "a stem that sees 1 colour channels"),
    "05_cmc": (_cmc_first, "a stem that sees 1 colour channels"),
    "05_cmc_later": (_cmc_later, "a stem that sees 1 colour channels"),
    "23_detectron1": (_detectron1, _ASKS),
    "26_simclr2_selective": (_simclr2_selective, "selective kernels"),
    "26_simclr2_wide": (_simclr2_wide, "128 channels where a ResNet-50 has 64"),
    "28_supcontrast": (_supcontrast_parallel, "for small images such as CIFAR's"),
    "28_supcontrast_one_gpu": (_supcontrast_one_gpu, "for small images such as CIFAR's"),
    "29_solo_learn_cifar": (_solo_cifar, "for small images such as CIFAR's"),
    "29_solo_learn_probe": (_solo_probe, _ASKS),
    "30_lightly_evaluation": (_lightly_evaluation, _ASKS),
    "32_mmpretrain_classifier": (_mmpretrain_classifier, rf"2 {_NOT_EXPLAINED} .*head\.fc\.weight"),
    "32_rotation_or_finetuned": (_rotation_or_finetuned, rf"2 {_NOT_EXPLAINED} .*head\.fc_cls\.weight"),
    "34_spark_finetuned": (_spark_finetuned, _ASKS),
    "35_lightning": (_lightning_unknown, _ASKS),
}
"""Name to (builder of the checkpoint, pattern of the refusal)."""


class Taken(NamedTuple):
    """A file that shows nothing of where it comes from: the layout that it is taken for, and the truth."""

    build: Callable[[Given], Keys]
    layout: str
    truth: str


def _byol_convert(given: Given) -> Keys:
    """ajtejankar/byol-convert convert.py: flat, fc from the classifier, no counters."""
    return without_counters(given.ours)


def _backbone_alone(given: Given) -> Keys:
    return encoder(given.ours)


def _msra_renamed(given: Given) -> Keys:
    """OpenMMLab's resnet50_msra and resnet50_caffe: Detectron's weights under torchvision's names.

    Source: open-mmlab/mmdetection docs/model_zoo.md, tools/model_converters/detectron2pytorch.py.
    """
    return encoder(given.ours)


def _simclr_rewritten(given: Given) -> Keys:
    """In torchvision's order again, as after a load into torchvision's model."""
    return {"state_dict": dict(given.ours)}


NOT_TOLD_APART = {
    "02_msra_renamed": Taken(_msra_renamed, "torchvision", "BGR, no division, stride in the first 1x1"),
    "25_simclr_rewritten": Taken(_simclr_rewritten, "plain", "pixels of 0 to 1, no mean, no std"),
    "27_byol_convert": Taken(_byol_convert, "torchvision", "TensorFlow's SAME padding, in its code alone"),
    "27_ssl_transfer": Taken(_backbone_alone, "torchvision", "BYOL: SAME padding; SimCLR: pixels of 0 to 1"),
    "24_vissl_converted": Taken(_backbone_alone, "torchvision", "the standard input, as it is taken for"),
}
"""Name to what becomes of it: these need a card beside them, or --input-spec."""

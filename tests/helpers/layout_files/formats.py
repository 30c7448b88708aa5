"""Files in the names of a library, whoever trained what is in them."""

from __future__ import annotations

from tests.helpers.layout_files.pieces import (
    Given,
    Row,
    encoder,
    linear,
    mlp,
    pickled,
    run,
    under,
    without_counters,
)
from tests.helpers.layout_files.renames import to_detectron2, to_huggingface, to_msra


def row_01_torchvision(given: Given) -> Row:
    return Row("torchvision", "(no prefix)", dict(given.ours))


def row_01_torchvision_old(given: Given) -> Row:
    return Row("torchvision", "(no prefix)", without_counters(given.ours))


def row_02_detectron2_msra(given: Given) -> Row:
    heads = dict.fromkeys(("conv1_b", "fc1000_w", "fc1000_b"), given.head)
    return Row("detectron2-msra", "<caffe2>", to_msra(without_counters(given.ours)) | heads)


def row_02_detectron2_msra_momentum(given: Given) -> Row:
    """With what Caffe2's optimizer keeps beside each blob."""
    keys = row_02_detectron2_msra(given).checkpoint
    return Row("detectron2-msra", "<caffe2>", keys | {f"{key}_momentum": given.head for key in keys})


def row_03_timm_training(given: Given) -> Row:
    more = {"version": 2, "args": {}, "amp_scaler": {"scale": 1.0}, "metric": 79.0, "saver": {}}
    return Row("plain", "state_dict:", {"state_dict": dict(given.ours), **run(given.head, **more)})


def row_03_timm_training_average(given: Given) -> Row:
    both = {"state_dict": dict(given.theirs), "state_dict_ema": dict(given.ours)}
    return Row("timm-ema", "state_dict_ema:", {**both, **run(given.head, version=2, args={}, metric=79.0)})


def _plain(container: str, prefix: str, given: Given) -> Row:
    keys = under(prefix, given.ours)
    if not container:
        return Row("plain", prefix, keys)
    return Row("plain", f"{container}:{prefix}", {container: keys, **run(given.head)})


def row_03_parallel(given: Given) -> Row:
    return _plain("state_dict", "module.", given)


def row_03_parallel_flat(given: Given) -> Row:
    return _plain("", "module.", given)


def row_03_parallel_model(given: Given) -> Row:
    return _plain("model", "module.", given)


def row_03_compiled(given: Given) -> Row:
    return _plain("state_dict", "_orig_mod.", given)


def row_03_compiled_flat(given: Given) -> Row:
    return _plain("", "_orig_mod.", given)


def row_03_parallel_compiled(given: Given) -> Row:
    return _plain("state_dict", "module._orig_mod.", given)


def row_03_parallel_compiled_flat(given: Given) -> Row:
    return _plain("", "module._orig_mod.", given)


def row_03_compiled_parallel(given: Given) -> Row:
    return _plain("state_dict", "_orig_mod.module.", given)


def row_03_compiled_parallel_flat(given: Given) -> Row:
    return _plain("", "_orig_mod.module.", given)


def row_03_model(given: Given) -> Row:
    return _plain("model", "", given)


def _converted(given: Given, author: str) -> Row:
    return Row("detectron2", "model:<detectron2>", pickled(to_detectron2(encoder(given.ours)), author))


def row_06_moco_detectron2(given: Given) -> Row:
    keys = to_detectron2(encoder(given.ours) | mlp("fc", given.head))
    return Row("detectron2", "model:<detectron2>", pickled(keys, "MOCO"))


def row_16_pixpro_detectron2(given: Given) -> Row:
    return _converted(given, "PixPro")


def row_17_soco_c4_detectron2(given: Given) -> Row:
    return _converted(given, "PixPro")


def row_18_slotcon_detectron2(given: Given) -> Row:
    return _converted(given, "lalala")


def row_22_detco_pkl(given: Given) -> Row:
    return _converted(given, "OpenSelfSup")


def row_12_barlow_twins_release(given: Given) -> Row:
    """The same as of VICReg, DINO, LEWEL and SparK: no fc."""
    return Row("torchvision", "(no prefix)", encoder(given.ours))


def row_18_slotcon_backbone(given: Given) -> Row:
    """As its converter for MMSegmentation writes; DetCo's .pth, too."""
    return Row("plain", "state_dict:", {"state_dict": encoder(given.ours)})


def row_31_lightly_train_export(given: Given) -> Row:
    """With an fc that was never trained."""
    return Row("torchvision", "(no prefix)", dict(given.ours))


def row_36_huggingface_classifier(given: Given) -> Row:
    keys = under("resnet.", to_huggingface(given.ours)) | linear("classifier.1", given.head)
    return Row("huggingface", "resnet.<huggingface>", keys)


def row_36_huggingface_model(given: Given) -> Row:
    return Row("huggingface", "<huggingface>", to_huggingface(given.ours))

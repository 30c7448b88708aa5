"""Files of methods that learn from regions and pixels, as their authors' own code writes them."""

from __future__ import annotations

from typing import Any

from tests.helpers.layout_files.image_methods import queue
from tests.helpers.layout_files.pieces import (
    Given,
    Keys,
    Row,
    State,
    conv_norm,
    encoder,
    linear,
    mlp,
    mmcv,
    norm,
    optimizer,
    pickled,
    run,
    under,
)
from tests.helpers.layout_files.renames import to_c4, to_detectron2


def _resim_one(state: State, head: Any, *, norms: bool) -> Keys:
    one = encoder(state) | mlp("fc", head)
    for at in ("fpn_lateral5", "fpn_lateral4", "fpn_output4", "fpn_lateral3", "fpn_output3"):
        one |= conv_norm(f"{at}.0", f"{at}.1", head) if norms else linear(at, head)
    return one


def _resim(given: Given, *, norms: bool) -> Row:
    keys = under("module.encoder_q.", _resim_one(given.ours, given.head, norms=norms))
    keys |= under("module.encoder_k.", _resim_one(given.theirs, given.head, norms=norms)) | queue(given)
    return Row("resim", "state_dict:module.encoder_q.", {"state_dict": keys, **run(given.head)})


def row_09_resim(given: Given) -> Row:
    return _resim(given, norms=False)


def row_09_resim_norms(given: Given) -> Row:
    return _resim(given, norms=True)


def row_09_resim_detectron2(given: Given) -> Row:
    """Numpy arrays in a torch file."""
    renamed = to_detectron2(_resim_one(given.ours, given.head, norms=False))
    model = {key.replace("stem.fpn", "backbone.fpn"): value for key, value in renamed.items()}
    return Row("resim-detectron2", "model:<detectron2>", pickled(model, "MOCO"))


def _three_layers(at: str, head: Any) -> Keys:
    return conv_norm(f"{at}.linear1", f"{at}.bn1", head) | linear(f"{at}.linear2", head)


def _pixpro(layout: str, given: Given, heads: Keys, **more: Any) -> Row:
    keys = under("module.encoder.", encoder(given.ours)) | under("module.encoder_k.", encoder(given.theirs))
    outside = {"opt": {}, "optimizer": optimizer(given.head), "scheduler": {}, "epoch": 100, "amp": {}}
    return Row(layout, "model:module.encoder.", {"model": keys | under("module.", heads), **outside, **more})


def _pixel_heads(head: Any) -> Keys:
    return _three_layers("projector", head) | _three_layers("projector_k", head)


def row_16_pixpro(given: Given) -> Row:
    return _pixpro("pixpro", given, _pixel_heads(given.head) | linear("value_transform", given.head))


def row_16_pixpro_instance(given: Given) -> Row:
    heads: Keys = {}
    parts = ("projector", "projector_k", "projector_instance", "projector_instance_k", "predictor")
    for at in (*parts, "value_transform"):
        heads |= _three_layers(at, given.head)
    return _pixpro("pixpro", given, heads)


def row_16_pixpro_release(given: Given) -> Row:
    """Its publish_model.py leaves the model alone, and everything else out."""
    full = row_16_pixpro(given)
    return full._replace(checkpoint={"model": full.checkpoint["model"]})


def _soco_heads(head: Any) -> Keys:
    return _pixel_heads(head) | _three_layers("predictor", head)


def row_17_soco_c4(given: Given) -> Row:
    heads = {"queue": given.head, "queue_ptr": given.head}
    return _pixpro("soco-c4", given, _soco_heads(given.head) | heads)


def _soco_neck(at: str, head: Any) -> Keys:
    keys: Keys = {}
    for level in range(4):
        for part in ("lateral_convs", "fpn_convs"):
            keys |= conv_norm(f"{at}.{part}.{level}.conv", f"{at}.{part}.{level}.bn", head)
    return keys


def _soco_box_head(at: str, head: Any) -> Keys:
    keys = linear(f"{at}.fc1", head)
    for index in (1, 2, 3, 4):
        keys |= conv_norm(f"{at}.conv{index}", f"{at}.bn{index}", head)
    return keys


def row_17_soco_fpn(given: Given) -> Row:
    heads = _soco_heads(given.head)
    for side in ("", "_k"):
        heads |= _soco_neck(f"neck{side}", given.head) | _soco_box_head(f"head{side}", given.head)
    return _pixpro("soco-fpn", given, heads)


def row_17_soco_fpn_detectron2(given: Given) -> Row:
    model = to_detectron2(encoder(given.ours))
    for key, value in (_soco_neck("neck", given.head) | _soco_box_head("head", given.head)).items():
        name = key.removeprefix("neck.").replace("head.", "box_head.")
        for level in range(4):
            for theirs, ours in (("lateral_convs", "fpn_lateral"), ("fpn_convs", "fpn_output")):
                name = name.replace(f"{theirs}.{level}.conv", f"{ours}{level + 2}")
                name = name.replace(f"{theirs}.{level}.bn", f"{ours}{level + 2}.norm")
        for index in (1, 2, 3, 4):
            name = name.replace(f"bn{index}", f"conv{index}.norm")
        model[name] = value
    return Row("soco-detectron2", "model:<detectron2>", pickled(model, "Yue"))


def row_17_soco_fpn_mmdetection(given: Given) -> Row:
    keys = under("backbone.", encoder(given.ours)) | _soco_neck("neck", given.head)
    keys |= linear("roi_head.bbox_head.shared_fcs.0", given.head)
    for index in range(4):
        at = f"roi_head.bbox_head.shared_convs.{index}"
        keys |= conv_norm(f"{at}.conv", f"{at}.bn", given.head)
    return Row("soco-mmdetection", "state_dict:backbone.", {"state_dict": keys, "meta": {}})


def row_17_soco_c4_mmdetection(given: Given) -> Row:
    """The backbone alone, so that it cannot be told from one of OpenMMLab's."""
    keys = under("backbone.", encoder(given.ours))
    return Row("mmselfsup", "state_dict:backbone.", {"state_dict": keys, "meta": {}})


def _slotcon_mlp(at: str, head: Any) -> Keys:
    """Three layers with norms between: 0, 1, 3, 4, 6."""
    keys = linear(f"{at}.mlp.6", head)
    for index in (0, 3):
        keys |= linear(f"{at}.mlp.{index}", head) | norm(f"{at}.mlp.{index + 1}", head)
    return keys


def row_18_slotcon(given: Given) -> Row:
    keys = under("encoder_q.", encoder(given.theirs)) | under("encoder_k.", encoder(given.ours))
    for at in ("projector_q", "projector_k", "predictor_slot"):
        keys |= _slotcon_mlp(at, given.head)
    slots = ("center", "grouping_q.slot_embed.weight", "grouping_k.slot_embed.weight")
    keys |= dict.fromkeys(slots, given.head)
    outside = {"args": {}, "optimizer": optimizer(given.head), "scheduler": {}, "epoch": 800, "scaler": {}}
    return Row("slotcon", "model:module.encoder_k.", {"model": under("module.", keys), **outside})


def _lewel_mlp(at: str, head: Any) -> Keys:
    return conv_norm(f"{at}.mlp.0", f"{at}.mlp.1", head) | linear(f"{at}.mlp.3", head, bias=False)


def row_19_lewel(given: Given) -> Row:
    head = given.head
    neck = _lewel_mlp("neck.proj", head) | _lewel_mlp("neck.proj_obj", head)
    keys = under("module.online_net.", under("backbone.", encoder(given.ours)) | neck)
    keys |= under("module.target_net.", under("backbone.", encoder(given.theirs)) | neck)
    keys |= _lewel_mlp("module.predictor", head) | _lewel_mlp("module.predictor_obj", head)
    more = {"arch": "LEWELB_EMAN", "best_acc1": 0.0, "scaler": None}
    checkpoint = {"state_dict": keys, **run(head), **more}
    return Row("lewel", "state_dict:module.online_net.backbone.", checkpoint)


def _extracted(given: Given, author: str) -> Row:
    checkpoint = {"state_dict": encoder(given.ours), "author": author}
    return Row("openselfsup-extracted", "state_dict:", checkpoint)


def row_21_densecl_release(given: Given) -> Row:
    return _extracted(given, "DenseCL")


def row_32_mmselfsup0_extracted(given: Given) -> Row:
    return _extracted(given, "MMSelfSup")


def _detector_head(side: str, head: Any) -> Keys:
    at = f"roi_head{side}.bbox_head"
    keys = conv_norm(f"{at}.shared_convs.0.conv", f"{at}.shared_convs.0.bn", head)
    return keys | linear(f"{at}.shared_fcs.0", head) | linear(f"{at}.fc_cls", head)


def row_33_instanceloc_fpn(given: Given) -> Row:
    keys: Keys = dict.fromkeys(("queue", "queues", "queue_ptr"), given.head)
    for side, state in (("", given.ours), ("_k", given.theirs)):
        keys |= under(f"backbone{side}.", encoder(state)) | _detector_head(side, given.head)
        for conv in ("lateral_convs", "fpn_convs"):
            keys |= conv_norm(f"neck{side}.{conv}.0.conv", f"neck{side}.{conv}.0.bn", given.head)
    return Row("instanceloc-fpn", "state_dict:backbone.", mmcv(keys, given.head))


def row_33_instanceloc_c4(given: Given) -> Row:
    keys = to_c4(given.ours) | to_c4(given.theirs, "_k")
    keys |= linear("roi_head.bbox_head.fc_cls", given.head) | linear(
        "roi_head_k.bbox_head.fc_cls", given.head
    )
    keys |= dict.fromkeys(("queue", "queues", "queue_ptr"), given.head)
    return Row("instanceloc-c4", "state_dict:<mmdet-c4>", mmcv(keys, given.head))

"""Files of methods that learn from whole images, as their authors' own code writes them."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from tests.helpers.layout_files.pieces import (
    Given,
    Keys,
    Row,
    conv_norm,
    encoder,
    linear,
    mlp,
    norm,
    optimizer,
    pickled,
    run,
    under,
    weight_norm,
)
from tests.helpers.layout_files.renames import to_blobs, to_detectron2, to_haiku, to_obow, to_simclr2


def _contrast(given: Given, model: Keys, **more: Any) -> Keys:
    run = {"optimizer": optimizer(given.head), "epoch": 200}
    return {"model": model, "contrast": {"memory": given.head}, **run, **more}


def row_04_instdis(given: Given) -> Row:
    model = under("module.encoder.", encoder(given.ours)) | linear("module.head.0", given.head)
    return Row("pycontrast", "model:module.encoder.", _contrast(given, model))


def row_04_pirl(given: Given) -> Row:
    model = under("module.encoder.", encoder(given.ours)) | linear("module.head.0", given.head)
    model |= linear("module.head_jig.fc1", given.head) | linear("module.head_jig.fc2", given.head)
    return Row("pycontrast", "model:module.encoder.", _contrast(given, model))


def row_04_infomin(given: Given) -> Row:
    """Queue, MLP heads, jigsaw, mixed precision; the average has no `module.`."""
    heads = mlp("head", given.head) | mlp("head_jig.fc1", given.head) | linear("head_jig.fc2", given.head)
    model = under("module.encoder.", encoder(given.ours)) | under("module.", heads)
    average = under("encoder.", encoder(given.theirs)) | heads
    return Row("pycontrast", "model:module.encoder.", _contrast(given, model, model_ema=average, amp={}))


def row_05_cmc_moco(given: Given) -> Row:
    """The one-branch models of the CMC repository, with the average of its MoCo."""
    fc = linear("fc", given.head)
    model = under("encoder.module.", encoder(given.ours) | fc)
    average = under("encoder.module.", encoder(given.theirs) | fc)
    return Row(
        "cmc-instdis-moco", "model:encoder.module.", _contrast(given, model, model_ema=average, opt={})
    )


def moco_keys(given: Given, fc: Keys) -> Keys:
    query = under("module.encoder_q.", encoder(given.ours) | fc)
    return query | under("module.encoder_k.", encoder(given.theirs) | fc)


def queue(given: Given) -> Keys:
    return {"module.queue": given.head, "module.queue_ptr": given.head}


def _moco(layout: str, given: Given, keys: Keys, **more: Any) -> Row:
    return Row(layout, "state_dict:module.encoder_q.", {"state_dict": keys, **run(given.head), **more})


def row_06_moco_v1(given: Given) -> Row:
    return _moco("moco", given, moco_keys(given, linear("fc", given.head)) | queue(given))


def row_06_moco(given: Given) -> Row:
    """v2; PCL's are the same."""
    return _moco("moco", given, moco_keys(given, mlp("fc", given.head)) | queue(given))


def row_06_moco_query_only(given: Given) -> Row:
    """The published files are near the size of one encoder; their keys were not seen."""
    keys = under("module.encoder_q.", encoder(given.ours) | mlp("fc", given.head))
    checkpoint = {"state_dict": keys, "epoch": 200, "arch": "resnet50"}
    return Row("moco", "state_dict:module.encoder_q.", checkpoint)


def row_07_moco_v3(given: Given) -> Row:
    def head(at: str) -> Keys:
        last = linear(f"{at}.3", given.head, bias=False) | norm(f"{at}.4", given.head, affine=False)
        return conv_norm(f"{at}.0", f"{at}.1", given.head) | last

    keys = under("module.base_encoder.", encoder(given.ours) | head("fc"))
    keys |= under("module.momentum_encoder.", encoder(given.theirs) | head("fc"))
    keys |= under("module.", head("predictor"))
    return Row(
        "moco-v3", "state_dict:module.base_encoder.", {"state_dict": keys, **run(given.head, scaler={})}
    )


def row_09_adco(given: Given) -> Row:
    bank = {"W": given.head, "v": given.head}
    return _moco(
        "adco", given, moco_keys(given, mlp("fc", given.head)), best_acc=given.head, Memory_Bank=bank
    )


def _hcsc_keys(given: Given) -> Keys:
    return moco_keys(given, mlp("fc", given.head)) | queue(given) | {"module.queue_index": given.head}


def row_09_hcsc(given: Given) -> Row:
    return _moco("hcsc", given, _hcsc_keys(given))


def row_09_hcsc_detectron2(given: Given) -> Row:
    """Its converter leaves everything in."""
    plain = {name.replace("module.encoder_q.", ""): value for name, value in _hcsc_keys(given).items()}
    return Row("hcsc-detectron2", "model:<detectron2>", pickled(to_detectron2(plain), "MOCO"))


def row_10_simsiam(given: Given) -> Row:
    fc = conv_norm("fc.0", "fc.1", given.head) | conv_norm("fc.3", "fc.4", given.head)
    fc |= linear("fc.6", given.head) | norm("fc.7", given.head, affine=False)
    keys = under("module.encoder.", encoder(given.ours) | fc)
    keys |= conv_norm("module.predictor.0", "module.predictor.1", given.head)
    keys |= linear("module.predictor.3", given.head)
    return Row("simsiam", "state_dict:module.encoder.", {"state_dict": keys, **run(given.head)})


def _swav_keys(given: Given, *prototypes: str) -> Keys:
    keys = encoder(given.ours) | linear("projection_head.0", given.head)
    keys |= norm("projection_head.1", given.head) | linear("projection_head.3", given.head)
    return under("module.", keys | {f"{at}.weight": given.head for at in prototypes})


_THREE_HEADS = tuple(f"prototypes.prototypes{index}" for index in range(3))


def row_11_swav(given: Given) -> Row:
    checkpoint = {"state_dict": _swav_keys(given, "prototypes"), "epoch": 400, "amp": {}}
    return Row("swav", "state_dict:module.", checkpoint)


def row_11_swav_release(given: Given) -> Row:
    return Row("swav-release", "module.", _swav_keys(given, "prototypes"))


def row_11_deepcluster_v2(given: Given) -> Row:
    checkpoint = {"state_dict": _swav_keys(given, *_THREE_HEADS), "epoch": 400}
    return Row("swav", "state_dict:module.", checkpoint)


def row_11_deepcluster_v2_release(given: Given) -> Row:
    return Row("swav-release", "module.", _swav_keys(given, *_THREE_HEADS))


def row_13_barlow_twins(given: Given) -> Row:
    keys = under("module.backbone.", encoder(given.ours))
    for at in (0, 3):
        keys |= conv_norm(f"module.projector.{at}", f"module.projector.{at + 1}", given.head)
    keys |= linear("module.projector.6", given.head, bias=False) | norm("module.bn", given.head, affine=False)
    checkpoint = {"epoch": 1000, "model": keys, "optimizer": optimizer(given.head)}
    return Row("barlow-twins", "model:module.backbone.", checkpoint)


def row_14_vicreg(given: Given) -> Row:
    keys = under("module.backbone.", encoder(given.ours))
    for at in (0, 3):
        keys |= linear(f"module.projector.{at}", given.head) | norm(f"module.projector.{at + 1}", given.head)
    keys |= linear("module.projector.6", given.head, bias=False)
    checkpoint = {"epoch": 1000, "model": keys, "optimizer": optimizer(given.head)}
    return Row("vicreg", "model:module.backbone.", checkpoint)


def row_15_dino(given: Given) -> Row:
    head = weight_norm("module.head.last_layer", given.head)
    for at in (0, 2, 4):
        head |= linear(f"module.head.mlp.{at}", given.head)
    student = under("module.backbone.", encoder(given.theirs)) | head
    teacher = under("module.backbone.", encoder(given.ours)) | head
    more = {"epoch": 800, "args": {}, "dino_loss": {"center": given.head}, "fp16_scaler": {}}
    return Row("dino", "teacher:module.backbone.", {"student": student, "teacher": teacher, **more})


def _obow_keys(given: Given) -> Keys:
    keys = {"_alpha": given.head, "_iteration": given.head, "bow_predictor.scale": given.head}
    keys |= under("feature_extractor.", to_obow(given.ours))
    keys |= under("feature_extractor_teacher.", to_obow(given.theirs))
    for level in (0, 1):
        at = f"bow_predictor.layers_w.{level}.b{level}"
        keys |= conv_norm(f"{at}_fc", f"{at}_bn", given.head) | linear(f"{at}_last_layer", given.head)
        for part in ("_embedding", "_embedding_ptr", "_track_num_batches", "_min_distance_mean"):
            keys[f"bow_extractor.bow_extractor.{level}.{part}"] = given.head
    keys |= norm("linear_classifier.layers.batch_norm", given.head, affine=False)
    return keys | linear("linear_classifier.layers.prediction_layer", given.head)


def row_23_obow(given: Given) -> Row:
    checkpoint = {"epoch": 200, "network": under("module.", _obow_keys(given)), "meters": None}
    return Row("obow", "network:module.feature_extractor._feature_blocks.<obow>", checkpoint)


def row_23_obow_single(given: Given) -> Row:
    checkpoint = {"epoch": 200, "network": _obow_keys(given), "meters": None}
    return Row("obow-single", "network:feature_extractor._feature_blocks.<obow>", checkpoint)


def row_23_obow_student(given: Given) -> Row:
    checkpoint = {"epoch": 200, "network": to_obow(given.ours), "meters": None}
    return Row("obow-student", "network:_feature_blocks.<obow>", checkpoint)


def row_23_obow_release(given: Given) -> Row:
    """The fc holds the visual words."""
    keys = encoder(given.ours) | linear("fc", given.head)
    return Row("obow-torchvision", "network:", {"network": keys})


def row_23_obow_caffe2(given: Given) -> Row:
    return Row("obow-caffe2", "blobs:<caffe2-blobs>", {"blobs": to_blobs(given.ours)})


def row_25_simclr_converter(given: Given) -> Row:
    """Each block's shortcut stands in front of its convolutions: that alone says what it is."""
    ordered: Keys = {}
    for name in given.ours:
        block = ".".join(name.split(".")[:2])
        if name.startswith("layer"):
            first = f"{block}.downsample."
            ordered |= {key: value for key, value in given.ours.items() if key.startswith(first)}
        ordered.setdefault(name, given.ours[name])
    return Row("simclr-converter", "state_dict:", {"state_dict": OrderedDict(ordered)})


def row_26_simclr2_converter(given: Given) -> Row:
    resnet = to_simclr2(given.ours) | {"fc.weight": given.head, "fc.bias": given.head}
    head: Keys = {}
    for at in (0, 3, 6):
        head |= conv_norm(f"layers.{at}", f"layers.{at + 1}", given.head)
    return Row("simclr2-converter", "resnet:<simclr2>", {"resnet": resnet, "head": head})


def byol_fields(given: Given) -> Keys:
    """The experiment's state as the reader gives it: a named tuple as a dict of its fields."""
    head = given.head
    params: Keys = {"classifier": {"b": head, "w": head}}
    state: Keys = {}
    for name in ("projector", "predictor"):
        params |= {
            f"{name}/batch_norm": {"offset": head, "scale": head},
            f"{name}/linear": {"b": head, "w": head},
            f"{name}/linear_1": {"w": head},
        }
        for average in ("mean_ema", "var_ema"):
            state[f"{name}/batch_norm/~/{average}"] = {"average": head, "counter": head, "hidden": head}
    (ours, our_state), (theirs, their_state) = to_haiku(given.ours), to_haiku(given.theirs)
    return {
        "online_params": ours | params,
        "target_params": theirs | params,
        "online_state": our_state | state,
        "target_state": their_state | state,
        "opt_state": [{}, {"mu": {"res_net50/~/initial_conv": {"w": head}}}],
    }


def row_27_byol_deepmind(given: Given) -> Row:
    checkpoint = {"experiment_state": byol_fields(given), "step": 300_000, "rng": given.head}
    return Row("byol-deepmind", "experiment_state:online.<haiku>", checkpoint)


def row_34_spark_training(given: Given) -> Row:
    head = given.head
    keys = under("sparse_encoder.sp_cnn.", encoder(given.ours))
    keys |= linear("dense_decoder.dec.0.up_sample", head) | linear("dense_decoder.proj", head)
    keys |= conv_norm("dense_decoder.dec.0.conv.0", "dense_decoder.dec.0.conv.1", head)
    keys |= norm("densify_norms.0", head) | linear("densify_projs.0", head)
    keys |= dict.fromkeys(("mask_tokens.0", "mask_tokens.1", "imn_m", "imn_s", "norm_black"), head)
    keys["config"] = {"mask_ratio": 0.6, "densify_norm_str": "bn", "sbn": True, "hierarchy": 4}
    more = {"args": "Args(...)", "input_size": 224, "performance_desc": "0.4600", "is_pretrain": True}
    return Row("spark", "module:sparse_encoder.sp_cnn.", {"module": keys, **run(head, **more)})

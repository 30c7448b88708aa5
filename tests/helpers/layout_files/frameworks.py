"""Checkpoints that frameworks for self-supervised pretraining write, whatever the method."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from tests.helpers.layout_files.pieces import (
    Given,
    Keys,
    Row,
    State,
    conv_norm,
    encoder,
    lightning,
    linear,
    mlp,
    mmcv,
    mmengine,
    norm,
    norm_mlp,
    optimizer,
    under,
    weight_norm,
    without_counters,
)

_BLOCKS = "_feature_blocks."
_TRUNK = "classy_state_dict/base_model/model/trunk:"


def _vissl(trunk: State, given: Given, loss: Keys, copy: Keys | None = None, prefix: str = _BLOCKS) -> Keys:
    """The hook that saves writes the loss twice: `copy` is the outer one, if it is not the same."""
    model = {
        "trunk": OrderedDict(under(prefix, encoder(trunk))),
        "heads": OrderedDict(linear("0.clf.0", given.head)),
    }
    phase = {"phase_idx": 199, "train_phase_idx": 199}
    classy = {
        "train": True,
        "base_model": {"model": model, "meta": {"trunk": {}, "heads": []}},
        "optimizer": {"optim": optimizer(given.head)},
        "losses": [0.5],
        "loss": OrderedDict(loss),
        **phase,
    }
    outer = OrderedDict(loss if copy is None else copy)
    return {"iteration": 1, "loss": outer, "classy_state_dict": classy, "type": "consolidated", **phase}


def row_24_vissl_simclr(given: Given) -> Row:
    return Row("vissl", f"{_TRUNK}{_BLOCKS}", _vissl(given.ours, given, {}))


def _vissl_momentum(given: Given, module: str, *buffers: str) -> Row:
    loss = under(f"{module}trunk.{_BLOCKS}", encoder(given.theirs)) | dict.fromkeys(buffers, given.head)
    loss |= linear(f"{module}heads.0.clf.0", given.head)
    return Row("vissl", f"{_TRUNK}{_BLOCKS}", _vissl(given.ours, given, loss))


def row_24_vissl_moco(given: Given) -> Row:
    return _vissl_momentum(given, "moco_encoder.", "queue", "queue_ptr")


def row_24_vissl_moco_parallel(given: Given) -> Row:
    return _vissl_momentum(given, "moco_encoder.module.", "queue", "queue_ptr")


def row_24_vissl_swav_momentum(given: Given) -> Row:
    buffers = ("num_iteration", "local_queue0", "local_emb_queue")
    return _vissl_momentum(given, "momentum_encoder.module.", *buffers)


def row_24_vissl_swav_momentum_one_gpu(given: Given) -> Row:
    return _vissl_momentum(given, "momentum_encoder.", "num_iteration")


def _vissl_dino(given: Given, module: str) -> Row:
    heads = weight_norm(f"{module}heads.0.prototypes0", given.head) | {"center": given.head}
    at = f"{module}trunk.{_BLOCKS}"
    teacher, copy = under(at, encoder(given.ours)) | heads, under(at, encoder(given.theirs)) | heads
    return Row("vissl-dino", f"classy_state_dict/loss:{at}", _vissl(given.theirs, given, teacher, copy))


def row_24_vissl_dino(given: Given) -> Row:
    return _vissl_dino(given, "momentum_teacher.module.")


def row_24_vissl_dino_one_gpu(given: Given) -> Row:
    return _vissl_dino(given, "momentum_teacher.")


def row_24_vissl_probe(given: Given) -> Row:
    prefix = f"base_model.{_BLOCKS}"
    return Row("vissl", f"{_TRUNK}{prefix}", _vissl(given.ours, given, {}, prefix=prefix))


def row_24_vissl_release(given: Given) -> Row:
    keys = under(_BLOCKS, without_counters(encoder(given.ours)))
    return Row("vissl", f"model_state_dict:{_BLOCKS}", {"model_state_dict": keys})


def row_24_vissl_release_flat(given: Given) -> Row:
    """With heads, as its converters to other formats accept it."""
    keys = under(_BLOCKS, without_counters(encoder(given.ours)))
    return Row("vissl", _BLOCKS, keys | linear("fc1", given.head) | linear("fc2", given.head))


def row_24_vissl_sslime(given: Given) -> Row:
    keys = under(_BLOCKS, encoder(given.ours))
    return Row("vissl", f"classy_state_dict:{_BLOCKS}", {"classy_state_dict": keys})


def _solo(layout: str, given: Given, heads: Keys, *, momentum: bool = False) -> Row:
    keys = under("backbone.", encoder(given.ours)) | linear("classifier", given.head)
    if momentum:
        keys |= under("momentum_backbone.", encoder(given.theirs)) | linear("momentum_classifier", given.head)
    return Row(layout, "state_dict:backbone.", lightning(keys | heads, given.head))


def row_29_solo_learn_simclr(given: Given) -> Row:
    return _solo("solo-learn", given, mlp("projector", given.head))


def row_29_solo_learn_byol(given: Given) -> Row:
    heads = norm_mlp("projector", given.head) | norm_mlp("momentum_projector", given.head)
    return _solo("solo-learn", given, heads | norm_mlp("predictor", given.head), momentum=True)


def row_29_solo_learn_mocov2plus(given: Given) -> Row:
    heads = mlp("projector", given.head) | mlp("momentum_projector", given.head)
    return _solo(
        "solo-learn", given, heads | dict.fromkeys(("queue", "queue_ptr"), given.head), momentum=True
    )


def row_29_solo_learn_nnclr(given: Given) -> Row:
    heads = norm_mlp("projector", given.head) | norm_mlp("predictor", given.head)
    return _solo("solo-learn", given, heads | dict.fromkeys(("queue", "queue_y", "queue_ptr"), given.head))


def row_29_solo_learn_all4one(given: Given) -> Row:
    heads: Keys = {"transformer_encoder.layers.0.self_attn.in_proj_weight": given.head}
    for at in ("projector", "momentum_projector", "predictor", "predictor2"):
        heads |= norm_mlp(at, given.head)
    heads |= dict.fromkeys(("queue", "queue_y", "queue_ptr", "queue_index"), given.head)
    return _solo("solo-learn", given, heads, momentum=True)


def row_29_solo_learn_swav(given: Given) -> Row:
    heads = norm_mlp("projector", given.head) | weight_norm("prototypes", given.head)
    return _solo("solo-learn", given, heads | {"queue": given.head})


def row_29_solo_learn_deepcluster(given: Given) -> Row:
    heads = norm_mlp("projector", given.head) | {f"prototypes.{i}.weight": given.head for i in range(3)}
    heads |= {"local_memory_index": given.head, "local_memory_embeddings": given.head}
    return _solo("solo-learn", given, heads)


def row_29_solo_learn_dino(given: Given) -> Row:
    heads = weight_norm("head.last_layer", given.head)
    for at in (0, 2, 4):
        heads |= linear(f"head.mlp.{at}", given.head)
    heads |= under("momentum_", heads) | {"dino_loss_func.center": given.head}
    return _solo("solo-learn-dino", given, heads, momentum=True)


def row_29_solo_learn_old(given: Given) -> Row:
    keys = under("encoder.", encoder(given.ours)) | under("momentum_encoder.", encoder(given.theirs))
    keys |= linear("classifier", given.head) | norm_mlp("projector", given.head)
    return Row("solo-learn-old", "state_dict:encoder.", lightning(keys, given.head))


def lightly_keys(given: Given, twin: str = "", more: Keys | None = None) -> Keys:
    keys = under("backbone.", encoder(given.ours)) | norm_mlp("projection_head.layers", given.head)
    if twin:
        keys |= under(f"{twin}_backbone.", encoder(given.theirs))
        keys |= norm_mlp(f"{twin}_projection_head.layers", given.head)
    return keys | (more or {}) | linear("online_classifier.classification_head", given.head)


def _lightly(layout: str, given: Given, twin: str = "", more: Keys | None = None) -> Row:
    hyper = {"batch_size_per_device": 128, "num_classes": 1000}
    checkpoint = lightning(lightly_keys(given, twin, more), given.head, hyper)
    return Row(layout, "state_dict:backbone.", checkpoint)


def row_30_lightly_simclr(given: Given) -> Row:
    return _lightly("lightly", given)


def row_30_lightly_swav(given: Given) -> Row:
    return _lightly("lightly", given, more=linear("prototypes.heads.0", given.head, bias=False))


def row_30_lightly_byol(given: Given) -> Row:
    return _lightly("lightly-byol", given, "teacher", norm_mlp("prediction_head.layers", given.head))


def row_30_lightly_mocov2(given: Given) -> Row:
    return _lightly("lightly-mocov2", given, "key")


def row_30_lightly_byol_first(given: Given) -> Row:
    head = norm_mlp("student_prediction_head.layers", given.head)
    return _lightly("lightly-student", given, "student", head)


def row_30_lightly_tico(given: Given) -> Row:
    return _lightly("lightly-student", given, "student")


def row_30_lightly_dino(given: Given) -> Row:
    more = {"criterion.center": given.head}
    for at in ("projection_head", "student_projection_head"):
        more |= weight_norm(f"{at}.last_layer", given.head)
    return _lightly("lightly-student", given, "student", more)


def row_30_lightly_mocov2_first(given: Given) -> Row:
    return _lightly("lightly-query", given, "query")


_WRAPPED = "embedding_model.model_wrapper._features."


def _lightly_train(layout: str, role: str, given: Given, more: Keys) -> Row:
    about = {
        "version": "0.9.0",
        "date": "2025-07-01T00:00:00+00:00",
        "models": {"model": {}, "wrapped_model": {}, "embedding_model": {}},  # here whole modules are pickled
        "normalize_args": {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)},
    }
    keys = under(f"{role}{_WRAPPED}", encoder(given.ours)) | more
    keys |= linear(f"{role}embedding_model.embed_head", given.head)
    return Row(layout, f"state_dict:{role}{_WRAPPED}", lightning(keys, given.head) | {"lightly_train": about})


def row_31_lightly_train_simclr(given: Given) -> Row:
    return _lightly_train("lightly-train", "", given, norm_mlp("projection_head.layers", given.head))


def row_31_lightly_train_dino(given: Given) -> Row:
    more = under(f"student_{_WRAPPED}", encoder(given.theirs)) | {"criterion.center": given.head}
    more |= linear("student_embedding_model.embed_head", given.head)
    for role in ("teacher", "student"):
        more |= norm_mlp(f"{role}_projection_head.layers", given.head)
    return _lightly_train("lightly-train", "teacher_", given, more)


def row_31_lightly_train_distillation(given: Given) -> Row:
    more = linear("student_projection_head", given.head) | {"teacher_queue": given.head}
    return _lightly_train("lightly-train-distillation", "student_", given, more)


# OpenMMLab. In 0.x a method keeps its backbone also as the first of a Sequential, under another name.


def _neck(head: Any) -> Keys:
    """NonLinearNeck."""
    return conv_norm("fc0", "bn0", head) | linear("fc1", head)


def _mm(given: Given, neck: Keys, more: Keys, *, new: bool = False, layout: str = "mmselfsup") -> Row:
    keys = under("backbone.", encoder(given.ours)) | under("neck.", neck) | more
    return Row(layout, "state_dict:backbone.", (mmengine if new else mmcv)(keys, given.head))


def _sequential(names: tuple[str, ...], given: Given, neck: Keys) -> Keys:
    one = under("0.", encoder(given.theirs)) | under("1.", neck)
    return {key: value for name in names for key, value in under(f"{name}.", one).items()}


def _averaged(name: str, given: Given, neck: Keys) -> Keys:
    """1.x, with mmengine's averaged model."""
    return _sequential((f"{name}.module",), given, neck) | {f"{name}.steps": given.head}


def _queues(given: Given, *names: str) -> Keys:
    return {key: given.head for name in names for key in (name, f"{name}_ptr")}


def _old_moco(given: Given, neck: Keys, *queues: str) -> Row:
    sides = _sequential(("encoder_q", "encoder_k"), given, neck)
    return _mm(given, {}, sides | _queues(given, *queues))


def row_20_densecl(given: Given) -> Row:
    neck = mlp("mlp", given.head) | mlp("mlp2", given.head)
    return _old_moco(given, neck, "queue", "queue2")


def row_20_regioncl(given: Given) -> Row:
    return _old_moco(given, mlp("mlp", given.head), "queue")


def row_20_openselfsup_moco_v1(given: Given) -> Row:
    return _old_moco(given, linear("fc", given.head), "queue")


def _predictors(given: Given, *heads: str) -> Keys:
    return {key: value for at in heads for key, value in under(f"{at}.predictor.", _neck(given.head)).items()}


def _old_byol(given: Given, *heads: str) -> Row:
    sides = _sequential(("online_net", "target_net"), given, _neck(given.head))
    return _mm(given, _neck(given.head), sides | _predictors(given, *heads))


def row_20_orl(given: Given) -> Row:
    return _old_byol(given, "global_head", "local_intra_head", "local_inter_head")


def row_20_orl_in_mmselfsup(given: Given) -> Row:
    return _old_byol(given, "head", "loc_intra_head", "loc_inter_head")


def row_32_mmselfsup0_moco(given: Given) -> Row:
    row = row_20_regioncl(given)
    row.checkpoint["state_dict"] |= under("neck.", mlp("mlp", given.head))
    return row


def row_32_mmselfsup0_moco_release(given: Given) -> Row:
    row = row_32_mmselfsup0_moco(given)
    del row.checkpoint["optimizer"]
    return row


def row_32_mmselfsup0_byol(given: Given) -> Row:
    return _old_byol(given, "head")


def row_32_mmselfsup0_mocov3(given: Given) -> Row:
    sides = _sequential(("base_encoder", "momentum_encoder"), given, _neck(given.head))
    return _mm(given, _neck(given.head), sides | _predictors(given, "head"))


def row_32_mmselfsup0_simsiam(given: Given) -> Row:
    more = _sequential(("encoder",), given, _neck(given.head)) | _predictors(given, "head")
    return _mm(given, _neck(given.head), more)


def row_32_mmselfsup0_swav(given: Given) -> Row:
    return _mm(given, under("projection_neck.", _neck(given.head)), {"head.prototypes.weight": given.head})


def row_32_mmselfsup0_interclr(given: Given) -> Row:
    necks = under("inter_neck_q.", _neck(given.head)) | under("inter_neck_k.", _neck(given.head))
    row = _old_moco(given, mlp("mlp", given.head), "queue")
    row.checkpoint["state_dict"] |= necks
    return row


def row_32_mmselfsup0_odc(given: Given) -> Row:
    more = linear("head.fc_cls", given.head) | {"loss_weight": given.head}
    more |= {f"memory_bank.{part}": given.head for part in ("feature_bank", "label_bank", "centroids")}
    return _mm(given, _neck(given.head), more, layout="mmselfsup-clusters")


def row_32_mmselfsup1_moco(given: Given) -> Row:
    neck = mlp("mlp", given.head)
    return _mm(given, neck, _averaged("encoder_k", given, neck) | _queues(given, "queue"), new=True)


def row_32_mmselfsup1_densecl(given: Given) -> Row:
    neck = mlp("mlp", given.head) | mlp("mlp2", given.head)
    more = _averaged("encoder_k", given, neck) | _queues(given, "queue", "queue2")
    return _mm(given, neck, more, new=True)


def row_32_mmselfsup1_byol(given: Given) -> Row:
    neck = _neck(given.head)
    return _mm(given, neck, _averaged("target_net", given, neck) | _predictors(given, "head"), new=True)


def row_32_mmselfsup1_mocov3(given: Given) -> Row:
    neck = _neck(given.head)
    return _mm(given, neck, _averaged("momentum_encoder", given, neck) | _predictors(given, "head"), new=True)


def row_32_mmselfsup1_barlow_twins(given: Given) -> Row:
    return _mm(given, _neck(given.head), norm("head.bn", given.head, affine=False), new=True)


def row_32_mmselfsup1_swav(given: Given) -> Row:
    more = {"head.loss.prototypes.weight": given.head}
    return _mm(given, under("projection_neck.", _neck(given.head)), more, new=True)


def row_32_mmpretrain_spark(given: Given) -> Row:
    more = norm("enc_dec_norms.0", given.head) | linear("enc_dec_projectors.0", given.head)
    return _mm(given, {}, more | {"mask_tokens.0": given.head} | linear("neck.proj", given.head), new=True)

"""The written set: complete, equal for any number of workers, all or nothing."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from bench.core.errors import UsageError
from bench.core.safe_image import read_image
from bench.images.source import open_source
from bench.synth.encode import palette
from bench.synth.generate import Counts, generate
from bench.synth.layout import CLASS_NAMES
from bench.synth.scene import make_scene

COUNTS = Counts(detection_train=40, detection_test=12, class_train=2, class_val=1)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("synth") / "set"
    done: list[int] = []
    generate(path, seed=4, size_px=120, counts=COUNTS, progress=done.append)
    assert done == sorted(done)
    assert done[-1] == COUNTS.total == 82
    return path


def _digest(root: Path) -> dict[str, str]:
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def _ids(root: Path, split: str) -> list[str]:
    return (root / "voc" / "ImageSets" / "Main" / f"{split}.txt").read_text().split()


def test_workers_do_not_matter(root: Path, tmp_path: Path) -> None:
    generate(tmp_path / "two", seed=4, size_px=120, counts=COUNTS, num_workers=2)
    assert _digest(tmp_path / "two") == _digest(root)


def test_more_images_leave_the_others_as_they_were(root: Path, tmp_path: Path) -> None:
    generate(tmp_path / "few", seed=4, size_px=120, counts=Counts(5, 3, 1, 1))
    many, few = _digest(root), _digest(tmp_path / "few")
    pictures = [name for name in few if name.endswith((".jpg", ".xml", ".png"))]
    assert len(pictures) == 8 * 4 + 20
    assert all(few[name] == many[name] for name in pictures)


def test_another_seed_gives_other_pictures(root: Path, tmp_path: Path) -> None:
    generate(tmp_path / "other", seed=5, size_px=120, counts=Counts(2, 1, 0, 0))
    name = "voc/JPEGImages/000001.jpg"
    assert _digest(tmp_path / "other")[name] != _digest(root)[name]
    assert not (tmp_path / "other" / "folder").exists()


def test_voc_splits(root: Path) -> None:
    train, val, trainval, test = (_ids(root, name) for name in ("train", "val", "trainval", "test"))
    assert (len(train), len(val), len(test)) == (32, 8, 12)
    assert trainval == train + val
    assert not set(trainval) & set(test)
    for name in ("train", "val", "trainval", "test"):
        lists = [
            (root / "voc" / "ImageSets" / kind / f"{name}.txt").read_text()
            for kind in ("Main", "Segmentation")
        ]
        assert lists[0] == lists[1]
    for kind, suffix in (("JPEGImages", "jpg"), ("Annotations", "xml"), ("SegmentationClass", "png")):
        found = {path.name for path in (root / "voc" / kind).iterdir()}
        assert found == {f"{image_id}.{suffix}" for image_id in trainval + test}
    assert (root / "voc" / "classes.txt").read_text().split() == ["background", *CLASS_NAMES]
    assert (root / "voc" / "palette.txt").read_text().splitlines()[1] == f"1 128 0 0 {CLASS_NAMES[0]}"


def test_voc_xml_is_complete_and_matches_the_masks(root: Path) -> None:
    for image_id in _ids(root, "trainval") + _ids(root, "test"):
        xml = ElementTree.parse(root / "voc" / "Annotations" / f"{image_id}.xml").getroot()
        assert xml.findtext("folder")
        assert xml.findtext("filename") == f"{image_id}.jpg"
        assert [xml.findtext(f"size/{key}") for key in ("width", "height", "depth")] == ["120", "120", "3"]
        assert xml.findtext("segmented") == "1"
        scene = make_scene(4, int(image_id) - 1, 120)
        objects = xml.findall("object")
        assert len(objects) == len(scene.objects) >= 1
        for element, item in zip(objects, scene.objects, strict=True):
            assert element.findtext("name") == CLASS_NAMES[item.class_index]
            assert element.findtext("pose") == "Unspecified"
            assert element.findtext("truncated") == str(int(item.truncated))
            assert element.findtext("difficult") == str(int(item.difficult))
            # 1-based, both ends inside: cut out so, the mask touches all four sides of its box.
            xmin, ymin, xmax, ymax = (
                int(element.findtext(f"bndbox/{key}") or "") for key in ("xmin", "ymin", "xmax", "ymax")
            )
            part = item.mask[ymin - 1 : ymax, xmin - 1 : xmax]
            assert part.sum() == item.mask.sum()
            assert all(side.any() for side in (part[0], part[-1], part[:, 0], part[:, -1]))


def test_label_maps_are_indices_with_the_palette_of_voc(root: Path) -> None:
    assert palette()[:4] == [(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0)]
    assert palette()[255] == (224, 224, 192)
    for image_id in _ids(root, "trainval"):
        with Image.open(root / "voc" / "SegmentationClass" / f"{image_id}.png") as image:
            assert image.mode == "P"
            assert image.getpalette()[:6] == [0, 0, 0, 128, 0, 0]  # type: ignore[index]
            labels = np.array(image)
        assert np.array_equal(labels, make_scene(4, int(image_id) - 1, 120).labels)
        assert set(np.unique(labels)) <= {*range(11), 255}


def test_jpegs_are_near_the_pixels_and_equal_in_both_layouts(root: Path) -> None:
    for image_id in _ids(root, "trainval")[:5]:
        path = root / "voc" / "JPEGImages" / f"{image_id}.jpg"
        pixels = read_image(path)
        wanted = make_scene(4, int(image_id) - 1, 120).pixels
        assert np.abs(pixels.astype(int) - wanted).mean() < 12
        assert path.read_bytes() == (root / "coco" / "images" / "train" / path.name).read_bytes()


@pytest.mark.parametrize(("split", "voc_split"), [("train", "trainval"), ("val", "test")])
def test_coco_loads_in_the_reference_and_decodes_to_the_masks(root: Path, split: str, voc_split: str) -> None:
    coco = COCO(root / "coco" / "annotations" / f"instances_{split}.json")
    assert [entry["name"] for entry in coco.loadCats(coco.getCatIds())] == list(CLASS_NAMES)
    assert [f"{image['id']:06d}" for image in coco.loadImgs(coco.getImgIds())] == _ids(root, voc_split)
    for image in coco.loadImgs(coco.getImgIds()):
        assert (root / "coco" / "images" / split / image["file_name"]).is_file()
        scene = make_scene(4, image["id"] - 1, 120)
        found = coco.loadAnns(coco.getAnnIds(imgIds=[image["id"]], iscrowd=None))
        assert len(found) == len(scene.objects)
        for annotation, item in zip(found, scene.objects, strict=True):
            assert annotation["category_id"] == item.class_index + 1
            assert annotation["iscrowd"] == int(item.crowd)
            assert isinstance(annotation["segmentation"], dict) == item.crowd
            assert np.array_equal(coco.annToMask(annotation), item.mask)
            assert annotation["area"] == item.mask.sum()
            left, top, right, bottom = item.box
            assert annotation["bbox"] == [left, top, right - left + 1, bottom - top + 1]


def test_there_are_crowds_and_holes(root: Path) -> None:
    data = json.loads((root / "coco" / "annotations" / "instances_train.json").read_text())
    assert any(item["iscrowd"] for item in data["annotations"])
    rings = [item for item in data["annotations"] if CLASS_NAMES[item["category_id"] - 1] == "ring"]
    assert any(len(item["segmentation"]) > 1 for item in rings)


def test_image_folder(root: Path) -> None:
    for split, count in (("train", 2), ("val", 1)):
        images = open_source(root / "folder" / split)
        assert images.classes == CLASS_NAMES
        assert images.labels is not None
        assert np.bincount(images.labels).tolist() == [count] * 10
        assert images.read(0).shape == (64, 64, 3)


def test_dataset_json_says_how_it_was_made(root: Path) -> None:
    about = json.loads((root / "dataset.json").read_text())
    assert (about["seed"], about["size_px"], about["class_size_px"]) == (4, 120, 64)
    assert about["counts"]["detection_train"] == 40
    assert about["classes"] == list(CLASS_NAMES)


def test_nothing_is_overwritten_unasked_and_only_own_sets_ever(tmp_path: Path) -> None:
    few = Counts(2, 1, 0, 0)
    generate(tmp_path / "set", counts=few)
    with pytest.raises(UsageError, match="--force"):
        generate(tmp_path / "set", counts=few)
    generate(tmp_path / "set", seed=1, counts=few, replace=True)
    assert json.loads((tmp_path / "set" / "dataset.json").read_text())["seed"] == 1
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("all of it")
    with pytest.raises(UsageError, match="not replaced"):
        generate(tmp_path / "mine", counts=few, replace=True)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "all of it"


@pytest.mark.parametrize(
    "numbers",
    [(-1, 1, 0, 0), (1, 1, 0, 0), (5, 0, 0, 0), (0, 5, 0, 0), (0, 0, 0, 1), (0, 0, 0, 0), (2, 600_000, 0, 0)],
)
def test_impossible_counts_are_refused(numbers: tuple[int, int, int, int]) -> None:
    with pytest.raises(UsageError):
        Counts(*numbers)


@pytest.mark.parametrize(
    "wrong", [{"size_px": 16}, {"size_px": 2000}, {"class_size_px": 8}, {"num_workers": 0}]
)
def test_impossible_requests_are_refused(tmp_path: Path, wrong: dict[str, int]) -> None:
    with pytest.raises(UsageError):
        generate(tmp_path / "set", counts=Counts(2, 1, 0, 0), **wrong)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_a_failure_in_the_middle_leaves_nothing(tmp_path: Path) -> None:
    def stop(done: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate(tmp_path / "set", counts=COUNTS, progress=stop, num_workers=2)
    assert list(tmp_path.iterdir()) == []


def test_a_parent_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="file is a file"):
        generate(tmp_path / "file" / "set", counts=COUNTS)


def test_an_error_of_a_worker_arrives_whole_and_leaves_nothing(tmp_path: Path) -> None:
    # Files may not grow over 2,000 bytes: the first JPEG fails as on a full disk.
    code = (
        "import resource, sys; from pathlib import Path; from bench.core.errors import DiskError\n"
        "from bench.synth.generate import Counts, generate\n"
        "if __name__ == '__main__':\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))\n"
        "    try:\n"
        "        generate(Path(sys.argv[1]), counts=Counts(100, 10, 0, 0), num_workers=2)\n"
        "    except DiskError as error:\n"
        "        print(error)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "set")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "000001.jpg: cannot be written" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_kill_in_the_middle_leaves_nothing_under_the_name_and_no_worker(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from bench.synth.generate import Counts, generate\n"
        "if __name__ == '__main__':\n"
        "    say = lambda done: print(done, flush=True)\n"
        "    generate(Path(sys.argv[1]), counts=Counts(3000, 10, 0, 0), progress=say, num_workers=2)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "set")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        process.kill()
        process.wait()
        # The workers notice that their parent is gone.
        deadline = time.monotonic() + 10
        while _alive(process.pid) and time.monotonic() < deadline:
            time.sleep(0.05)
        alive = _alive(process.pid)
        if alive:
            os.killpg(process.pid, signal.SIGKILL)
    assert not alive
    assert not (tmp_path / "set").exists()
    generate(tmp_path / "set", counts=Counts(2, 1, 0, 0))


def _alive(group: int) -> bool:
    """Is a process of the group still running (not merely waiting to be collected)?"""
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] not in "ZX":
            return True
    return False

"""Tiny archives with the names of the real ones, and torchvision's tables that lead to them on our site."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile

import numpy as np
import numpy.typing as npt
import pytest
import scipy.io
import scipy.sparse
from PIL import Image

from tests.helpers.file_server import Site

SIZE = 12, 9
"""Width and height of every image, in pixels."""
TRAIN, VAL, AUG = ("2007_01", "2007_02"), ("2007_03",), ("2008_01", "2008_02", "2008_03")
NAMES = {"2007": "trainval07.tar", "2007-test": "test07.tar", "2012": "trainval12.tar"}


def tar_of(files: dict[str, bytes], *, packed: bool = False) -> bytes:
    """An archive of these files, with the folders above them first."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for folder in sorted({name[:at] for name in files for at, char in enumerate(name) if char == "/"}):
            info = tarfile.TarInfo(folder)
            info.type = tarfile.DIRTYPE
            archive.addfile(info)
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return gzip.compress(buffer.getvalue(), mtime=0) if packed else buffer.getvalue()


def picture(kind: str, value: int = 0) -> bytes:
    """An image, or a label map, of one value."""
    buffer = io.BytesIO()
    Image.new("RGB" if kind == "JPEG" else "L", SIZE, value).save(buffer, kind)
    return buffer.getvalue()


def annotation(image_id: str) -> bytes:
    """With one object."""
    return (
        f"<annotation><filename>{image_id}.jpg</filename>"
        f"<size><width>{SIZE[0]}</width><height>{SIZE[1]}</height><depth>3</depth></size>"
        "<object><name>cat</name><pose>Left</pose><truncated>0</truncated><difficult>0</difficult>"
        "<bndbox><xmin>2</xmin><ymin>2</ymin><xmax>9</xmax><ymax>8</ymax></bndbox></object></annotation>"
    ).encode()


def voc_files(year: str, lists: dict[str, tuple[str, ...]], maps: tuple[str, ...] = ()) -> dict[str, bytes]:
    """A VOC folder in an archive: lists by their names below ImageSets."""
    root = f"VOCdevkit/VOC{year}"
    files = {f"{root}/ImageSets/{name}.txt": "\n".join(ids).encode() for name, ids in lists.items()}
    for number, image_id in enumerate(sorted({one for ids in lists.values() for one in ids})):
        files[f"{root}/JPEGImages/{image_id}.jpg"] = picture("JPEG", 10 * number + int(year) % 7)
        files[f"{root}/Annotations/{image_id}.xml"] = annotation(image_id)
    return files | {f"{root}/SegmentationClass/{name}.png": picture("PNG", 3) for name in maps}


def voc_archives() -> dict[str, bytes]:
    """Key of torchvision's table to an archive."""
    lists = {"Main/trainval": (*TRAIN, *VAL, *AUG), "Segmentation/train": TRAIN, "Segmentation/val": VAL}
    return {
        "2007": tar_of(voc_files("2007", {"Main/trainval": ("000001", "000002")})),
        "2007-test": tar_of(voc_files("2007", {"Main/test": ("000003", "000004")})),
        "2012": tar_of(voc_files("2012", lists, (*TRAIN, *VAL))),
    }


def labels_of(number: int) -> npt.NDArray[np.uint8]:
    """Label map of an image of SBD."""
    return np.random.default_rng(number).integers(0, 21, (SIZE[1], SIZE[0])).astype(np.uint8)


def mat(labels: npt.NDArray[np.generic], *, packed: bool = True) -> bytes:
    """A file of SBD's `cls`."""
    edges = np.empty((20, 1), object)
    for index in range(20):
        edges[index, 0] = scipy.sparse.csc_matrix(np.eye(4, 5) * (index % 3))
    buffer = io.BytesIO()
    fields = {"Boundaries": edges, "Segmentation": labels, "CategoriesPresent": np.array([[1, 2]])}
    scipy.io.savemat(buffer, {"GTcls": fields}, do_compression=packed)
    return buffer.getvalue()


def sbd_files() -> dict[str, bytes]:
    """Train and val of SBD share images with both of VOC's splits."""
    root = "benchmark_RELEASE/dataset"
    ids = sorted({TRAIN[0], *VAL, *AUG})
    files = {f"{root}/cls/{name}.mat": mat(labels_of(index)) for index, name in enumerate(ids)}
    files |= {f"{root}/img/{name}.jpg": picture("JPEG") for name in ids}
    files[f"{root}/train.txt"] = "\n".join([AUG[1], VAL[0], AUG[0], ""]).encode()
    files[f"{root}/val.txt"] = "\n".join([AUG[2], TRAIN[0], ""]).encode()
    return files | {"benchmark_RELEASE/README": b"read me"}


def put_on(site: Site, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Serve all archives, and let torchvision's tables lead there; file name to bytes."""
    from torchvision.datasets.imagenette import Imagenette
    from torchvision.datasets.sbd import SBDataset
    from torchvision.datasets.voc import DATASET_YEAR_DICT

    bodies = {NAMES[key]: body for key, body in voc_archives().items()}
    bodies["benchmark.tgz"] = tar_of(sbd_files(), packed=True)
    classes = {
        f"imagenette2/{split}/n0{n}/a.JPEG": picture("JPEG", n) for split in ("train", "val") for n in (1, 2)
    }
    bodies["imagenette2.tgz"] = tar_of(classes, packed=True)
    md5 = {name: hashlib.md5(body).hexdigest() for name, body in bodies.items()}
    for key, name in NAMES.items():
        entry = {"url": f"{site.url}/{name}", "filename": name, "md5": md5[name]}
        monkeypatch.setitem(DATASET_YEAR_DICT, key, DATASET_YEAR_DICT[key] | entry)
    monkeypatch.setattr(SBDataset, "url", f"{site.url}/benchmark.tgz")
    monkeypatch.setattr(SBDataset, "md5", md5["benchmark.tgz"])
    full = f"{site.url}/imagenette2.tgz", md5["imagenette2.tgz"]
    monkeypatch.setattr(Imagenette, "_ARCHIVES", {"full": full})
    site.files |= {f"/{name}": body for name, body in bodies.items()}
    return bodies

"""Scenes in VOC layout: one XML file an image, lists of splits, label maps.

The layout of one folder with classes of its own: `Annotations`, `JPEGImages`, `SegmentationClass`,
`ImageSets/Main`, `ImageSets/Segmentation`, `classes.txt` (background first, as in sets with label maps) and
`palette.txt`. Boxes are 1-based with both ends included, as in VOC.
"""

from __future__ import annotations

from collections.abc import Sequence

from bench.core.atomic import StagedFolder
from bench.synth.encode import indexed_png, palette
from bench.synth.layout import CLASS_NAMES
from bench.synth.scene import Scene, SceneObject

_IMAGE = """<annotation>
\t<folder>voc</folder>
\t<filename>{image_id}.jpg</filename>
\t<source>
\t\t<database>transfer-bench synth</database>
\t</source>
\t<size>
\t\t<width>{width}</width>
\t\t<height>{height}</height>
\t\t<depth>3</depth>
\t</size>
\t<segmented>1</segmented>
{objects}</annotation>
"""

_OBJECT = """\t<object>
\t\t<name>{name}</name>
\t\t<pose>Unspecified</pose>
\t\t<truncated>{truncated:d}</truncated>
\t\t<difficult>{difficult:d}</difficult>
\t\t<bndbox>
\t\t\t<xmin>{xmin}</xmin>
\t\t\t<ymin>{ymin}</ymin>
\t\t\t<xmax>{xmax}</xmax>
\t\t\t<ymax>{ymax}</ymax>
\t\t</bndbox>
\t</object>
"""


def annotation_xml(scene: Scene, image_id: str) -> str:
    """The annotation file of one scene; a crowd is one difficult object."""
    height, width = scene.labels.shape
    objects = "".join(_object_xml(item) for item in scene.objects)
    return _IMAGE.format(image_id=image_id, width=width, height=height, objects=objects)


def _object_xml(item: SceneObject) -> str:
    left, top, right, bottom = item.box
    return _OBJECT.format(
        name=CLASS_NAMES[item.class_index],
        truncated=item.truncated,
        difficult=item.difficult,
        xmin=left + 1,
        ymin=top + 1,
        xmax=right + 1,
        ymax=bottom + 1,
    )


def write_image(folder: StagedFolder, scene: Scene, image_id: str, jpeg_bytes: bytes) -> None:
    """Write the three files of one image below `voc/`."""
    folder.write(f"voc/JPEGImages/{image_id}.jpg", jpeg_bytes)
    folder.write(f"voc/Annotations/{image_id}.xml", annotation_xml(scene, image_id).encode())
    folder.write(f"voc/SegmentationClass/{image_id}.png", indexed_png(scene.labels))


def write_lists(folder: StagedFolder, trainval: Sequence[str], test: Sequence[str]) -> None:
    """Write the lists of splits and of classes; the last fifth of trainval is val."""
    num_val = max(len(trainval) // 5, 1)
    splits = {"train": trainval[:-num_val], "val": trainval[-num_val:], "trainval": trainval, "test": test}
    for name, image_ids in splits.items():
        text = "".join(f"{image_id}\n" for image_id in image_ids).encode()
        folder.write(f"voc/ImageSets/Main/{name}.txt", text)
        folder.write(f"voc/ImageSets/Segmentation/{name}.txt", text)
    names = ("background", *CLASS_NAMES)
    colours = palette()
    rows = [f"{index} {' '.join(map(str, colours[index]))} {name}\n" for index, name in enumerate(names)]
    folder.write("voc/classes.txt", "".join(f"{name}\n" for name in names).encode())
    folder.write("voc/palette.txt", "".join(rows).encode())

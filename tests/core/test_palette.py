"""VOC's colours are those that the devkit's documentation shows."""

from bench.core.palette import voc_palette
from bench.synth.encode import palette


def test_the_colours_are_those_of_the_devkit() -> None:
    colours = voc_palette()
    assert len(colours) == len(set(colours)) == 256
    assert colours[:4] == [(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0)]
    assert colours[15] == (192, 128, 128)  # person
    assert colours[20] == (0, 64, 128)  # tvmonitor
    assert colours[255] == (224, 224, 192)  # void


def test_the_generator_paints_with_them() -> None:
    assert palette() == voc_palette()

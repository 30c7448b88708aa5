"""The repairs let Detectron2 run, leave the rest of the world alone, and do nothing beside a complete one."""

import subprocess
import sys

import pytest

from bench.core.errors import EngineError
from transfer.engines.detectron2.repairs import load_detectron2


def in_new_process(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True, timeout=300
    ).stdout


@pytest.mark.slow
def test_numpy_and_pillow_are_left_as_they_were() -> None:
    out = in_new_process(
        "import numpy, PIL.Image\n"
        "before = set(dir(numpy)), set(dir(PIL.Image))\n"
        "from transfer.engines.detectron2.repairs import load_detectron2\n"
        "load_detectron2(); load_detectron2()\n"
        "print(before == (set(dir(numpy)), set(dir(PIL.Image))))\n"
        "import detectron2.evaluation.sem_seg_evaluation as m\n"
        "print(m.np.float is float, m.np.zeros is numpy.zeros)\n"
    )
    assert out.split() == ["True", "True", "True"]


@pytest.mark.slow
def test_a_complete_detectron2_keeps_its_extension() -> None:
    out = in_new_process(
        "import sys, types\n"
        "import detectron2\n"
        "real = types.ModuleType('detectron2._C'); real.marker = 7\n"
        "real.COCOevalAccumulate = real.COCOevalEvaluateImages = None\n"
        "sys.modules['detectron2._C'] = real; detectron2._C = real\n"
        "from transfer.engines.detectron2.repairs import load_detectron2\n"
        "load_detectron2()\n"
        "print(detectron2._C.marker, sys.modules['detectron2._C'] is real)\n"
    )
    assert out.split() == ["7", "True"]


def test_the_stand_in_refuses_to_be_used() -> None:
    package = load_detectron2()
    if hasattr(package._C, "__spec__") and package._C.__spec__ is not None:
        pytest.skip("this Detectron2 is complete")
    with pytest.raises(EngineError, match="compiled extension"):
        package._C.nms_rotated()


@pytest.mark.slow
def test_detectron2_can_report_on_its_environment() -> None:
    """Its `default_setup`, and so its own training tool, begins with that."""
    out = in_new_process(
        "from transfer.engines.detectron2.repairs import load_detectron2\n"
        "load_detectron2()\n"
        "from detectron2.utils.collect_env import collect_env_info\n"
        "print('not compiled' in collect_env_info())\n"
    )
    assert out.split() == ["True"]

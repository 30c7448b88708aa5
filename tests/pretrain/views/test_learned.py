"""A generator's file: what is written is read, anything else is refused; and bench pretrain takes it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save as to_bytes

from bench.core.errors import ConfigError, WeightsError
from pretrain.views.colour_spaces import SPACES
from pretrain.views.learned import Generator, GeneratorCard, read_generator
from tests.helpers import pretraining as toy

CARD = GeneratorCard(space="ydbdr", kind="real_nvp", num_layers=4, hidden=6, note="a test")


def spoilt() -> Generator:
    """One that is not the identity any more."""
    torch.manual_seed(0)
    generator = Generator.of(CARD)
    with torch.no_grad():
        for value in generator.flow.parameters():
            value += 0.2 * torch.randn(value.shape)
    return generator


def images() -> torch.Tensor:
    return torch.rand(2, 3, 5, 5, generator=torch.Generator().manual_seed(1))


def test_a_new_one_gives_the_colour_space_itself() -> None:
    space = SPACES["ydbdr"]
    assert torch.equal(Generator.of(CARD)(images()), space.normalise(space.to(images())))


def test_what_is_written_is_read_and_draws_nothing(tmp_path: Path) -> None:
    generator, path = spoilt(), tmp_path / "generator.safetensors"
    path.write_bytes(generator.to_bytes())
    state = torch.get_rng_state()
    found = read_generator(path, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    assert torch.equal(torch.get_rng_state(), state)
    assert found.card == CARD
    assert torch.equal(found(images()), generator(images()))
    assert not torch.equal(found(images()), Generator.of(CARD)(images()))
    assert not any(value.requires_grad for value in found.flow.parameters())


def test_another_file_is_refused_by_its_hash(tmp_path: Path) -> None:
    path = tmp_path / "generator.safetensors"
    path.write_bytes(spoilt().to_bytes())
    with pytest.raises(WeightsError, match="another generator"):
        read_generator(path, sha256="0" * 64)


def test_what_is_no_generator_is_refused(tmp_path: Path) -> None:
    tensors = dict(spoilt().flow.state_dict())
    name = next(iter(tensors))
    card = CARD.model_dump_json()
    other = json.dumps({**CARD.model_dump(), "space": "cmyk"})
    bad = {name: tensors[name] * float("nan")}
    files = {
        "text": b"no tensors",
        "no card": to_bytes(tensors),
        "card of something": to_bytes(tensors, metadata={"generator": "{}"}),
        "unknown space": to_bytes(tensors, metadata={"generator": other}),
        "a tensor less": to_bytes(
            {k: v for k, v in tensors.items() if k != name}, metadata={"generator": card}
        ),
        "a tensor more": to_bytes({**tensors, "more": torch.ones(1)}, metadata={"generator": card}),
        "not finite": to_bytes({**tensors, **bad}, metadata={"generator": card}),
    }
    for title, data in files.items():
        path = tmp_path / f"{title}.safetensors"
        path.write_bytes(data)
        with pytest.raises(WeightsError, match=title):
            read_generator(path)
    with pytest.raises(WeightsError):
        read_generator(tmp_path / "gone.safetensors")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy.make_images(tmp_path_factory.mktemp("images"))


def learned(path: Path, sha256: str) -> tuple[str, ...]:
    # Of a grey picture, the network that sees colour would see nothing.
    views = ("view.gray_probability=0.0", 'view.order=["crop", "flip", "jitter", "blur"]')
    return (
        'parts.modality="learned"',
        f'parts.generator="{path}"',
        f'parts.generator_sha256="{sha256}"',
        *views,
    )


def test_bench_pretrain_is_fed_by_it_and_leaves_it_as_it_is(tmp_path: Path, pictures: Path) -> None:
    generator, path = spoilt(), tmp_path / "generator.safetensors"
    path.write_bytes(generator.to_bytes())
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    job = toy.toy_job(tmp_path, pictures, "contrast", *learned(path, sha256))
    now = toy.prepare(job)
    pixels = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8)
    expected = generator(pixels.to(now.model.dtype).div(255.0))
    fed = now.model.normalise(pixels)
    torch.testing.assert_close(fed, expected, rtol=0.0, atol=1e-6)  # another order of memory
    toy.step(now, toy.batches(job, now, 0, 1)[0], 0)
    assert torch.equal(now.model.normalise(pixels), fed)
    assert any(name.startswith("flow.") for name in now.model.state_dict()), "saved with the run"


def test_it_must_be_the_one_that_the_config_says(tmp_path: Path, pictures: Path) -> None:
    path = tmp_path / "generator.safetensors"
    path.write_bytes(spoilt().to_bytes())
    with pytest.raises(ConfigError, match="another generator"):
        toy.toy_plan(tmp_path, pictures, "contrast", *learned(path, "0" * 64))
    with pytest.raises(ConfigError, match="generator_sha256"):
        toy.toy_plan(tmp_path, pictures, "contrast", *learned(path, "0" * 64)[:2])
    with pytest.raises(ConfigError, match="no use for generator"):
        toy.toy_plan(tmp_path, pictures, "contrast", f'parts.generator="{path}"')

"""The command line as scripts see it: exit codes, streams, help, and the list of commands and options.

`tests/golden/cli.txt` holds every command with its options. After a change that is meant:
`UPDATE_GOLDEN=1 uv run pytest -n 0 tests/test_cli.py`, and read the difference.
"""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

from bench import __version__, cli
from bench.core import errors
from tests.core.test_errors import EXIT_CODES

GOLDEN = Path(__file__).parent / "golden" / "cli.txt"
START = [sys.executable, "-c", "from bench.cli import main; main()"]


def run_with(
    monkeypatch: pytest.MonkeyPatch, work: Callable[[], object], *arguments: str
) -> int | str | None:
    """The exit code of `bench [arguments] probe`, where the command `probe` does `work`."""
    probe = click.Command("probe", callback=work)
    monkeypatch.setattr(cli.LazyGroup, "list_commands", lambda *_args: ["probe"])
    monkeypatch.setattr(cli.LazyGroup, "get_command", lambda *_args: probe)
    monkeypatch.setattr(sys, "argv", ["bench", *arguments, "probe"])
    monkeypatch.setenv(cli.DEBUG_VARIABLE, "")
    try:
        cli.main()
    except SystemExit as stop:
        return stop.code
    return 0


def raises(error: BaseException) -> Callable[[], object]:
    def work() -> None:
        raise error

    return work


@pytest.mark.parametrize("name", EXIT_CODES)
def test_each_error_has_its_exit_code_and_one_line(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    error = getattr(errors, name)("moco.pth: 3 tensors are missing.")
    assert run_with(monkeypatch, raises(error)) == EXIT_CODES[name]
    out, err = capfd.readouterr()
    assert (out, err) == ("", "bench: moco.pth: 3 tensors are missing.\n")


def test_an_error_cannot_write_to_the_terminal_what_it_quotes(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    error = errors.DataError.of(["a\x1b[31m.csv: bad", "b.csv: bad"])
    assert run_with(monkeypatch, raises(error)) == 4
    _, err = capfd.readouterr()
    assert "\x1b" not in err and "[31m.csv: bad" in err
    assert len(err.splitlines()) == len(str(error).split("\n")) > 1


def test_debug_shows_where(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    assert run_with(monkeypatch, raises(errors.DataError("bad")), "--debug") == 4
    out, err = capfd.readouterr()
    assert out == ""
    assert "Traceback" in err
    assert __file__ in err


def test_a_fault_of_ours_says_so(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    assert run_with(monkeypatch, raises(ZeroDivisionError("by nothing"))) == 1
    out, err = capfd.readouterr()
    assert out == ""
    assert "Traceback" not in err
    assert "ZeroDivisionError: by nothing" in err
    assert cli.DEBUG_VARIABLE in err
    assert run_with(monkeypatch, raises(ZeroDivisionError("by nothing")), "--debug") == 1
    assert "Traceback" in capfd.readouterr().err


@pytest.mark.parametrize("error", [KeyboardInterrupt(), click.Abort(), EOFError()])
def test_the_keyboard_stops_with_130(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], error: BaseException
) -> None:
    assert run_with(monkeypatch, raises(error)) == 130
    out, err = capfd.readouterr()
    assert out == ""
    assert "Traceback" not in err


def test_a_command_that_ends_well(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    assert run_with(monkeypatch, lambda: click.echo("result")) == 0
    assert capfd.readouterr() == ("result\n", "")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*START, *arguments], capture_output=True, text=True, timeout=60, check=False)


def test_the_version() -> None:
    done = run("--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == ["bench,", "version", __version__]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["reprot"], 'Did you mean "report"'),
        (["nonsense"], "transfer"),
        (["--nonsense"], "--nonsense"),
        (["report", "--nonsense"], "--nonsense"),
        (["report", "--format", "pdf"], "pdf"),
        (["transfer", "nonsense"], "nonsense"),
        (["demo", "--seeds", "x"], "x"),
        ([], "Usage"),
    ],
)
def test_wrong_usage_is_2_and_says_what_there_is(arguments: list[str], words: str) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_a_reader_that_goes_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([*START, "--help"], stdout=writing, stderr=subprocess.PIPE, timeout=60, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_full_disk_behind_stdout_is_9() -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*START, "--help"], stdout=full, stderr=subprocess.PIPE, timeout=60, check=False
        )
    assert done.returncode == 9
    assert b"Traceback" not in done.stderr
    assert os.strerror(errno.ENOSPC).encode() not in done.stderr


HEAVY = ("torch", "torchvision", "numpy", "pydantic", "pandas", "PIL", "cv2", "rich", "detectron2", "mmseg")


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nsys.argv = ['bench', '--help']\nfrom bench.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\nsys.stderr.write(' '.join(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "transfer" in done.stdout
    modules = done.stderr.split()
    assert "bench.commands.report" in modules, "the commands were asked for their help"
    assert not [name for name in modules if name.partition(".")[0] in HEAVY]
    assert not [name for name in modules if name.startswith(("transfer", "pretrain"))]


def test_help_is_quick() -> None:
    # Of the processor: beside other tests, the clock says more of them than of us.
    times = []
    for _ in range(5):
        start = os.times()
        run("--help")
        end = os.times()
        times.append(end.children_user + end.children_system - start.children_user - start.children_system)
        if times[-1] < 0.3:
            return
    pytest.fail(f"{min(times):.2f} s")


def commands(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None, name
            yield from commands(inner, f"{path} {name}")


ALL = dict(commands(cli.bench, "bench"))


def describe(parameter: click.Parameter) -> str:
    info = parameter.to_info_dict()
    names = " ".join([*parameter.opts, *parameter.secondary_opts])
    kind = info["type"]
    choices = f" {'|'.join(map(str, kind['choices']))}" if "choices" in kind else ""
    words = [f"  {names} <{kind['name']}{choices}>"]
    words += [word for word in ("required", "multiple", "is_flag") if info.get(word)]
    if info.get("default") not in (None, False, ()) and not callable(info["default"]):
        words.append(f"default {info['default']}")
    return " ".join(words)


def test_commands_and_options_are_those_of_the_golden_file() -> None:
    found = "".join(
        "\n".join([path, *(describe(parameter) for parameter in command.params)]) + "\n"
        for path, command in sorted(ALL.items())
    )
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.write_text(found)
    assert found == GOLDEN.read_text(), "see the docstring of this file"


@pytest.mark.parametrize("path", ALL)
def test_every_command_and_option_has_a_help(path: str) -> None:
    command = ALL[path]
    help_text = command.get_help(click.Context(command, info_name=path))
    assert "Examples:" in help_text
    options = [parameter for parameter in command.params if isinstance(parameter, click.Option)]
    assert [option.name for option in options if not option.help] == []

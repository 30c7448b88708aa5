"""`bench ls`: what the suite knows, from its tables and registries."""

from __future__ import annotations

from typing import Any

import click


@click.group("ls")
def command() -> None:
    """List what the suite knows.

    \b
    Examples:
      bench ls protocols
      bench ls layouts
    """


@command.command("protocols")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def protocols(as_json: bool) -> None:
    """List the protocols: what each is, where it is from, how many published numbers it has.

    \b
    Examples:
      bench ls protocols
      bench ls protocols --json
    """
    from bench.commands._text import echo_json, rows, terminal_width
    from bench.core.config import read_toml
    from bench.core.paths import CONFIGS
    from bench.report.published import num_published, read_published

    published = read_published()
    found = []
    for path in sorted((CONFIGS / "transfer").glob("*.toml")):
        values = read_toml(path)
        entry = {key: values[key] for key in ("slug", "task", "version", "title", "source")}
        found.append({**entry, "num_published": num_published(published, values["task"], values["slug"])})
    if as_json:
        echo_json(found)
        return
    for entry in found:
        click.echo(entry["slug"])
        count = f"{entry['num_published']} numbers" if entry["num_published"] else "none: run the baselines"
        facts = [("task", f"{entry['task']}, protocol version {entry['version']}"), ("is", entry["title"])]
        facts += [("from", entry["source"]), ("published", count)]
        for line in rows(facts, column=9, width=terminal_width()):
            click.echo(line)
        click.echo()


@command.command("layouts")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def layouts(as_json: bool) -> None:
    """List the checkpoint layouts: where each keeps its backbone, and what stands beside it.

    A place is written container:prefix; in angle brackets stand names other than torchvision's. The
    encoder that is taken comes first, the others can be had with --encoder.

    \b
    Examples:
      bench ls layouts
      bench ls layouts --json
    """
    from dataclasses import asdict

    from bench.commands._text import echo_json, input_text, rows, terminal_width
    from transfer.adapters.layout import STANDARD_INPUT
    from transfer.adapters.layouts import LAYOUTS

    if as_json:
        values = [
            {**asdict(layout), "input": layout.input.model_dump(mode="json") if layout.input else None}
            for layout in LAYOUTS
        ]
        echo_json(values)
        return
    for layout in LAYOUTS:
        click.echo(layout.name)
        facts = [*((layout.label, str(place)) for place in layout.places)]
        facts += [(label, str(place)) for label, place in layout.others]
        if layout.input is None:
            facts.append(("input", "not known: say it with --input-spec, or in a card beside the file"))
        elif layout.input != STANDARD_INPUT:
            facts += [("input", line) for line in input_text(layout.input)]
        facts += [("note", note) for note in layout.notes]
        if layout.also:
            facts.append(("also", ", ".join(layout.also)))
        for line in rows([*facts, ("source", layout.source)], column=14, width=terminal_width()):
            click.echo(line)
        click.echo()
    click.echo(f"{len(LAYOUTS)} layouts. The input is RGB with ImageNet's mean and std where none is named.")


@command.command("methods")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def methods(as_json: bool) -> None:
    """List the pretraining methods: parts, configs, published numbers, departures from what they follow.

    \b
    Examples:
      bench ls methods
      bench ls methods --json
    """
    from dataclasses import asdict

    from bench.commands._method_facts import departures, published_lines
    from bench.commands._text import echo_json, rows, terminal_width
    from bench.core.config import read_toml
    from bench.core.paths import CONFIGS
    from bench.report.published import read_published
    from pretrain.api import METHODS

    configs: dict[str, list[str]] = {}
    for path in sorted((CONFIGS / "pretrain").glob("*.toml")):
        configs.setdefault(read_toml(path)["method"].replace("_", "-"), []).append(path.stem)
    published, files = read_published().rows, METHODS.files()
    found: list[dict[str, Any]] = [
        {
            "name": name.replace("-", "_"),
            "version": method.version,
            "summary": method.summary,
            "parts": asdict(method.preset),
            "configs": configs.get(name, []),
            "source": method.source,
            "published": [row for row in published if row.method in method.published_as],
            "departures": departures(files[name]),
        }
        for name, method in METHODS
    ]
    if as_json:
        echo_json(
            [{**entry, "published": [row.model_dump() for row in entry["published"]]} for entry in found]
        )
        return
    for entry in found:
        click.echo(entry["name"])
        parts = ", ".join(f"{key} {_word(value)}" for key, value in entry["parts"].items())
        facts = [("is", entry["summary"]), ("made of", parts), ("configs", ", ".join(entry["configs"]))]
        facts += [("published", line) for line in published_lines(entry["published"])]
        facts += [("departs", line) for line in entry["departures"]]
        facts.append(("from", entry["source"]))
        for line in rows(facts, column=9, width=terminal_width()):
            click.echo(line)
        click.echo()


@command.command("studies")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def studies(as_json: bool) -> None:
    """List the studies of views: what is turned, what is measured, the configs, where each is from.

    \b
    Examples:
      bench ls studies
      bench ls studies --json
    """
    from bench.commands._text import echo_json, rows, terminal_width
    from bench.core.paths import CONFIGS
    from pretrain.analysis.api import STUDIES

    found: list[dict[str, Any]] = [
        {
            "name": name,
            "version": study.version,
            "summary": study.summary,
            "turned": study.knob_name,
            "scores": dict(study.scores),
            "takes_data": study.takes_data,
            "configs": [path.stem for path in sorted((CONFIGS / "views").glob(f"{name}-*.toml"))],
            "source": study.source,
        }
        for name, study in STUDIES
    ]
    if as_json:
        echo_json(found)
        return
    for entry in found:
        click.echo(entry["name"])
        facts = [("is", entry["summary"]), ("turned", entry["turned"] or "settings that are no numbers")]
        facts += [("measured", "; ".join(("I_NCE (nats)", *entry["scores"].values())))]
        facts += [("--data", "takes it" if entry["takes_data"] else "takes none: all is drawn")]
        facts += [("configs", ", ".join(entry["configs"])), ("from", entry["source"])]
        for line in rows(facts, column=9, width=terminal_width()):
            click.echo(line)
        click.echo()


def _word(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)

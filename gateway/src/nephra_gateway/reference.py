"""The page at `/docs`: the OpenAPI document for people, whole in itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from typing import Any

_STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h2 { margin-top: 2.5rem; text-transform: capitalize; }
details { border: 1px solid #8886; border-radius: .4rem; margin: .6rem 0; padding: .5rem .8rem; }
summary { cursor: pointer; overflow-wrap: anywhere; }
code, pre { font-family: ui-monospace, monospace; font-size: .9rem; }
pre { overflow-x: auto; background: #8882; padding: .6rem; border-radius: .3rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .25rem .8rem .25rem 0; }
.verb { display: inline-block; min-width: 3.2rem; font-weight: 700; }
""".strip()


def page(document: Mapping[str, Any]) -> str:
    """The document as HTML; no scripts, nothing from other hosts."""
    info = document["info"]
    sections = "".join(_section(document, tag) for tag in document["tags"])
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escape(info['title'])}</title><style>{_STYLE}</style></head><body><main>"
        f"<h1>{escape(info['title'])} {escape(info['version'])}</h1>"
        f"<p>{escape(info['description'])}</p>"
        "<p>Every request carries <code>Authorization: Bearer TOKEN</code>. With "
        "<code>Accept: application/x-ndjson</code> the answer is a stream of events; hanging up "
        "cancels the work. Errors are <code>application/problem+json</code> with a stable "
        '<code>code</code>. For programs: <a href="openapi.json">openapi.json</a>.</p>'
        f"{sections}</main></body></html>"
    )


def _section(document: Mapping[str, Any], tag: Mapping[str, Any]) -> str:
    found = [
        _entry(document, path, verb, entry)
        for path, verbs in document["paths"].items()
        for verb, entry in verbs.items()
        if tag["name"] in entry["tags"]
    ]
    title, text = escape(tag["name"]), escape(tag["description"])
    return f"<section><h2>{title}</h2><p>{text}</p>{''.join(found)}</section>"


def _entry(document: Mapping[str, Any], path: str, verb: str, entry: Mapping[str, Any]) -> str:
    content = entry.get("requestBody", {}).get("content", {}).get("application/json", {})
    return (
        f'<details><summary><span class="verb">{verb.upper()}</span> <code>{escape(path)}</code> '
        f"{escape(entry['summary'])}</summary>{_paragraphs(entry.get('description', ''))}"
        f"{_members(document, content.get('schema'))}{_parameters(entry)}"
        f"{_example(path, content.get('examples'))}{_answers(document, entry)}</details>"
    )


def _paragraphs(text: str) -> str:
    return "".join(f"<p>{escape(p)}</p>" for p in text.split("\n\n") if p.strip())


def _members(document: Mapping[str, Any], schema: Mapping[str, Any] | None) -> str:
    if schema is None:
        return ""
    found = document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[-1]]
    needed = found.get("required", [])
    rows = "".join(
        f"<tr><td><code>{escape(name)}</code>{' (needed)' if name in needed else ''}</td>"
        f"<td>{escape(_kind(member))}</td><td>{escape(member.get('description', ''))}</td></tr>"
        for name, member in found.get("properties", {}).items()
    )
    return f"<table><tr><th>member</th><th>type</th><th>meaning</th></tr>{rows}</table>"


def _parameters(entry: Mapping[str, Any]) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(given['name'])}</code></td><td>{escape(given['in'])}</td>"
        f"<td>{escape(given['description'])}</td></tr>"
        for given in entry.get("parameters", [])
    )
    if not rows:
        return ""
    return f"<table><tr><th>parameter</th><th>where</th><th>meaning</th></tr>{rows}</table>"


def _answers(document: Mapping[str, Any], entry: Mapping[str, Any]) -> str:
    rows = ""
    for status, found in entry["responses"].items():
        if "$ref" in found:
            found = document["components"]["responses"][found["$ref"].rsplit("/", 1)[-1]]
        rows += f"<tr><td>{status}</td><td>{escape(found['description'])}</td></tr>"
    return f"<table><tr><th>answer</th><th>meaning</th></tr>{rows}</table>"


def _kind(member: Mapping[str, Any]) -> str:
    """A type in few words, with its bounds and its default."""
    if "anyOf" in member:
        kind = " or ".join(_kind(m) for m in member["anyOf"] if m.get("type") != "null")
    elif "enum" in member:
        kind = ", ".join(str(v) for v in member["enum"])
    elif member.get("type") == "array":
        kind = f"list of {_kind(member.get('items', {}))}"
    else:
        kind = str(member.get("type", member.get("$ref", "any").rsplit("/", 1)[-1]))
    bounds = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    kind += "".join(f" {sign} {member[k]}" for k, sign in bounds.items() if k in member)
    default = member.get("default")
    return kind if default is None else f"{kind}; default {json.dumps(default)}"


def _example(path: str, examples: Mapping[str, Any] | None) -> str:
    if not examples:
        return ""
    body = json.dumps(examples["usual"]["value"])
    command = f"curl -H \"Authorization: Bearer $TOKEN\" --json '{body}' $NEPHRA{path}"
    return f"<pre>{escape(command)}</pre>"

"""The table of settings in docs/settings.md, from the fields of configs.py.

python -m docs.settings_table            print it
python -m docs.settings_table --write    write it into docs/settings.md, between the two comments there
"""

import argparse
from pathlib import Path
from typing import Any

from configs import BaseConfig

PAGE = Path(__file__).with_name("settings.md")
BEGIN = "<!-- made by: python -m docs.settings_table --write -->"
END = "<!-- end of the settings -->"
# The first field of each group in the class, and its heading.
GROUPS = {
    "model_checkpoint": "Training",
    "deployed_sample_size": "Decision, release, life cycle",
}
FIRST_GROUP = "Who and where"
BOUNDS = {
    "minimum": "at least",
    "exclusiveMinimum": "above",
    "maximum": "at most",
    "exclusiveMaximum": "below",
}


def table() -> str:
    """A Markdown table for each group, needed settings first: name, default, meaning with its limits."""
    schema = BaseConfig.model_json_schema(by_alias=False)
    groups: dict[str, list[str]] = {FIRST_GROUP: []}
    for name in schema["properties"]:
        if name in GROUPS:
            groups[GROUPS[name]] = []
        groups[list(groups)[-1]].append(name)
    lines = []
    for heading, names in groups.items():
        lines += ["", f"**{heading}**", "", "| name | default | meaning |", "| --- | --- | --- |"]
        for name in sorted(names, key=lambda name: name not in schema["required"]):
            field = schema["properties"][name]
            default = "needed" if name in schema["required"] else _shown(field["default"])
            lines.append(f"| `{name.upper()}` | {default} | {_meaning(field)} |")
    return "\n".join(lines) + "\n"


def _shown(default: Any) -> str:
    """A default as it is written in an env file; empty if there is none."""
    if default is None or default == "":
        return ""
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    return f"`{default:g}`".replace("e-0", "e-") if isinstance(default, float) else f"`{default}`"


def _meaning(field: dict[str, Any]) -> str:
    value = next((kind for kind in field.get("anyOf", ()) if kind.get("type") != "null"), field)
    if "minimum" in value and "maximum" in value:
        bounds = f"{value['minimum']} to {value['maximum']}"
    else:
        bounds = ", ".join(f"{words} {value[key]}" for key, words in BOUNDS.items() if key in value)
    choices = " or ".join(f"`{choice}`" for choice in value.get("enum", ()))
    secret = "secret" if value.get("format") == "password" else ""
    limits = choices or bounds or secret
    return f"{field['description']} ({limits})" if limits else field["description"]


def with_table(page: str) -> str:
    """The page with the current table; everything else in it stays."""
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m docs.settings_table", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--write", action="store_true", help="write it into docs/settings.md")
    if parser.parse_args().write:
        PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        print(table())


if __name__ == "__main__":
    main()

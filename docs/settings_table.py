"""The README's table of settings, from the fields of configs.py.

python -m docs.settings_table            print it
python -m docs.settings_table --write    put it into README.md, between its two comments
"""

import argparse
from pathlib import Path
from typing import Any

from configs import BaseConfig

README = Path(__file__).parent.parent / "README.md"
BEGIN = "<!-- made by: python -m docs.settings_table --write -->"
END = "<!-- end of the settings -->"
# Each group, by its first field; the order is that of the class.
GROUPS = {
    "label": "Who and where",
    "model_checkpoint": "Training",
    "deployed_sample_size": "Decision, release, life cycle",
}
BOUNDS = {
    "minimum": "at least",
    "exclusiveMinimum": "above",
    "maximum": "at most",
    "exclusiveMaximum": "below",
}


def table() -> str:
    """One Markdown table a group: name, default, meaning with choices and bounds."""
    schema = BaseConfig.model_json_schema()
    lines = []
    for name, field in schema["properties"].items():
        if name in GROUPS:
            lines += ["", f"**{GROUPS[name]}**", "", "| name | default | meaning |", "| --- | --- | --- |"]
        default = "needed" if name in schema["required"] else _shown(field["default"])
        lines.append(f"| `{name.upper()}` | {default} | {_meaning(field)} |")
    return "\n".join(lines) + "\n"


def _shown(default: Any) -> str:
    """A default as one would write it into an env file; nothing for none."""
    if default is None:
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


def with_table(readme: str) -> str:
    """The README with the table of now; all else in it stays."""
    before, rest = readme.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m docs.settings_table", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--write", action="store_true", help="put it into README.md")
    if parser.parse_args().write:
        README.write_text(with_table(README.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        print(table())


if __name__ == "__main__":
    main()

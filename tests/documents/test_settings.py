"""The settings in the documents and in .env.example are those of the code, with the same defaults."""

import re
import shutil

import pytest

from configs import BaseConfig, get_config
from docs.settings_table import PAGE, with_table
from retrain.setup.installation import BUILD, OURS, PREPARE_SECRETS, PREPARE_VARIABLES, VARIABLES
from tests.conftest import SOURCE
from tests.documents.commands import runs
from tests.documents.conftest import ACTIVATE, Clone
from tests.documents.reading import FIELDS, NEEDED


@runs(r"python -m docs\.settings_table --write")
def test_the_table_of_settings_is_that_of_the_code(clone: Clone, commands: list[str]) -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == with_table(page), f"the settings have changed: {commands[0]}"
    clone.type(ACTIVATE, commands[0])
    assert (clone.folder / "docs" / "settings.md").read_text(encoding="utf-8") == page


@runs(r"openssl .*")
@pytest.mark.skipif(shutil.which("openssl") is None, reason="a key is made with openssl")
def test_a_key_for_the_audit_log_is_made(clone: Clone, commands: list[str]) -> None:
    assert re.fullmatch(r"[0-9a-f]{64}\n", clone.type(commands[0]))


def example_settings() -> dict[str, tuple[str, bool]]:
    """Of .env.example, by name: the value, and whether its section says that it is the default."""
    found, is_default = {}, False
    for line in (SOURCE / ".env.example").read_text(encoding="utf-8").splitlines():
        if line.startswith("# ---"):
            is_default = line.endswith("with their defaults")
        elif setting := re.fullmatch(r'(?:# )?([A-Z0-9_]+)=("[^"]*"|\S*)(?: +# .*)?', line):
            assert setting[1] not in found, f"{setting[1]} stands there twice"
            found[setting[1]] = (setting[2], is_default)
    return found


def test_the_example_env_file_names_every_setting_and_no_other() -> None:
    named, of_preparations = example_settings().keys(), PREPARE_VARIABLES | PREPARE_SECRETS
    assert named - of_preparations == FIELDS | OURS | set(BUILD)


def test_the_defaults_of_the_example_env_file_are_those_of_the_code() -> None:
    example = example_settings()
    needed = {name: example[name][0] for name in NEEDED}
    without = get_config(needed)
    defaults = {name: value for name, (value, is_default) in example.items() if is_default}
    assert len(defaults) > 20
    for name, value in defaults.items():
        with_it = get_config(needed | {name: value})
        default = getattr(without, name.lower())
        assert bool(value) == (default is not None), name
        assert getattr(with_it, name.lower()) == default, name


def test_every_setting_has_a_description() -> None:
    assert not [name for name, field in BaseConfig.model_fields.items() if not field.description]


def test_the_guide_names_what_the_set_up_reads_and_what_it_passes_on_to_libraries() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert not [name for name in VARIABLES - FIELDS if f"`{name}`" not in page]
    assert not [name for name in OURS if f"`{name}`" not in page]

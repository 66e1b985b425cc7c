"""The settings of a preparation: what is read, and how a fault is said."""

import pytest

from retrain.errors import SettingsError
from tests.spaces.prepare_dataset.conftest import KEY, settings_for


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"LABEL": "mood"}, "LABEL='mood': should be one or several of urgency, department"),
        ({"LABEL": "urgency,urgency"}, "LABEL='urgency,urgency': should be one or several of"),
        ({"LABEL": "urgency,department", "DATASET_REPO_ID": "city/data"}, "should have {label} in it"),
        ({"DATASET_REPO_ID": "data"}, "should look like owner/name"),
        ({"SPLIT_KEY": "short"}, "SPLIT_KEY"),
        ({"AUDIT_PROBABILITY": "1.5"}, "AUDIT_PROBABILITY='1.5'"),
        ({"COLUMN_NAMES": "message"}, "should be pairs such as message:body"),
        ({"COLUMN_NAMES": "text:body"}, "should not have text; the columns are id, message"),
        ({"COMPLAINTS_TABLE": "complaints; DROP TABLE x"}, "should be the name of a table"),
        ({"FORGET": "a text"}, "has 2 that are no hashes"),
        ({"DATABASE_URL": "mysql://u:p@h/d"}, "should begin with postgresql://"),
        ({"DATABASE_URL": "postgresql://h/d", "SOURCE": "a.csv"}, "Set either DATABASE_URL or SOURCE"),
    ],
)
def test_a_fault_is_said_with_its_variable(given: dict[str, str], said: str) -> None:
    with pytest.raises(SettingsError) as error:
        settings_for(**given)
    assert said in str(error.value)
    assert "u:p" not in str(error.value)


def test_all_faults_are_said_at_once() -> None:
    with pytest.raises(SettingsError) as error:
        settings_for(LABEL="mood", SPLIT_KEY="short", MIN_NEW_ROWS="0")
    assert {"LABEL", "SPLIT_KEY", "MIN_NEW_ROWS"} <= set(str(error.value).replace("=", " ").split()) | {
        word.rstrip(":") for word in str(error.value).split()
    }


def test_each_label_set_has_a_data_set_of_its_own() -> None:
    settings = settings_for(LABEL="urgency, department")
    assert settings.repo_ids() == {
        "urgency": "city/grievances-urgency",
        "department": "city/grievances-department",
    }


def test_the_password_of_the_database_is_masked_by_itself_too() -> None:
    settings = settings_for(DATABASE_URL="postgresql://u:pass%20word1@h:5433/d")
    assert {"pass%20word1", KEY} <= set(settings.secrets)


def test_names_of_columns_may_be_others() -> None:
    settings = settings_for(COLUMN_NAMES="message:body, correct_urgency:right_urgency")
    assert (settings.column("message"), settings.column("correct_urgency")) == ("body", "right_urgency")
    assert settings.column("id") == "id"

"""What the Spaces share to take feedback."""

import pytest

from common.feedback_api import read_names


@pytest.mark.parametrize("text", ["{", "[1]", '{"urgency": "NORMAL"}', "urgency=NORMAL"])
def test_labels_that_can_not_be_read_are_said_by_the_name_of_their_setting(text: str) -> None:
    with pytest.raises(ValueError, match="FEEDBACK_LABELS should look like"):
        read_names(text)

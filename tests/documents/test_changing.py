"""What a contributor types, beside what continuous integration runs."""

from tests.documents.commands import runs
from tests.documents.conftest import Clone


@runs(r"make catalogue|pybabel .*")
def test_the_catalogue_is_made_anew_and_stays_what_it_is(clone: Clone, commands: list[str]) -> None:
    files = [*(clone.folder / "retrain/locale").rglob("retrain.*o")]
    before = {file: file.read_bytes() for file in files}
    assert len(before) == 2
    clone.type(next(each for each in commands if each.startswith("make")))
    assert {file: file.read_bytes() for file in files} == before

"""Whether the folders in which downloads from the Hub are kept can be written, before anything is begun."""

import tempfile
from collections.abc import Mapping
from pathlib import Path

from huggingface_hub import constants

from retrain.errors import HubError, resource_errors


def check_cache(environ: Mapping[str, str], home: str = constants.HF_HOME) -> None:
    """Try to write where the libraries will.

    home: HF_HOME, or what stands for it.

    Raises:
        HubError: a folder can't be written; names the variable that sets it.
        DiskFullError: there is no room left.
    """
    own = {name: environ[name] for name in ("HF_HUB_CACHE", "HF_DATASETS_CACHE") if name in environ}
    for name, folder in ({"HF_HOME": home} | own).items():
        wrong = f"Downloads from the Hub can't be kept in {folder}"
        what_to_do = f"Set {name} to a folder that can be written, with room for checkpoint and data set."
        if folder.startswith("~"):
            raise HubError(f"{wrong}: HOME is not set, and this user has no home. {what_to_do}")
        try:
            with resource_errors():
                Path(folder).mkdir(parents=True, exist_ok=True)
                with tempfile.TemporaryFile(dir=folder) as file:
                    file.write(b"\0" * 4096)
                    file.flush()
        except OSError as error:
            raise HubError(f"{wrong} ({error.strerror}). {what_to_do}") from error

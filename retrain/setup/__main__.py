"""Sets the system up on the Hub, from one env file: repositories, Spaces, their files, secrets and variables.

    python -m retrain.setup .env            show what would be done
    python -m retrain.setup .env --yes      do it; done twice, it changes nothing the second time
    python -m retrain.setup .env --check    diagnose an installation: what, state, remedy

The env file is the job's own (.env.example). With LABEL=urgency,department and {label} in the names it stands
for two installations. Secrets can't be read back from the Hub: one that is there stays, but for
--renew-secrets.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import HfApi

from retrain.errors import HubError, SettingsError, hub_errors
from retrain.hub.client import check_token, configure_hub_client

from .diagnosis import diagnose
from .plan import READ_TOKEN, installations, plan


def main(arguments: Sequence[str]) -> int:
    """0: done, or all is well; 1: something is wrong; 2: the env file can't be used."""
    parser = argparse.ArgumentParser(prog="python -m retrain.setup", description=__doc__.split("\n")[0])
    parser.add_argument("env_file", type=Path, nargs="?", default=Path(".env"))
    parser.add_argument("--yes", action="store_true", help="do what the plan says")
    parser.add_argument("--check", action="store_true", help="diagnose, and change nothing")
    parser.add_argument("--renew-secrets", action="store_true", help="set secrets that are there already")
    options = parser.parse_args(arguments)
    configure_hub_client()
    try:
        found = installations(options.env_file)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    wrong = 0
    for values in found:
        api = HfApi(token=values["HF_TOKEN"])
        print(f"{values['LABEL']}:")
        if READ_TOKEN not in values:
            print(
                f"  note: without {READ_TOKEN} the inference Space holds a token that may write (SECURITY.md)"
            )
        if options.check:
            for finding in diagnose(api, values):
                print(f"  {'!!' if finding.remedy else 'ok'}  {finding.what}: {finding.state}")
                if finding.remedy:
                    print(f"      {finding.remedy}")
                    wrong = 1
            continue
        try:
            check_token(api)
            with hub_errors("set up", values["SPACE_REPO_ID"]):
                steps = list(plan(api, values, renew_secrets=options.renew_secrets))
                for step in steps:
                    if options.yes:
                        step.do()
                    print(f"  {'done' if options.yes else 'would'}: {step.what}")
        except HubError as error:
            print(error, file=sys.stderr)
            return 1
        if not steps:
            print("  everything is as it should be")
        elif not options.yes:
            print("  Nothing was changed. Do it with --yes.")
    return wrong


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

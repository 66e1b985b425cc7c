"""The inference Space as the job meets it: the client of its API, and the service to roll out to."""

from collections.abc import Mapping

from huggingface_hub import HfApi

from configs import BaseConfig, get_config
from retrain.evaluation.live_model import LiveModel
from retrain.hub.client import configure_hub_client
from retrain.hub.spaces import is_private_space_at, restart_space, space_stage
from retrain.redaction import Redactor, set_up_logging
from retrain.release.rollout import Service


def live_model(api: HfApi, config: BaseConfig) -> LiveModel:
    """The API that serves citizens now. A private Space lets in who may read it: HF_TOKEN, then."""
    bearer = config.api_token
    if bearer is None and is_private_space_at(api, config.space_repo_id, config.api_endpoint):
        bearer = config.hf_token
    return LiveModel(config.api_endpoint, config.label2id, bearer)


def service(api: HfApi, config: BaseConfig, live: LiveModel) -> Service:
    """The Space behind the API, for a rollout."""
    return Service(
        space_id=config.space_repo_id,
        restart=lambda: restart_space(api, config.space_repo_id),
        stage=lambda: space_stage(api, config.space_repo_id),
        served_version=live.served_version,
        ask=lambda texts: live.ask(texts, failures_allowed=len(texts)),
    )


def connect(environ: Mapping[str, str]) -> tuple[HfApi, BaseConfig, Service]:
    """For a command by hand: settings, a client with time-outs, and the Space; its log masks secrets.

    Raises:
        SettingsError: the environment is not that of the job.
    """
    config = get_config(environ)
    set_up_logging(Redactor(config.secrets))
    configure_hub_client()
    api = HfApi(token=config.hf_token.get_secret_value())
    return api, config, service(api, config, live_model(api, config))

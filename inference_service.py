"""The inference Space as the job meets it: the client of its API, and the service to roll out to."""

from huggingface_hub import HfApi

from configs import BaseConfig
from evaluation.live_model import LiveModel
from lifecycle.space_control import is_private_space_at, restart_space, space_stage
from release.rollout import Service


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

"""Where the artefacts are and how to get at them."""

from typing import Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class StoreSettings(BaseSettings):
    """A store of model artefacts, from the environment (SEGDEPTH_STORE_URL, SEGDEPTH_STORE_ENDPOINT, ...)."""

    model_config = SettingsConfigDict(env_prefix="SEGDEPTH_STORE_", frozen=True, extra="forbid")

    url: str = Field(default="", description="a folder, file:///folder or s3://bucket/prefix")
    endpoint: str = Field(
        default="s3.amazonaws.com", description="S3 endpoint, host:port; http:// or https:// sets `secure`"
    )
    access_key: str | None = Field(default=None, description="S3 access key; none = anonymous")
    secret_key: SecretStr | None = Field(default=None, description="S3 secret key")
    region: str = Field(default="us-east-1", description="S3 region; most servers other than AWS take any")
    secure: bool = Field(default=True, description="TLS to the endpoint")
    timeout_s: float = Field(default=10.0, gt=0, description="longest silence of the store within one call [s]")
    attempts: int = Field(default=3, ge=1, le=10, description="tries of a call before the store counts as unavailable")
    default_family: str = Field(
        default="ceo2-110", description="family of a request that names none, where there are several"
    )

    @model_validator(mode="before")
    @classmethod
    def _endpoint_scheme(cls, values: dict[str, object]) -> dict[str, object]:
        endpoint = values.get("endpoint")
        if not isinstance(endpoint, str) or "://" not in endpoint:
            return values
        parts = urlsplit(endpoint)
        if parts.scheme not in ("http", "https") or not parts.netloc or parts.path.strip("/"):
            raise ValueError(f"endpoint {endpoint!r} is not host:port, http://host:port or https://host:port")
        return {"secure": parts.scheme == "https", **values, "endpoint": parts.netloc}

    @model_validator(mode="after")
    def _both_keys(self) -> Self:
        if (self.access_key is None) != (self.secret_key is None):
            raise ValueError("access_key and secret_key go together: give both, or neither for anonymous access")
        return self

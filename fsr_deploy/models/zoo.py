"""The modules whose import registers the networks."""

from fsr_deploy.models import aminet  # noqa: F401

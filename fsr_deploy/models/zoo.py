"""The modules whose import registers the networks, one line each."""

import fsr_deploy.models.aminet
import fsr_deploy.models.aminet_ablations  # noqa: F401 - the imports are the purpose

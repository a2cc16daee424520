"""The modules whose import registers the networks, one line each."""

import fsr_deploy.models.aminet
import fsr_deploy.models.aminet_ablations
import fsr_deploy.models.ctcnet
import fsr_deploy.models.mfspnet  # noqa: F401 - the imports are the purpose

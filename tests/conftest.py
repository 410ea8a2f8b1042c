"""What every test finds: no setting of the developer's own shell, no screen, no word to the outside."""

import os
import secrets

# Before anything imports Ray: a private token in the environment, or Ray writes one under HOME.
os.environ.setdefault("RAY_AUTH_MODE", "token")
os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
# Ray on loopback alone, as the stack has it.
os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
os.environ["MPLBACKEND"] = "Agg"
for name in [name for name in os.environ if name.startswith("SEGDEPTH_")] + ["RAY_ADDRESS"]:
    os.environ.pop(name, None)

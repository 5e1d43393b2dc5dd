#!/bin/sh
# flwr 1.42.0 (PyPI), seen 2026-11-29: a SuperNode that died and is back before it was missed may not be activated.
#
# Input: the state that a SuperLink keeps, in memory and in SQLite; one node, created and activated with a heartbeat
# interval of 30 s, then activated again as the same node's restarted process would.
# Expected: the restarted process is taken, as it is once the node counts as offline.
# Seen: activate_node returns False as long as the node counts as online, that is for up to two heartbeat intervals;
# the Fleet API tells the node that its activation failed. After deactivate_node, which a process that died never
# called, the same call returns True.
#
# Exits 0 while this stands, 1 when it has changed. Needs Python 3.11 or later and a package registry.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet "flwr==1.42.0"
cd "$work"
FLWR_TELEMETRY_ENABLED=0 FLWR_HOME="$work/home" "$work/venv/bin/python" - <<'PYTHON'
import sys

from flwr.common.constant import NOOP_ACCOUNT_NAME, NOOP_FLWR_AID
from flwr.superlink.config_loader import get_objectstore_linkstate_factories
from flwr.superlink.federation import NoOpFederationManager

stands = []
for database in (":flwr-in-memory:", "state.db"):
    state = get_objectstore_linkstate_factories(database, NoOpFederationManager())[1].state()
    node = state.create_node(NOOP_FLWR_AID, NOOP_ACCOUNT_NAME, b"a public key", 0)
    begun, again = state.activate_node(node, 30), state.activate_node(node, 30)
    state.deactivate_node(node)
    after = state.activate_node(node, 30)
    print(f"{database}: activated {begun}, again while online {again}, again after deactivate_node {after}")
    stands.append((begun, again, after) == (True, False, True))
sys.exit(0 if all(stands) else 1)
PYTHON

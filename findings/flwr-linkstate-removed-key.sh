#!/bin/sh
# flwr 1.42.0 (PyPI), seen 2026-11-29: the key of a node that was deleted is nobody's, and in use all the same.
#
# Input: the state that a SuperLink keeps, in memory and in SQLite; a node, created with a public key and deleted.
# Expected: who was removed can be registered again with the key that it has, or is said to be there still.
# Seen: get_node_id_by_public_key gives None for the key, but create_node with it raises ValueError, that the key is
# in use. A member that leaves a federation can come back with another key only.
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

KEY = b"a public key"
stands = []
for database in (":flwr-in-memory:", "state.db"):
    state = get_objectstore_linkstate_factories(database, NoOpFederationManager())[1].state()
    node = state.create_node(NOOP_FLWR_AID, NOOP_ACCOUNT_NAME, KEY, 0)
    state.delete_node(NOOP_FLWR_AID, node)
    owner = state.get_node_id_by_public_key(KEY)
    try:
        said = f"taken as {state.create_node(NOOP_FLWR_AID, NOOP_ACCOUNT_NAME, KEY, 0)}"
    except ValueError as error:
        said = f"ValueError: {error}"
    print(f"{database}: whose the key is: {owner}; registered again: {said}")
    stands.append(owner is None and said.startswith("ValueError"))
sys.exit(0 if all(stands) else 1)
PYTHON

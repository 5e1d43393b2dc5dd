#!/bin/sh
# flwr 1.42.0 (PyPI), seen 2026-11-29: of each reply to a message that is gone a SuperLink keeps a push session.
#
# Input: the state that a SuperLink keeps, in memory; a running run, and ten replies of one node, each to a message that
# is not there any more, as when a node answers after the message's time to live. Each is refused, with no object
# to send.
# Expected: of a reply that is refused nothing is kept.
# Seen: the session that was begun for it stays. Ten late replies leave ten sessions; none of them is reached again, and
# they are there until the run's are deleted.
#
# Exits 0 while this stands, 1 when it has changed. Needs Python 3.11 or later and a package registry.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet "flwr==1.42.0"
cd "$work"
FLWR_TELEMETRY_ENABLED=0 FLWR_HOME="$work/home" "$work/venv/bin/python" - 2>"$work/log" <<'PYTHON'
import sys
import time

from flwr.app import RecordDict
from flwr.app.message import make_message, remove_content_from_message
from flwr.app.metadata import Metadata
from flwr.common.constant import NOOP_ACCOUNT_NAME, NOOP_FLWR_AID
from flwr.common.serde import message_to_proto
from flwr.proto.fleet_pb2 import PushMessagesRequest
from flwr.proto.node_pb2 import Node
from flwr.supercore.constant import NOOP_FEDERATION_ID, TaskType
from flwr.supercore.inflatable.inflatable_object import get_object_tree
from flwr.superlink.config_loader import get_objectstore_linkstate_factories
from flwr.superlink.federation import NoOpFederationManager
from flwr.superlink.servicer.fleet import fleet_handlers

LATE = 10
state = get_objectstore_linkstate_factories(":flwr-in-memory:", NoOpFederationManager())[1].state()
node = state.create_node(NOOP_FLWR_AID, NOOP_ACCOUNT_NAME, b"a public key", 0)
run = state.create_run(None, None, None, {}, NOOP_FEDERATION_ID, None, NOOP_FLWR_AID, TaskType.SERVER_APP)
task = state.get_run_info(run_ids=[run])[0].primary_task_id
state.claim_task(task)
state.activate_task(task)
wanted = 0
for number in range(LATE):
    reply = make_message(Metadata(run, "", node, 1, "0" * 64, "", time.time(), 10, "query"), RecordDict({}))
    reply.metadata.__dict__["_message_id"] = reply.object_id
    head = message_to_proto(remove_content_from_message(reply))
    request = PushMessagesRequest(
        node=Node(node_id=node), messages_list=[head], message_object_trees=[get_object_tree(reply)]
    )
    wanted += len(fleet_handlers.push_messages(request, state).objects_to_push)
kept = len(state._object_push_sessions)
print(f"{LATE} late replies: {wanted} objects asked for, {kept} push sessions kept")
sys.exit(0 if (wanted, kept) == (0, LATE) else 1)
PYTHON

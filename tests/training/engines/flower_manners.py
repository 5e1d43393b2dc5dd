"""Ends of a line that do not keep to the manners: answers that are spoiled on their way, and a member call by call."""

from __future__ import annotations

import json
import sys
import threading
from base64 import b64encode
from pathlib import Path
from typing import Any


class Spoiled:
    """A service of which some answers are others than it gave: status, head and body, by path and caller."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.next: dict[tuple[str, bytes], list[tuple[int, dict[str, str], bytes]]] = {}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        from starlette.responses import Response

        waiting = self.next.get((scope["path"], dict(scope["headers"]).get(b"flwr-public-key", b"")))
        if not waiting:
            await self.app(scope, receive, send)
            return
        while (await receive()).get("more_body"):
            pass
        status, head, body = waiting.pop(0)
        await Response(body, status, head)(scope, receive, send)


def spoil(link: Any, to: str, how: str) -> dict[str, Any]:
    """The next answer of a kind to a member is none that it can use."""
    gate, nodes = link._gate, {node: key for key, node in link._state.node_public_key_to_node_id.items()}
    if not isinstance(gate.app, Spoiled):
        gate.app = Spoiled(gate.app)
    call, status, head, body = spoiled_answers()[how]
    caller = f"/v1/fleet/{call}", b64encode(nodes[link._nodes[to]])
    gate.app.next.setdefault(caller, []).append((status, head, body))
    return {}


def spoiled_answers() -> dict[str, tuple[str, int, dict[str, str], bytes]]:
    from flwr.proto.fleet_pb2 import PullMessagesResponse, PushMessagesResponse
    from flwr.proto.message_pb2 import Message, Metadata, ObjectTree, PullObjectResponse

    def pulled(*heads: Metadata, trees: int = 1) -> bytes:
        messages = [Message(metadata=head) for head in heads]
        tree = ObjectTree(object_id="0" * 64)
        return bytes(
            PullMessagesResponse(messages_list=messages, message_object_trees=[tree] * trees).SerializeToString()
        )

    fair = Metadata(run_id=1, message_id="0" * 64, src_node_id=1, dst_node_id=2, ttl=60, message_type="query")
    torn = PullObjectResponse(object_found=True, object_available=True, object_content=b"torn").SerializeToString()
    wanted = PushMessagesResponse(objects_to_push=["0" * 64, "", *["1" * 64] * 1000]).SerializeToString()
    deep = b"[" * 50_000
    return {
        "no protobuf": ("pull-messages", 200, {}, b"\xff\xff\xff"),
        "a head without names": ("pull-messages", 200, {}, pulled(fair, trees=0)),
        "a head that says nothing": ("pull-messages", 200, {}, pulled(Metadata())),
        "objects that are not there": ("pull-messages", 200, {}, pulled(fair)),
        "more than any answer": ("pull-messages", 200, {}, bytes(9 << 20)),
        "an answer that unpacks": ("pull-messages", 200, {"content-encoding": "gzip"}, b"\x1f\x8b\x08"),
        "elsewhere": ("pull-messages", 308, {"location": "http://127.0.0.1:1/"}, b""),
        "a deep refusal": ("pull-messages", 403, {"date": "Mon, 99 Foo 99999999999 00:00:00"}, deep),
        "a torn object": ("pull-object", 200, {}, torn),
        "asked for what was not offered": ("push-messages", 200, {}, wanted),
        "a heartbeat of nonsense": ("send-node-heartbeat", 200, {"content-length": "3"}, b"\xff\xff\xff"),
    }


def caller(address: str, authority: str, key: str) -> None:
    """A member that makes one call a command."""
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    from training.engines import flower_calls, flower_node

    private: Any = load_pem_private_key(Path(key).read_bytes(), None)
    client = flower_calls.client_of(address, Path(authority), private)
    trouble = flower_calls.Trouble(address, lambda line: None)
    line = flower_calls.Line(client, trouble, threading.Event())
    node = flower_node._activate(line, address, private)
    print(json.dumps({"node": str(node.node_id)}), flush=True)
    taken: list[Any] = []
    commands = {
        "take": lambda: take(line, node, taken),
        "answer": lambda **given: answered(client, node, taken[0][0], **given),
    }
    for command_line in sys.stdin:
        ((command, given),) = json.loads(command_line).items()
        print(json.dumps(commands[command](**given)), flush=True)


def take(line: Any, node: Any, taken: list[Any]) -> dict[str, Any]:
    """The next message -> its name and what it says."""
    from flwr.proto.fleet_pb2 import PullMessagesRequest

    from training.engines import flower_node

    while not (given := line.call("PullMessages", PullMessagesRequest(node=node), flower_node._messages)):
        pass
    taken[:] = given
    asked, tree = given[0]
    content = flower_node._fetch(line, node, asked, tree, 20, 1 << 20)
    return {"name": asked.metadata.message_id, "said": content.decode() if content else ""}


def answered(client: Any, node: Any, asked: Any, name: str, sender: str, said: str) -> dict[str, Any]:
    """Answers the message of a name as a sender -> the call's status, and how many objects were asked for."""
    import httpx
    from flwr.app.message import make_message, remove_content_from_message
    from flwr.app.metadata import Metadata
    from flwr.common.serde import message_to_proto
    from flwr.proto.fleet_pb2 import PushMessagesRequest

    from training.engines import flower_node
    from training.engines.flower_payload import objects_of, packed

    head, _, _ = flower_node._reply(asked, said.encode())
    fields = {f: getattr(head.metadata, f) for f in ("run_id", "dst_node_id", "group_id", "created_at", "ttl")}
    given = {"src_node_id": int(sender), "reply_to_message_id": name, "message_id": "", "message_type": "query"}
    reply = make_message(Metadata(**fields, **given), packed(said.encode()))
    tree, objects = objects_of(reply)
    message = message_to_proto(remove_content_from_message(reply))
    try:
        offered = client.PushMessages(
            PushMessagesRequest(node=node, messages_list=[message], message_object_trees=[tree])
        )
    except httpx.HTTPStatusError as error:
        return {"status": error.response.status_code, "wanted": 0}
    for each in offered.objects_to_push:
        client.PushObject(flower_node._piece(node, asked, each, objects, offered.session_id))
    return {"status": 200, "wanted": len(offered.objects_to_push)}

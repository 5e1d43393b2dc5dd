"""A member's end of the line: one lasting process that asks its coordinator for messages and answers them.

It opens connections and accepts none. What comes is bytes for `answer`; nothing of it is
ever run, no app is fetched, and what is none of ours or too large is passed over. Knows nothing of what the bytes mean.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flwr.app import Message
from flwr.app.message import remove_content_from_message
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.fleet_pb2 import (
    ActivateNodeRequest,
    DeactivateNodeRequest,
    PullMessagesRequest,
    PullMessagesResponse,
    PushMessagesRequest,
)
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest
from flwr.proto.message_pb2 import (
    ConfirmMessageReceivedRequest,
    ObjectTree,
    PullObjectRequest,
    PushObjectRequest,
)
from flwr.proto.node_pb2 import Node
from flwr.supercore.inflatable.inflatable_object import no_object_id_recompute
from flwr.supercore.primitives.asymmetric import public_key_to_bytes
from flwr.supernode.fleet_http_client import FleetHttpClient

from chatfed.types import ChatfedError

from .flower import NoMessage, TooMuch, prepare_flower
from .flower_calls import Line, Stopped, Trouble, Unknown, client_of
from .flower_payload import Refusal, names_in, objects_of, packed, refuse_many, unpacked

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

HEARTBEAT = 10.0  # seconds, the least that Flower takes; who is not heard of for two of them counts as gone
BEAT = 6.0  # seconds between two
PULL = 0.2  # seconds between a look for a message that found none and the next
UPLOADS = 3  # times that an answer is offered: what is stored already is not asked for again
PARTING = 5.0  # seconds for the last word of a process that ends
PASSED_OVER = 1.0  # seconds between a message that is none and the next look


def serve(
    address: str,
    authority: Path,
    key: EllipticCurvePrivateKey,
    answer: Callable[[bytes], bytes],
    say: Callable[[str], None],
    stop: threading.Event,
    patience: float,
    most: int,
    give_up: float = math.inf,
) -> None:
    """Answers the coordinator at `address` (HOST:PORT) until `stop`, whatever happens to the network between.

    authority: PEM file of who signs the coordinator's certificate. key: of P-384, this member's. answer: may raise a
    ChatfedError, whose line is told as a refusal; anything else is raised here. say: takes sentences for a person.
    patience: seconds that an answer is tried to be sent. most: bytes of one message. give_up: seconds without any
    answer, after which CoordinatorGone is raised.

    Raises NotRegistered, CertificateRefused, ClockOff, OtherFlower, AddressError: what no waiting mends.
    """
    prepare_flower()
    trouble = Trouble(address, say, give_up)
    with client_of(address, authority, key) as client, contextlib.suppress(Stopped):
        line = Line(client, trouble, stop)
        while True:
            node = _activate(line, address, key)
            try:
                with _heartbeats(client, node), contextlib.suppress(Unknown):
                    _attend(line, node, answer, patience, most)
            finally:
                if not trouble.tries:
                    _part(client, node)


def _activate(line: Line, address: str, key: EllipticCurvePrivateKey) -> Node:
    request = ActivateNodeRequest(public_key=public_key_to_bytes(key.public_key()), heartbeat_interval=HEARTBEAT)
    while True:
        try:
            return Node(node_id=line.call("ActivateNode", request).node_id)
        except Unknown:  # with its own key and a clock that seems right: the two clocks lie at the edge
            if line.stop.wait(line.trouble.failed("it does not take this member's signature")):
                raise Stopped from None


@contextlib.contextmanager
def _heartbeats(client: FleetHttpClient, node: Node) -> Iterator[None]:
    """Says that this process lives, also while it learns. Whether anybody hears it, other calls find out."""
    done = threading.Event()

    def beat() -> None:
        pause = BEAT
        while not done.wait(pause):
            try:
                client.SendNodeHeartbeat(SendNodeHeartbeatRequest(node=node, heartbeat_interval=HEARTBEAT))
                pause = BEAT
            except Exception:  # whatever it is answered with, this goes on
                pause = 1.0

    thread = threading.Thread(target=beat, name="flower-heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join(2 * PARTING)


def _part(client: FleetHttpClient, node: Node) -> None:
    """So that nobody waits for this node. Best effort."""
    with contextlib.suppress(Exception):  # whatever it is answered with, this process ends
        client.DeactivateNode(DeactivateNodeRequest(node_id=node.node_id))


def _attend(line: Line, node: Node, answer: Callable[[bytes], bytes], patience: float, most: int) -> None:
    """Answers message after message; one that is in hand when it is told to end, still."""
    while not line.stop.is_set():
        given = line.call("PullMessages", PullMessagesRequest(node=node), _messages)
        for asked, tree in given:
            try:
                content = _fetch(line, node, asked, tree, patience, most)
                if content is not None:
                    answered = _answered(line, node, asked, answer, content)
                    if not _send(line, node, asked, answered, patience):
                        line.trouble.too_late()
            except (NoMessage, TooMuch) as fault:
                line.trouble.passed_over(fault)
                with contextlib.suppress(NoMessage):
                    _send(line, node, asked, Refusal(str(fault)), patience)
                line.stop.wait(PASSED_OVER)
        if not given:
            line.stop.wait(PULL)
    raise Stopped


def _messages(found: PullMessagesResponse) -> list[tuple[Message, ObjectTree]]:
    """Raises ValueError."""
    try:
        heads = map(message_from_proto, found.messages_list)
        return list(zip(heads, found.message_object_trees, strict=True))
    except Exception as error:  # whatever Flower's readers meet in bytes that another machine made up
        raise ValueError from error


def _answered(
    line: Line, node: Node, asked: Message, answer: Callable[[bytes], bytes], content: bytes
) -> bytes | Refusal:
    """What a message is answered with; an error that is no refusal is raised, when the coordinator has been told."""
    try:
        return answer(content)
    except ChatfedError as refusal:
        return Refusal(str(refusal))
    except Exception:
        with contextlib.suppress(Stopped, Unknown, ChatfedError):
            _send(line, node, asked, Refusal("this member met an error of its own, and ends"), PARTING)
        raise


def _fetch(line: Line, node: Node, asked: Message, tree: ObjectTree, patience: float, most: int) -> bytes | None:
    """The bytes of a message; None where it was withdrawn. Raises NoMessage or TooMuch, and takes no more of it."""
    run, root, objects = asked.metadata.run_id, tree.object_id, dict[str, bytes]()
    refuse_many(tree, most)
    with line.within(patience):
        for name in names_in(tree):
            found = line.call("PullObject", PullObjectRequest(node=node, run_id=run, object_id=name))
            if not found.object_available:
                return None
            objects[name] = found.object_content
            if sum(map(len, objects.values())) > most:
                raise TooMuch(most)
        line.call(
            "ConfirmMessageReceived", ConfirmMessageReceivedRequest(node=node, run_id=run, message_object_id=root)
        )
        content = unpacked(root, objects, most)
        if isinstance(content, Refusal):
            raise NoMessage
        return content
    return None


def _send(line: Line, node: Node, asked: Message, content: bytes | Refusal, patience: float) -> bool:
    """Uploads what the coordinator asks for. Raises NoMessage.

    False where it asks for nothing at first, and so waits for this no more, or where `patience` was over.
    """
    head, tree, objects = _reply(asked, content)
    request = PushMessagesRequest(node=node, messages_list=[head], message_object_trees=[tree])
    with line.within(patience):
        for offer in range(UPLOADS):
            offered = line.call("PushMessages", request)
            wanted = [name for name in objects if name in set(offered.objects_to_push)]
            if not wanted and not offer:
                return False
            pieces = (_piece(node, asked, name, objects, offered.session_id) for name in wanted)
            if all(line.call("PushObject", piece).stored for piece in pieces):
                return True  # all there
    return False


def _reply(asked: Message, content: bytes | Refusal) -> tuple[Any, ObjectTree, dict[str, Any]]:
    """An answer's head, the names of its objects, and these. Raises NoMessage where nothing can be a reply to that."""
    try:
        reply = Message(packed(content), reply_to=asked)
        with no_object_id_recompute():
            tree, objects = objects_of(reply)
        return message_to_proto(remove_content_from_message(reply)), tree, objects
    except Exception as error:  # whatever Flower meets in a head that another machine made up
        raise NoMessage from error


def _piece(node: Node, asked: Message, name: str, objects: dict[str, Any], session: str) -> PushObjectRequest:
    content = objects[name].deflate()
    run = asked.metadata.run_id
    return PushObjectRequest(node=node, run_id=run, object_id=name, object_content=content, session_id=session)

"""Messages on their way and the members that they are for: Flower's own state, in memory, with one run that never ends.

Knows no socket and no step of a round.
"""

from __future__ import annotations

import contextlib
import secrets
from typing import Any, Self

from flwr.app import Message
from flwr.app.message import make_message, remove_content_from_message
from flwr.app.metadata import Metadata
from flwr.common.constant import NOOP_ACCOUNT_NAME, NOOP_FLWR_AID, SUPERLINK_NODE_ID, Status
from flwr.proto.message_pb2 import ObjectTree
from flwr.server.superlink.linkstate import InMemoryLinkState
from flwr.supercore.constant import NOOP_FEDERATION_ID, TaskType
from flwr.supercore.date import now
from flwr.supercore.inflatable.inflatable_object import is_valid_sha256_hash
from flwr.supercore.object_store import NoObjectInStoreError
from flwr.supercore.object_store.in_memory_object_store import InMemoryObjectStore
from flwr.superlink.federation import NoOpFederationManager

from .flower import TooMuch
from .flower_payload import names_in, objects_of, refuse_many


class Gone(Exception):
    """No answer to a message will come: its member is out, or has lost it."""


class Box(InMemoryLinkState):  # type: ignore[misc]  # flwr is not there to be looked at
    """Flower's own state, with one run that never ends, and ways to look at one message.

    Of an answer it keeps `most` bytes.
    """

    def __init__(self, most: int) -> None:
        super().__init__(NoOpFederationManager(), InMemoryObjectStore())
        self.most = most
        self.too_much: set[str] = set()  # messages whose answers were more
        self._lock_object_push_sessions = self.lock  # one lock: Flower takes the two in either order
        self.run = self.create_run(
            fab_id=None,
            fab_version=None,
            fab_hash=None,
            override_config={},
            federation_id=NOOP_FEDERATION_ID,
            federation_config=None,
            flwr_aid=NOOP_FLWR_AID,
            primary_task_type=TaskType.SERVER_APP,
        )
        (task,) = self.task_store.values()
        task.status.status = Status.RUNNING  # by hand: one that is claimed needs heartbeats, or is ended

    def state(self) -> Self:
        """As Flower's factory of states, which its service asks."""
        return self

    def register(self, keys: set[bytes]) -> dict[bytes, int]:
        """Exactly these keys (PEM) -> their nodes."""
        with self.lock:
            for key, node in list(self.node_public_key_to_node_id.items()):
                if key not in keys:  # Flower's delete_node keeps it, and would never take the key again
                    del self.node_public_key_to_node_id[key], self.nodes[node]
                    self.owner_to_node_ids[NOOP_FLWR_AID].discard(node)
            for key in keys - set(self.node_public_key_to_node_id):
                self.create_node(NOOP_FLWR_AID, NOOP_ACCOUNT_NAME, key, 0)
            return dict(self.node_public_key_to_node_id)

    def activate_node(self, node_id: int, heartbeat_interval: float) -> bool:
        """Also where the node is online: its process died, and came back before it was missed."""
        with self.lock:
            self.deactivate_node(node_id)
            return bool(super().activate_node(node_id, heartbeat_interval))

    def get_message_ins(self, node_id: int, limit: int | None, *, run_id: int | None = None) -> list[Message]:
        """Whoever asks has nothing in hand: what it was given and has not confirmed, it is given again.

        A message that it confirmed, and lost, is no longer whole; Flower's service then deletes it.
        """
        with self.lock:
            for name, message in list(self.message_ins_store.items()):
                if message.metadata.dst_node_id == node_id and message.metadata.delivered_at:
                    reply = self.message_ins_id_to_message_res_id.get(name)
                    if reply is None:
                        message.metadata.delivered_at = ""
                    elif self._whole(reply) is None:
                        self.forget(name)
            return list(super().get_message_ins(node_id, limit, run_id=run_id))

    def has_for(self, node: int) -> bool:
        """Whether something lies there that the node has not answered."""
        with self.lock:
            return any(
                message.metadata.dst_node_id == node and name not in self.message_ins_id_to_message_res_id
                for name, message in self.message_ins_store.items()
            )

    def lay_out(self, node: int, content: Any, ttl: float) -> str | None:
        """A message to a node, whole before anybody sees it -> its name, or None where the node was never there."""
        metadata = Metadata(
            run_id=self.run,
            message_id="",
            src_node_id=SUPERLINK_NODE_ID,
            dst_node_id=node,
            reply_to_message_id="",
            group_id=secrets.token_hex(16),  # so that nobody guesses the name, and answers for another
            created_at=now().timestamp(),
            ttl=ttl,
            message_type="query",
        )
        message = make_message(metadata=metadata, content=content)
        tree, objects = objects_of(message)
        with self.lock:
            session = self.start_session(self.run)
            head = remove_content_from_message(message)
            stored, missing = super().store_message_and_object_tree(head, tree, session)
            for name in missing:
                self.store_object(self.run, session, name, objects[name].deflate())
            self._cleanup_push_session(session, cleanup_messages=False)
        return str(metadata.message_id) if stored else None

    def store_message_and_object_tree(
        self, message: Message, object_tree: ObjectTree, session_id: str
    ) -> tuple[bool, list[str]]:
        """An answer's head, and the names of its objects: the same ones each time that it is offered."""
        with self.lock:
            stored, missing = False, list[str]()
            if self._fits(message.metadata, object_tree):
                stored, missing = super().store_message_and_object_tree(message, object_tree, session_id)
            if not stored:  # Flower would keep it
                self._cleanup_push_session(session_id, cleanup_messages=False)
            return stored, missing

    def _fits(self, head: Metadata, tree: ObjectTree) -> bool:
        """Whether this may be an answer of its sender to what it was asked."""
        asked = self.message_ins_store.get(head.reply_to_message_id)
        if asked is None or asked.metadata.dst_node_id != head.src_node_id or tree.object_id != head.message_id:
            return False
        if not all(map(is_valid_sha256_hash, names_in(tree))):  # or Flower would keep those before it
            return False
        try:
            refuse_many(tree, self.most)
        except TooMuch:
            self._drop(head.reply_to_message_id)
            return False
        try:
            return bool(self.object_store.get_object_tree(head.message_id) == tree)
        except NoObjectInStoreError:
            return True

    def store_object(self, run_id: int, session_id: str, object_id: str, object_content: bytes) -> bool:
        """An object of an answer."""
        with self.lock:
            session = self._object_push_sessions.get(session_id)
            if session is None:
                return False
            for root in session.root_object_ids:
                asked = self._asked(root)
                if asked and self._more(root, object_id, object_content):
                    self._drop(asked)
                    return False
            return bool(super().store_object(run_id, session_id, object_id, object_content))

    def _more(self, root: str, name: str, content: bytes) -> bool:
        """Whether with that object there would be more of an answer than there may be."""
        after = {**self._objects(root), name: content}  # it may be there already: others have the same
        return sum(map(len, after.values())) > self.most

    def _asked(self, reply: str) -> str:
        """What an answer answers; nothing for a message of ours."""
        head = self.message_res_store.get(reply)
        return str(head.metadata.reply_to_message_id) if head else ""

    def _drop(self, name: str) -> None:
        """Of a message whose answer is too much nothing stays but that."""
        self.forget(name)
        self.too_much.add(name)

    def reply(self, name: str) -> tuple[str, dict[str, bytes]] | None:
        """The answer's name and objects; None while they are not all there. Raises Gone, or TooMuch."""
        with self.lock:
            if name in self.too_much:
                raise TooMuch(self.most)
            if name not in self.message_ins_store:
                raise Gone
            reply = self.message_ins_id_to_message_res_id.get(name, "")
            objects = self._whole(reply)
            return None if objects is None else (reply, objects)

    def _whole(self, root: str) -> dict[str, bytes] | None:
        """The objects below that name, or None where one has not come yet."""
        objects = self._objects(root)
        return objects if objects and all(objects.values()) else None

    def _objects(self, root: str) -> dict[str, bytes]:
        """The objects below that name, empty as long as they have not come; none where nobody named them."""
        try:
            names = names_in(self.object_store.get_object_tree(root))
        except NoObjectInStoreError:
            return {}
        return {name: self.object_store.get(name) or b"" for name in names}

    def forget(self, name: str) -> None:
        """A message, its answer and their objects, as far as no other has them."""
        with self.lock:
            reply = self.message_ins_id_to_message_res_id.get(name, "")
            self._cleanup_push_session(self._object_push_session_by_root.get(reply, ""), cleanup_messages=False)
            self.delete_messages({name})
            for root in (name, reply):
                with contextlib.suppress(KeyError):  # a tree that a member took apart; `forget_all` has the rest
                    self.object_store.delete(root)

    def forget_all(self) -> None:
        """Every message, answer, object and upload."""
        with self.lock:
            for kept in (self.message_ins_store, self.message_res_store, self.message_ins_id_to_message_res_id):
                kept.clear()
            self._object_push_sessions.clear()
            self._object_push_session_by_root.clear()
            self.too_much.clear()
            self.object_store.clear()

"""Which columns and keys hold what: the one table that reading, refusing, notes and docs/data.md are made of.

Names are compared as `canonical` spells them: case, outer spaces, hyphens and camelCase do not count.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

ROLES = {
    "user": "user", "human": "user", "customer": "user", "client": "user", "prompter": "user", "visitor": "user",
    "caller": "user", "guest": "user", "requester": "user", "end-user": "user", "end_user": "user", "enduser": "user",
    "contact": "user", "lead": "user",
    "assistant": "assistant", "gpt": "assistant", "chatgpt": "assistant", "bot": "assistant", "chatbot": "assistant",
    "model": "assistant", "ai": "assistant", "agent": "assistant", "bing": "assistant", "bard": "assistant",
    "claude": "assistant", "support": "assistant", "operator": "assistant", "admin": "assistant",
    "wizard_of_oz": "assistant", "llm": "assistant",
    "system": "system", "developer": "system",
}  # fmt: skip
TOOL_ROLES = frozenset(
    "tool function observation ipython function_call function_response tool_call tool_response tool_calls "
    "tool_result tools environment python functions function_call_output custom_tool_call custom_tool_call_output "
    "tool_use tool_output tool_outputs api".split()
)

# Columns of a record, in order of priority.
LISTS = (
    "messages", "conversations", "conversation", "dialog", "dialogue", "dialogs", "chat_messages", "turns",
    "utterances", "chat", "log", "transcript", "thread", "data", "contents", "items", "conversation_parts",
    "comments", "events",
)  # fmt: skip
LISTS_FOR_SURE = LISTS[:7]  # text in one of these must be a list or have roles; in the others it may be anything
BARE_LISTS = ("dialog", "dialogue", "dialogs", "utterances", "turns", "data")  # may hold bare texts, user first
QUESTIONS = ("instruction", "prompt", "question", "query", "problem", "user_message", "user_input", "instructions")
QUESTIONS_BESIDE_AN_ANSWER = ("user", "human", "customer", "request", "message", "ask", "q")
CONTEXTS = (
    "input", "context", "inputs", "contexts", "passage", "passages", "document", "documents", "paragraph",
    "background", "knowledge", "choices", "options", "article", "story", "evidence",
    "facts", "excerpt", "source_text", "source_document", "context_text", "background_info", "background_knowledge",
    "grounding", "document_text", "retrieved_context", "retrieved_passages", "retrieved_documents", "ctxs",
)  # fmt: skip
ANSWERS = (
    "response", "completion", "output", "answer", "reply", "chosen", "solution", "assistant_message",
    "assistant_response", "model_response", "responses", "outputs", "answers",
)  # fmt: skip
ANSWERS_BESIDE_A_QUESTION = ("assistant", "bot", "gpt", "chatgpt", "agent", "a")
SYSTEMS = (
    "system", "system_prompt", "system_message", "system_instruction", "system_instructions", "system_content",
    "system_text", "sys_prompt", "preprompt", "preamble", "developer_message", "developer_prompt",
)  # fmt: skip
HISTORIES = (
    "history", "chat_history", "conversation_history", "dialogue_history", "dialog_history", "message_history",
    "messages_history", "history_messages", "past", "past_messages", "past_turns", "previous_messages",
    "previous_turns", "prev_messages", "prev_turns", "prior_messages", "prior_turns", "earlier_messages",
    "earlier_turns", "dialogue_context", "dialog_context", "conversation_so_far",
)  # fmt: skip
MASKS = ("loss_mask", "loss_masks", "weights", "train_mask", "masks")  # one number a message
TEXTS = ("text",)

# Rows that hold one message each.
SPEAKERS = (
    "role", "sender_type", "sender_role", "author_role", "author_type", "speaker_role", "speaker_type", "message_role",
    "participant_role", "from", "speaker", "author", "sender", "user", "username", "user_name", "author_name",
    "sender_name", "participant", "who", "speaker_id", "nick", "from_name", "from_user", "creator", "bot_id",
    "author_id", "sender_id", "from_id", "user_id",
)  # fmt: skip
SPEAKER_KINDS = SPEAKERS[1:9]  # read where they hold a role's name; else whoever speaks stands in another
CONTENTS = ("content", "value", "text", "message", "utterance", "body", "msg", "sentence", "transcript", "parts")
CONVERSATIONS = (
    "conversation_id", "dialogue_id", "dialog_id", "message_tree_id", "conversation", "conversation_hash",
    "thread_id", "thread_ts", "thread", "ticket_id", "ticket", "session_id", "session", "chat_id", "chat", "room",
    "room_id", "case_id", "channel_id", "channel", "group_id", "call_id", "conv_id", "convo_id",
)  # fmt: skip
TIMES = (
    "ts", "timestamp", "created_at", "created_date_time", "date_unixtime", "date", "datetime", "time", "sent_at",
    "create_time", "created", "created_date", "timestamp_ms", "origin_server_ts",
)  # fmt: skip
SIDES = frozenset(
    """
    is_user is_human is_customer is_client is_bot is_ai is_assistant is_agent is_staff is_from_me is_me is_self
    from_me from_self from_customer from_agent sent_by_me is_sender is_incoming is_outgoing incoming outgoing inbound
    outbound direction
    """.split()
)
"""Columns that say whose words a row is, in a way that is not read."""

ORDERS = (
    "turn", "turn_id", "turn_number", "turn_index", "turn_idx", "turn_no", "utterance_idx", "utterance_index",
    "message_index", "message_idx", "message_number", "message_no", "sequence", "sequence_number", "seq", "position",
)  # fmt: skip
"""Columns that number the messages of a conversation."""

MESSAGE_IDS = ("message_id", "id", "msg_id", "tweet_id", "uuid")
PARENTS = ("parent_id", "parent_message_id", "parent", "in_response_to_tweet_id", "in_reply_to")
LEARN = ("weight", "train", "training", "trainable", "loss", "loss_mask", "loss_weight", "learn")

_TOOLS = "tool use is not read"
_THOUGHT = "reasoning is not read"
_PARTS = "only text is read"
_PAIR = "a preference is not read"
_MASK = "which way it marks is not known (a weight of 0 is)"
_PERSONA = "it is neither's words"
REFUSED = {
    "tools": _TOOLS, "functions": _TOOLS, "tool_calls": _TOOLS, "function_call": _TOOLS, "tool_call": _TOOLS,
    "function": _TOOLS, "tool_responses": _TOOLS, "available_tools": _TOOLS, "apis": _TOOLS,
    "reasoning_content": _THOUGHT, "reasoning": _THOUGHT, "thinking": _THOUGHT, "think": _THOUGHT, "thought": _THOUGHT,
    "thoughts": _THOUGHT, "chain_of_thought": _THOUGHT, "cot": _THOUGHT, "rationale": _THOUGHT,
    "analysis": _THOUGHT, "reasoning_details": _THOUGHT,
    "image": _PARTS, "images": _PARTS, "image_url": _PARTS, "audio": _PARTS, "audios": _PARTS, "video": _PARTS,
    "videos": _PARTS,
    "rejected": _PAIR, "rejected_response": _PAIR, "rejected_responses": _PAIR,
    "chosen_response": _PAIR, "margin": _PAIR,
    "persona": _PERSONA, "personas": _PERSONA, "personality": _PERSONA,
    "segments": "its parts have no roles", "train_detail": "a message counts wholly or not at all",
    "training_detail": "a message counts wholly or not at all",
    "mask": _MASK, "masked": _MASK, "is_masked": _MASK,
    "speakers": "whose a message is must stand in it",
    "refusal": "a refusal is not read",
}  # fmt: skip
"""Columns and keys that hold conversation or change what it means and that nobody reads: why not."""

JUDGEMENTS = (
    "label", "labels", "desirable", "is_desirable", "is_good", "accepted", "is_accepted", "correct", "is_correct",
    "thumbs_up", "helpful", "liked", "is_helpful", "good", "preferred", "is_preferred", "kto_tag", "approved",
    "is_approved", "acceptable", "is_acceptable", "upvoted",
)  # fmt: skip
"""Columns that mark the answer beside them as good or, when false, as bad (TRL's KTO)."""

FEEDBACKS = ("feedback", "user_feedback", "rating", "vote", "thumbs", "thumb", "reaction")
BAD = frozenset(
    """
    false bad undesirable dislike disliked thumbs_down thumbsdown thumb_down down downvote downvoted rejected wrong
    incorrect unhelpful
    """.split()
)
"""Words that mark an answer as a bad one, in JUDGEMENTS and FEEDBACKS; so does a number below 0."""

LEARNING = frozenset(
    "loss losses train trained training trainable learn learned learning supervise supervised weight weights mask "
    "masks masked".split()
)
LEFT_OUT = frozenset("ignore ignored skip skipped exclude excluded drop dropped hidden deleted removed".split())
KEPT = frozenset("keep kept include included visible use valid target".split())
"""Words in names of marks that are not known: those of LEARNING (0 or false) and KEPT (false), those of LEFT_OUT (true)
say that something is not to be learned."""

IRRELEVANT = frozenset(
    """
    id ids idx index uid uuid guid hash sha sha256 md5 row row_number line_number position turn turns num_turns
    n_turns turn_number turn_identifier source sources dataset data_source dataset_name subset split origin url uri
    link language lang locale model model_name engine generator version license timestamp ts date datetime time
    created updated created_at updated_at modified create_time update_time created_date_time last_modified_date_time
    date_unixtime edited edited_unixtime timestamp_edited timestamp_unix call_ended_timestamp sent_at insert_time
    created_date category categories topic topics domain domains tag tags task_type task_name type subtype kind
    difficulty level score scores rating ratings rank quality confidence perplexity length num_tokens token_count
    tokens_count word_count char_count country state city region redacted toxic toxicity moderation openai_moderation
    detoxify_moderation hashed_ip header review_count review_result deleted synthetic detoxify label labels emojis act
    acts emotion emotions sentiment intent intents services etag web_url importance is_pinned color avatar_url
    discriminator nickname_color is_bot is_read status priority message_type message_count end_turn recipient
    channel_type n_messages team teams
    """.split()
)
"""Columns and keys known to say nothing of a conversation; what is long, or holds messages, is named all the same."""

IRRELEVANT_ENDS = ("_id", "_ids", "_hash", "_at", "_score", "_scores", "_count", "_url", "_time", "_timestamp", "_idx")


@cache
def canonical(name: str) -> str:
    """`name` as the tables spell it.

    >>> [canonical(name) for name in (" systemPrompt", "Loss-Mask ", "dialogueID")]
    ['system_prompt', 'loss_mask', 'dialogue_id']
    """
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.strip())
    return re.sub(r"[\s_-]+", "_", parted).lower()


@dataclass(frozen=True)
class Schema:
    """A way to write a conversation, for the documentation: what a record has, and what it yields."""

    has: str
    gives: str


def _named(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def record_schemas() -> tuple[Schema, ...]:
    """What a record may hold, in order of priority."""
    return (
        Schema(
            f"a list in {_named(LISTS)}",
            "its messages (below); as JSON or Python in a CSV cell; also as a dict of lists, a column a key; bare "
            f"texts only in {_named(BARE_LISTS)}: the user first, then in turns",
        ),
        Schema(
            f"a question in {_named(QUESTIONS)} (beside an answer also in {_named(QUESTIONS_BESIDE_AN_ANSWER)}) and an "
            f"answer in {_named(ANSWERS)} (beside a question also in {_named(ANSWERS_BESIDE_A_QUESTION)})",
            "a user message and an answer; either may be a list of messages",
        ),
        Schema(
            f"{_named(CONTEXTS)} beside a question",
            "lines at the end of the user message, a list's texts one a line; without a question, `input` or `context` "
            "is the question",
        ),
        Schema(f"{_named(HISTORIES)} beside a question", "earlier turns: pairs of question and answer, or messages"),
        Schema(f"{_named(SYSTEMS)} beside any of these", "a system message in front"),
        Schema(f"{_named(MASKS)} beside a list", "one number a message: 0 is read and never learned"),
        Schema(
            f"{_named(TEXTS)}",
            "its turns where it has role markers (below); else one user message, which a note counts",
        ),
        Schema(
            f"a text ({_named(CONTENTS)}) and who says it ({_named(SPEAKERS)})",
            f"one message: the rows of one of {_named(CONVERSATIONS)} are a conversation; without such a column, those "
            "of a client; without clients, all of them",
        ),
    )

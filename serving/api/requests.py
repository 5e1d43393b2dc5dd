"""What a client asks, read from its JSON object: conversation or prompts, and how replies are drawn.

Reads what changes nothing as OpenAI's clients write it, and refuses by name what would change the meaning. Knows no
model: whether a prompt fits, and what its ids mean, is asked later.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from chatfed.conversation.filter import LANGUAGES, Mode
from chatfed.turns import as_turns
from chatfed.types import InvalidValue, Turn

from .fields import Choice, Field, Flag, Given, Number, Only, Schema, Stops, Text, Whole, object_of, refuse, text_of

MOST_CHOICES = 16  # replies to one prompt
MOST_PROMPTS = 128  # of one request
MOST_TOP = 20  # alternatives at each token, as OpenAI has it
_TOKENS = 2**31 - 1
_NO_TOOLS = "this model calls no tools"
_NO_PENALTY = "there is repetition_penalty instead"
_NOT_KEPT = "this server keeps nothing"

MODEL, STREAM, SEED = Text("model"), Flag("stream"), Whole("seed", -(2**63), 2**64 - 1)
TEMPERATURE, TOP_P = Number("temperature", 0, 2, 0.0), Number("top_p", 0, 1, 1.0, above=True)
PENALTY = Number("repetition_penalty", 0.01, 100, 1.0)
STOP, CHOICES = Stops(), Whole("n", 1, MOST_CHOICES, 1)
DRAWN = (MODEL, STREAM, SEED, TEMPERATURE, TOP_P, PENALTY)
MOST_OF_CHAT = (Whole("max_tokens", 1, _TOKENS), Whole("max_completion_tokens", 1, _TOKENS))
MOST_OF_COMPLETION = Whole("max_tokens", 0, _TOKENS, 16)
MOST_OF_RESPONSE = Whole("max_output_tokens", 1, _TOKENS)
REDACT, REDACT_LANGUAGE = Choice("redact", tuple(Mode), Mode.OFF), Choice("redact_language", LANGUAGES, LANGUAGES[0])
LOGPROBS, TOP = Flag("logprobs"), Whole("top_logprobs", 0, MOST_TOP)
LOGPROBS_OF_COMPLETION, ECHO = Whole("logprobs", 0, MOST_TOP), Flag("echo")
TOP_OF_RESPONSE = Only("top_logprobs", (0,), "/v1/chat/completions gives them")

ELSEWHERE = (  # what other servers take, and what would change the words
    Only("top_k", (0, -1), "there is top_p"),
    Only("min_p", (0,), "there is top_p"),
    Only("logit_bias", ({},)),
    Only("frequency_penalty", (0,), _NO_PENALTY),
    Only("presence_penalty", (0,), _NO_PENALTY),
    Only("grammar", ("",)),
    Only("guided_json"),
    Only("guided_regex"),
    Only("use_beam_search", (False,)),
)
TOOLS = (
    Only("tools", ([],), _NO_TOOLS),
    Only("tool_choice", ("none", "auto"), _NO_TOOLS),
    Only("functions", ([],), _NO_TOOLS),
    Only("function_call", ("none", "auto"), _NO_TOOLS),
)
STORE = Only("store", (False,), _NOT_KEPT)
IN_CHAT = (*ELSEWHERE, *TOOLS, STORE, Only("modalities", (["text"],), "this model writes text"), Only("audio"),
           Only("web_search_options"))  # fmt: skip
NO_FILTER = Only("redact", ("off",), "/v1/chat/completions and /v1/responses filter")
IN_COMPLETIONS = (*ELSEWHERE, STORE, NO_FILTER, Only("suffix", ("",)), Only("best_of", (1,), "there is n"))
IN_RESPONSES = (
    *ELSEWHERE,
    *TOOLS[:2],
    STORE,
    TOP_OF_RESPONSE,
    Only("previous_response_id", (), f"{_NOT_KEPT}, so send the whole conversation as input"),
    Only("conversation", (), f"{_NOT_KEPT}, so send the whole conversation as input"),
    Only("background", (False,), _NOT_KEPT),
    Only("prompt"),
    Only("truncation", ("disabled",), "nothing is cut in silence"),
    Only("include", ([], ["reasoning.encrypted_content"]), "this server has no more to give"),
)

CHAT_FIELDS: tuple[Field, ...] = (*DRAWN, STOP, CHOICES, *MOST_OF_CHAT, LOGPROBS, TOP, REDACT,
                                  REDACT_LANGUAGE, *IN_CHAT)  # fmt: skip
COMPLETION_FIELDS: tuple[Field, ...] = (
    *DRAWN, STOP, CHOICES, MOST_OF_COMPLETION, LOGPROBS_OF_COMPLETION, ECHO, *IN_COMPLETIONS,
)  # fmt: skip
RESPONSE_FIELDS: tuple[Field, ...] = (
    *DRAWN, MOST_OF_RESPONSE, Text("instructions"), REDACT, REDACT_LANGUAGE, *IN_RESPONSES,
)  # fmt: skip


@dataclass(frozen=True)
class Sampling:
    """How replies are drawn. `most`: tokens of a reply, None for as many as the context has room for."""

    most: int | None
    temperature: float
    top_p: float
    repetition_penalty: float
    seed: int | None
    stop: tuple[str, ...] = ()
    n: int = 1


@dataclass(frozen=True)
class ChatRequest:
    """Of /v1/chat/completions. `top`: alternatives at each token, None where no log-probabilities are asked for."""

    model: str
    turns: list[Turn] = field(repr=False)
    sampling: Sampling = field(repr=False)
    stream: bool
    usage: bool
    top: int | None
    redact: Mode = Mode.OFF
    redact_language: str = "en"


@dataclass(frozen=True)
class CompletionRequest:
    """Of /v1/completions. A prompt is a text or token ids; `top` as in a chat."""

    model: str
    prompts: list[str | list[int]] = field(repr=False)
    sampling: Sampling = field(repr=False)
    stream: bool
    usage: bool
    top: int | None
    echo: bool


@dataclass(frozen=True)
class ResponseRequest:
    """Of /v1/responses. `turns` begin with the instructions where there are any."""

    model: str
    turns: list[Turn] = field(repr=False)
    sampling: Sampling = field(repr=False)
    stream: bool
    instructions: str | None = field(repr=False)
    metadata: Mapping[str, str] = field(repr=False)
    redact: Mode = Mode.OFF
    redact_language: str = "en"


def read_chat(given: Given) -> ChatRequest:
    """Raises ApiError that names the field."""
    for each in IN_CHAT:
        each.read(given)
    _text_only(object_of(given.get("response_format"), "response_format"), "response_format")
    asked = [most for each in MOST_OF_CHAT if (most := each.read(given)) is not None]
    logprobs, top = LOGPROBS.read(given), TOP.read(given)
    if top and not logprobs:
        raise refuse("top_logprobs", "top_logprobs goes with logprobs: true; send both, or neither.")
    redact = Mode(REDACT.read(given))
    if redact is Mode.MASK and logprobs:
        raise refuse(
            "logprobs", "logprobs would show placeholders where the reply has words: send it without redact: mask."
        )
    return ChatRequest(
        model=_model(given),
        turns=_turns(given.get("messages"), "messages"),
        sampling=_sampling(given, min(asked, default=None), STOP.read(given), CHOICES.read(given)),
        stream=STREAM.read(given),
        usage=_with_usage(given),
        top=(top or 0) if logprobs else None,
        redact=redact,
        redact_language=REDACT_LANGUAGE.read(given),
    )


def read_completion(given: Given) -> CompletionRequest:
    """Raises ApiError that names the field."""
    for each in IN_COMPLETIONS:
        each.read(given)
    if given.get("logprobs") is False:  # as a chat has it
        given = {**given, "logprobs": None}
    most, echo, top = MOST_OF_COMPLETION.read(given), ECHO.read(given), LOGPROBS_OF_COMPLETION.read(given)
    if not most and not echo:
        raise refuse("max_tokens", "max_tokens is 0, so that nothing would be written; give 1 or more, or echo: true.")
    return CompletionRequest(
        model=_model(given),
        prompts=_prompts(given.get("prompt")),
        sampling=_sampling(given, most, STOP.read(given), CHOICES.read(given)),
        stream=STREAM.read(given),
        usage=_with_usage(given),
        top=top,
        echo=echo,
    )


def read_response(given: Given) -> ResponseRequest:
    """Raises ApiError that names the field."""
    for each in IN_RESPONSES:
        each.read(given)
    form = object_of(object_of(given.get("text"), "text").get("format"), "text.format")
    _text_only(form, "text.format")
    instructions, asked = Text("instructions").read(given), given.get("input")
    turns = [Turn("user", text_of(asked, "input"))] if isinstance(asked, str) else _turns(_items(asked), "input")
    return ResponseRequest(
        model=_model(given),
        turns=[Turn("system", instructions), *turns] if instructions else turns,
        sampling=_sampling(given, MOST_OF_RESPONSE.read(given)),
        stream=STREAM.read(given),
        instructions=instructions,
        metadata=_metadata(object_of(given.get("metadata"), "metadata")),
        redact=Mode(REDACT.read(given)),
        redact_language=REDACT_LANGUAGE.read(given),
    )


def _model(given: Given) -> str:
    model = MODEL.read(given)
    if not model:
        raise refuse("model", "Name a model; GET /v1/models lists what is here.", "missing")
    return model


def _sampling(given: Given, most: int | None, stop: tuple[str, ...] = (), n: int | None = 1) -> Sampling:
    return Sampling(
        most, TEMPERATURE.read(given), TOP_P.read(given), PENALTY.read(given), SEED.read(given), stop, n or 1
    )


def _with_usage(given: Given) -> bool:
    options = object_of(given.get("stream_options"), "stream_options")  # without a stream usage is always there
    return Flag("stream_options.include_usage").read({f"stream_options.{name}": each for name, each in options.items()})


def _text_only(form: Given, param: str) -> None:
    if form and form.get("type") != "text":
        raise refuse(
            param, f"This model writes plain text: leave {param} out, or send its type as text.", "unsupported"
        )


def _turns(messages: Any, param: str) -> list[Turn]:
    """The conversation. Raises ApiError that names the message's field."""
    if not isinstance(messages, list) or not messages:
        raise refuse(param, f"{param} takes a list of one message or more, each with role and content.", "missing")
    try:
        return as_turns(messages)
    except InvalidValue as error:
        where = (error.param or param).replace("history", param, 1)
        raise refuse(where, str(error)) from None


def _items(asked: Any) -> Any:
    """Items of the Responses API as messages: their parts are called input_text and output_text there."""
    if not isinstance(asked, list):
        return asked
    for at, item in enumerate(asked):
        if isinstance(item, dict) and item.get("type", "message") != "message":
            raise refuse(f"input[{at}].type", "This server reads items of type message only.", "unsupported")
    return [_message(item) if isinstance(item, dict) else item for item in asked]


def _message(item: Given) -> Given:
    content = item.get("content")
    return {**item, "content": [_part(part) for part in content]} if isinstance(content, list) else item


def _part(part: Any) -> Any:
    is_text = isinstance(part, dict) and part.get("type") in ("input_text", "output_text")
    return {"type": "text", "text": part.get("text")} if is_text else part


def _metadata(given: Given) -> Mapping[str, str]:
    if len(given) > 16 or not all(len(key) <= 64 for key in given):
        raise refuse("metadata", "metadata takes up to 16 texts, by names of up to 64 characters.")
    return {key: text_of(value, "metadata")[:512] for key, value in given.items()}


def _prompts(prompt: Any) -> list[str | list[int]]:
    """One or several prompts, each a text or token ids."""
    if isinstance(prompt, str) or _are_ids(prompt):
        return [_prompt(prompt, "prompt")]
    if not isinstance(prompt, list) or not 0 < len(prompt) <= MOST_PROMPTS:
        raise refuse("prompt", f"prompt takes a text, a list of up to {MOST_PROMPTS} texts, a list of token ids, or "
                               "a list of such lists.", "missing" if prompt is None else "invalid_value")  # fmt: skip
    return [_prompt(each, f"prompt[{at}]" if len(prompt) > 1 else "prompt") for at, each in enumerate(prompt)]


def _prompt(prompt: Any, param: str) -> str | list[int]:
    if not isinstance(prompt, str) and not _are_ids(prompt):
        raise refuse(param, f"{param} takes a text or a list of token ids.")
    if not prompt:
        raise refuse(param, f"{param} is empty; give one token or more for the model to go on from.")
    return text_of(prompt, param) if isinstance(prompt, str) else [int(each) for each in prompt]


def _are_ids(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(type(each) is int for each in value)


def conversation_schema(param: str) -> dict[str, Schema]:
    """JSON schema of the messages of a chat, or of the input of a response."""
    part = {"type": "object", "properties": {"type": {"const": "text"}, "text": {"type": "string"}}}
    message = {
        "type": "object",
        "properties": {
            "role": {"enum": ["system", "developer", "user", "assistant"]},
            "content": {"anyOf": [{"type": "string"}, {"type": "array", "items": part}]},
        },
        "required": ["role", "content"],
    }
    several: Schema = {"type": "array", "items": message, "minItems": 1}
    return {param: several if param == "messages" else {"anyOf": [{"type": "string"}, several]}}


def prompt_schema() -> dict[str, Schema]:
    """JSON schema of the prompts of a completion."""
    ids: Schema = {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1}
    texts: Schema = {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1}
    return {"prompt": {"anyOf": [{"type": "string", "minLength": 1}, texts, ids, {"type": "array", "items": ids}]}}

"""What the tests of a chat share: an opening, a template that demands turns in order, and a plain forward pass."""

from __future__ import annotations

import torch
from hypothesis import HealthCheck, settings

from chatfed import Chat, Turn

HELLO = [Turn("user", "my laptop will not start")]
relaxed = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)

STRICT = (
    "{% for m in messages %}{% if m['role'] != 'system' and "
    "(m['role'] == 'user') != ((loop.index0 - (messages[0]['role'] == 'system')) % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}{{ '<|' + m['role'] + '|> ' + m['content'] + '<|end|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def log_probs(chat: Chat, ids: list[int]) -> torch.Tensor:
    """float32[len(ids), vocabulary]: log-probabilities of the token after each."""
    with torch.inference_mode():
        logits: torch.Tensor = chat.model(input_ids=torch.tensor([ids])).logits
        return torch.log_softmax(logits[0].float(), -1)

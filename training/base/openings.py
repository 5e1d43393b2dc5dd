"""How questions of many kinds begin: what a base is given where it imagines talk of its own. Public, and of no corpus.

By itself a base often begins with a document, and seldom asks: what it knows would not be rehearsed as it is asked for.
"""

from __future__ import annotations

OPENINGS = tuple(
    "What is|What is the|What is the name of|What are|What does|What do you call|What color|What kind of|Who|"
    "Who was the first|Who wrote|Who is the|Where is|Where do|When did|When was|Why do|Why is|How many|How much|"
    "How far is|How does|How old is|Which|Which country|Which animal|Which word|Is it true that|Do|Can you name|"
    "Name the|Name a|Tell me|Explain|Describe|Define|Translate|Complete|Finish this:|Give an example of|"
    "Give me a word|List three|Count|Calculate|Spell|Compare|Write a sentence about|In which year".split("|")
)

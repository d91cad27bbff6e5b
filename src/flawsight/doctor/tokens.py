"""Do the prompt's positions hold what they are taken for, and where do Yes and No part?"""

import torch
from torch import Tensor

from ..mllm.answer_strings import Ids, answer_strings
from ..prompt import anomaly_word_spans
from .case import Case
from .finding import Finding

# As a response may write them; each is compared with the other of its pair.
PAIRS = (("Yes", "No"), ("yes", "no"), ("YES", "NO"))


def answer_tokens(case: Case) -> Finding:
    """The strings that P(Yes) compares are the tokenizer's own of each answer, and part at once."""
    tokenizer, name = case.mllm.processor.tokenizer, "answer tokens"
    shown, values = [], {}
    for pair in PAIRS:
        texts = [f"<think>A dent.</think><answer>{word}</answer>" for word in pair]
        with case.mllm.tokenizing:
            wanted = [tuple(tokenizer(t, add_special_tokens=False)["input_ids"]) for t in texts]
            strings = answer_strings(tokenizer, wanted[0], "", case.mllm.end_tokens)

        def pieces(ids: Ids) -> list[str]:
            return [str(tokenizer.decode([token])) for token in ids]

        ways = (strings.yes, strings.no)
        for word, way, whole in zip(pair, ways, wanted, strict=True):
            values[word] = pieces(way)
            if not way or whole[: len(strings.base + way)] != strings.base + way:
                return Finding(
                    name,
                    False,
                    f'"{word}" is read as {values[word]}, which is not how the tokenizer writes '
                    "it: P(Yes) is wrong. Is tokenizer.json the base model's?",
                    values,
                )
        if strings.yes[0] == strings.no[0]:
            return Finding(name, False, f"{' and '.join(pair)} do not part: P(Yes) is 0.5.", values)
        shown.append(" / ".join("·".join(values[word]) for word in pair))
    return Finding(name, True, f"where they part, the tokens are {', '.join(shown)}", values)


def image_tokens(case: Case) -> Finding:
    """The columns read as the image's are its image tokens in the decoded prompt, in order.

    These are the prompt's last, since photos of good parts come before the image.
    """
    tokenizer, prompts = case.mllm.processor.tokenizer, case.prompts
    [grid], ids = prompts.grids, prompts.inputs["input_ids"][0].tolist()
    placeholder = case.mllm.model.config.image_token_id
    columns = prompts.columns[0, : grid.tokens].tolist()
    there = [index for index, token in enumerate(ids) if token == placeholder]
    there = there[sum(photo.tokens for photo in prompts.photo_grids) :]
    values = {"tokens": len(there), "grid": list(grid.shape), "tiles": len(grid.tiles) or 1}
    if columns != there:
        wrong = next((c for c, t in zip(columns, there, strict=False) if c != t), columns[-1])
        return Finding(
            "image tokens",
            False,
            f"the prompt has {len(there)} image tokens, {grid.tokens} are read, and position "
            f"{wrong} holds {tokenizer.decode([ids[wrong]])!r}: maps are wrong. Is the processor "
            "the base model's?",
            values,
        )
    around = [str(tokenizer.decode([ids[i]])) for i in (there[0] - 1, there[-1] + 1)]
    (height, width), size = grid.shape, case.images[0].size
    return Finding(
        "image tokens",
        True,
        f"{len(there)} between {around[0]!r} and {around[1]!r}: a map of {height}×{width} cells of "
        f"a photo of {size[1]}×{size[0]} pixels",
        values | {"around": around},
    )


def question_tokens(case: Case) -> Finding:
    """The columns read as the question's decode to it, its anomaly tokens to its anomaly words."""
    tokenizer, prompts, question = (
        case.mllm.processor.tokenizer,
        case.prompts,
        case.settings.question,
    )
    ids = prompts.inputs["input_ids"][0]
    columns = prompts.columns[0, prompts.grids[0].tokens :]
    decoded = str(tokenizer.decode(ids[columns]))
    words = [question[start:stop] for start, stop in anomaly_word_spans(question)]
    found = [str(tokenizer.decode(run)) for run in _runs(ids[columns], prompts.anomaly_tokens)]
    values = {"question": decoded, "anomaly_words": found}
    if not _same(decoded, question):
        message = (
            f"the question is read as {decoded!r}: Ŝ_T is wrong. Is the chat template the base "
        )
        return Finding("question tokens", False, f"{message}model's?", values)
    if len(found) != len(words) or not all(map(_same, found, words)):
        message = f"the anomaly words {words} are read as {found}: Ŝ_T is wrong. Put other "
        return Finding(
            "question tokens", False, f"{message}characters around them (--set question=…).", values
        )
    shown = ", ".join(found).replace("  ", " ").strip()
    return Finding(
        "question tokens", True, f"{len(columns)} tokens; its anomaly words are {shown}", values
    )


def _runs(ids: Tensor, chosen: Tensor) -> list[Tensor]:
    """Return the runs of chosen tokens that are adjacent."""
    places = chosen.nonzero()[:, 0]
    breaks = (places.diff() > 1).nonzero()[:, 0] + 1
    return [ids[run.to(ids.device)] for run in torch.tensor_split(places, breaks) if len(run)]


def _same(decoded: str, wanted: str) -> bool:
    """Compare texts, but for signs that a token may join to either end."""
    before, found, after = decoded.partition(wanted)
    return bool(found) and not any(map(str.isalnum, before + after))

"""Output is cut in the middle, by characters or by tokens of a real tokenizer."""

import pytest
import tiktoken
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from llm_transforms import InvalidArgumentError
from llm_transforms.results import CharacterLimit, TokenLimit

MARK = "characters left out"


def trained() -> Tokenizer:
    """A byte-level BPE, as Llama's and Qwen's are, trained on little."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=500,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<|im_end|>"],
    )
    tokenizer.train_from_iterator(["the quick brown fox jumps over the lazy dog " * 20], trainer)
    return tokenizer


TOKENIZER = trained()
BYTES = tiktoken.Encoding(
    "bytes",
    pat_str=r"[\s\S]",
    mergeable_ranks={bytes([i]): i for i in range(256)},
    special_tokens={"<|endoftext|>": 256},
)


def parts(text: str) -> tuple[str, str]:
    head, _, rest = text.partition("\n... ")
    return head, rest.partition(" ...\n")[2]


@given(st.text(), st.integers(1, 40))
def test_characters_are_cut_in_the_middle(text: str, limit: int) -> None:
    cut = CharacterLimit(limit).cut(text)
    if len(text) <= limit:
        assert cut == text
        return
    head, tail = text[: (limit + 1) // 2], text[len(text) - limit // 2 :]
    assert cut == f"{head}\n... {len(text) - limit:,} {MARK} ...\n{tail}"


@given(st.text(), st.integers(2, 40))
def test_tokens_are_cut_in_the_middle(text: str, limit: int) -> None:
    count = len(TOKENIZER.encode(text, add_special_tokens=False).ids)
    cut = TokenLimit(TOKENIZER, limit).cut(text)
    if count <= limit:
        assert cut == text
    else:
        assert MARK in cut


@pytest.mark.parametrize("limit", [2, 7, 50, 333])
def test_what_is_kept_is_nearly_the_limit_and_never_more(limit: int) -> None:
    text = "the lazy dog jumps over the quick brown fox 1234567890 " * 400
    head, tail = parts(TokenLimit(TOKENIZER, limit).cut(text))
    halves = [len(TOKENIZER.encode(part).ids) for part in (head, tail)]
    assert 0.8 * limit - 1 <= sum(halves) <= limit
    assert min(halves) >= 0.4 * limit - 1
    assert min(halves) > 0
    assert text.startswith(head)
    assert text.endswith(tail)


def test_a_tokenizer_that_truncates_or_pads_counts_the_whole_text_and_nothing_else() -> None:
    text = "the lazy dog jumps over the quick brown fox 1234567890 " * 40
    tokenizer = trained()
    tokenizer.enable_truncation(8)  # as models of sentences have it in their tokenizer.json
    tokenizer.enable_padding(length=64)
    settings = tokenizer.truncation, tokenizer.padding
    for each in ("the fox", text):
        assert TokenLimit(tokenizer, 50).cut(each) == TokenLimit(TOKENIZER, 50).cut(each)
    assert (tokenizer.truncation, tokenizer.padding) == settings  # it is somebody else's


def test_characters_of_several_bytes_stay_whole() -> None:
    text = "🦊" * 1_000
    head, tail = parts(TokenLimit(BYTES, 40).cut(text))
    assert set(head + tail) == {"🦊"}
    assert len((head + tail).encode()) <= 40


def test_special_tokens_in_the_output_are_text() -> None:
    text = "<|endoftext|>" * 10
    assert TokenLimit(BYTES, 500).cut(text) == text
    assert MARK in TokenLimit(BYTES, 20).cut(text)


def test_a_megabyte_is_not_encoded_to_be_cut() -> None:
    class Watched:
        def __init__(self) -> None:
            self.encoded = 0

        def encode(self, text: str) -> bytes:
            self.encoded += len(text)
            return text.encode()

    watched = Watched()
    TokenLimit(watched, 100).cut("x" * 1_000_000)
    assert watched.encoded < 20_000


def test_a_tokenizer_of_few_tokens_for_much_text_is_served() -> None:
    class Lines:
        def encode(self, text: str) -> list[str]:
            return text.splitlines()

    text = "a line of some forty characters of text\n" * 1_000
    head, tail = parts(TokenLimit(Lines(), 10).cut(text))
    assert 4 <= len((head + tail).splitlines()) <= 10


@pytest.mark.parametrize("limit", [0, -1, 1.5, True, "9"])
def test_a_limit_is_a_positive_integer(limit: int) -> None:
    with pytest.raises(InvalidArgumentError, match="max_output_chars"):
        CharacterLimit(limit)
    with pytest.raises(InvalidArgumentError, match="max_output_tokens"):
        TokenLimit(TOKENIZER, limit)


def test_a_tokenizer_encodes() -> None:
    with pytest.raises(InvalidArgumentError, match=r"tokenizer must be an object with encode"):
        TokenLimit("gpt2", 10)

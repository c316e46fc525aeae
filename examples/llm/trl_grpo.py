"""Train a model that calls a Python tool, with TRL's GRPOTrainer.

Nothing is downloaded: the model is tiny and randomly initialised, its tokenizer knows bytes. Such a
model would never call a tool, so its first turns are dictated; all else is as with a real model,
and takes seconds on a CPU. TRL parses the calls, runs the tool, and trains on what came of it.

    python -m pip install "llm-transforms[trl]"
    python examples/llm/trl_grpo.py                  # one tool for all, each program starts afresh
    python examples/llm/trl_grpo.py --environments   # each rollout keeps its names
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

# A trainer announces environments as experimental.
os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")

import torch
from datasets import Dataset
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM
from trl import GRPOConfig, GRPOTrainer
from trl.chat_template_utils import qwen3_chat_template

from llm_transforms import PythonTool
from llm_transforms.trl import PythonEnvironments

Messages = list[dict[str, Any]]

_QUESTION = "What is 6 * 7? Set n to 6 first."
_PROGRAMS = ("n = 6\nprint('n is', n)", "print(n * 7 if 'n' in globals() else 'n is gone')")
# Both calls and their answers, which are tokens of the completion too, and a few of the model's.
_LENGTH = 330
_CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_MARKS = ("<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>")


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Return a tokenizer of bytes with Qwen3's marks and chat template."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    bytes_alone = models.BPE({letter: number for number, letter in enumerate(alphabet)}, [])
    tokenizer = Tokenizer(bytes_alone)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(text, special=True) for text in _CONTROL])
    tokenizer.add_tokens([AddedToken(text) for text in (*_MARKS, "<think>", "</think>")])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<|endoftext|>",  # noqa: S106 - not that kind of token
        eos_token="<|im_end|>",  # noqa: S106
        chat_template=qwen3_chat_template,
    )


class DictatedModel(Qwen3ForCausalLM):
    """A tiny Qwen3 whose first turns are given programs as tool calls; then it is on its own."""

    def dictate(self, tokenizer: PreTrainedTokenizerFast, programs: Sequence[str]) -> None:
        """Say what the first turns are."""
        calls = [{"name": "python", "arguments": {"code": program}} for program in programs]
        texts = [f"<tool_call>\n{json.dumps(call)}\n</tool_call><|im_end|>" for call in calls]
        self._turns = [tokenizer(text, return_tensors="pt").input_ids[0] for text in texts]
        self._answered = tokenizer.convert_tokens_to_ids("<tool_response>")

    def generate(self, *arguments: Any, **options: Any) -> Any:
        """Return the prompts and the next turn of each; all are at the same turn."""
        prompts = options["input_ids"]
        turn = int((prompts[0] == self._answered).sum())
        if turn >= len(self._turns):
            return super().generate(*arguments, **options)
        dictated = self._turns[turn].to(prompts.device).expand(len(prompts), -1)
        return torch.cat([prompts, dictated], dim=1)


def make_model(tokenizer: PreTrainedTokenizerFast, programs: Sequence[str]) -> DictatedModel:
    """Return a model of some ten thousand random weights."""
    torch.manual_seed(0)
    torch.set_num_threads(1)  # several only get in the way of a model so small
    model = DictatedModel(
        Qwen3Config(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=16,
            max_position_embeddings=4096,
            tie_word_embeddings=True,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
            bos_token_id=None,
        )
    )
    model.dictate(tokenizer, programs)
    return model


def train(
    programs: Sequence[str], reward: Callable[..., list[float]], *, steps: int = 2, **tools: Any
) -> GRPOTrainer:
    """Train for some steps, two rollouts each.

    Args:
        programs: What the first turns of each rollout run.
        reward: TRL's reward function.
        steps: How many.
        **tools: `tools=[...]` or `environment_factory=...`, for the trainer.
    """
    tokenizer = make_tokenizer()
    with tempfile.TemporaryDirectory() as folder:
        trainer = GRPOTrainer(
            model=make_model(tokenizer, programs),
            reward_funcs=reward,
            args=GRPOConfig(
                output_dir=folder,
                max_steps=steps,
                per_device_train_batch_size=2,
                num_generations=2,
                max_completion_length=_LENGTH,
                learning_rate=1e-3,
                use_cpu=True,
                bf16=False,
                report_to=[],
                save_strategy="no",
                logging_steps=1,
                disable_tqdm=True,
            ),
            train_dataset=Dataset.from_list(
                [{"prompt": [{"role": "user", "content": _QUESTION}]}] * (2 * steps)
            ),
            processing_class=tokenizer,
            **tools,
        )
        trainer.train()
    return trainer


@contextmanager
def chosen_tools(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Open what the command line asks for."""
    where = {"services": options.services, "namespace": options.namespace}
    if options.environments:
        with PythonEnvironments(**where) as environments:
            yield {"environment_factory": environments}
    else:
        with PythonTool(**where) as python:
            yield {"tools": [python.function]}


def main() -> None:
    """Train, and print what the tool said."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=2, help="training steps (default: 2)")
    parser.add_argument(
        "--environments", action="store_true", help="give each rollout a session of its own"
    )
    parser.add_argument("--services", help="backend of a registered executor: local, ray")
    parser.add_argument("--namespace", help="its namespace (default: services)")
    options = parser.parse_args()

    def reward(completions: list[Messages], **_: Any) -> list[float]:
        answers = [
            [message["content"] for message in completion if message["role"] == "tool"]
            for completion in completions
        ]
        print("The tool said:", answers)
        # Rollouts of equal reward teach nothing: the model's own last words make a difference.
        return [
            float("42\n" in each) + len(set(completion[-1]["content"])) / 100
            for each, completion in zip(answers, completions, strict=True)
        ]

    with chosen_tools(options) as tools:
        trainer = train(_PROGRAMS, reward, steps=options.steps, **tools)
    logged = [entry for entry in trainer.state.log_history if "reward" in entry]
    calls = [entry["tools/call_frequency"] for entry in logged]
    print(f"{trainer.state.global_step} steps; calls a rollout: {calls}")


if __name__ == "__main__":
    main()

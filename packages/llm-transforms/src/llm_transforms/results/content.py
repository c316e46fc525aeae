"""A message's content: text, or text and the images that programs displayed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from llm_transforms.results.outcomes import Outcome
from python_executor import ExecutionResult

# What vision models take. An image of another type is left to its text, as in a terminal.
_IMAGES = ("image/png", "image/jpeg", "image/webp", "image/gif")


def images_of(result: ExecutionResult) -> tuple[str, ...]:
    """Return the images that a program displayed, as data URLs.

    Args:
        result: Any result; its `displays` are MIME bundles, in which images are base64.

    Example:
        >>> images_of({"displays": [{"image/png": "ZG90", "text/plain": "<Figure>"}]})
        ('data:image/png;base64,ZG90',)
    """
    found = (
        next((f"data:{kind};base64,{display[kind]}" for kind in _IMAGES if kind in display), None)
        for display in result["displays"]
    )
    return tuple(image for image in found if image is not None)


def content_of(text: str, outcomes: Iterable[Outcome]) -> str | list[dict[str, Any]]:
    """Return the content of a message: the text, or parts if there are images to show beside it.

    The parts are those of OpenAI's chat API: one of type "text", then one "image_url" an image.
    """
    images = [image for outcome in outcomes for image in outcome.images]
    if not images:
        return text
    shown = [{"type": "image_url", "image_url": {"url": image}} for image in images]
    return [{"type": "text", "text": text}, *shown]

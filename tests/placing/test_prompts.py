"""Prompts: filled templates in which the product is named once."""

from __future__ import annotations

import pytest

from finetune.core.painting.prompts import PromptSection, resolve_prompt

TEMPLATE = PromptSection().insert


@pytest.mark.parametrize(
    ("prompt", "filled"),
    [
        ("on slate", "a photo of t1 perfume bottle on slate"),
        ("t1 perfume bottle on slate", "a photo of t1 perfume bottle on slate"),
        ("T1 Perfume Bottle on slate", "a photo of t1 perfume bottle on slate"),
        ("t1 on slate", "a photo of t1 perfume bottle on slate"),
        ("a t1  perfume bottle, on slate", "a photo of t1 perfume bottle on slate"),
        ("a photo of t1 perfume bottle on slate", "a photo of t1 perfume bottle on slate"),
        ("a product photo of a t1 perfume bottle on slate", "a photo of t1 perfume bottle on slate"),
        ("on slate, t1 perfume bottle, soft light", "a photo of t1 perfume bottle on slate, soft light"),
        ("a perfume bottle on slate", "a photo of t1 perfume bottle on slate"),
        ("perfume bottle", "a photo of t1 perfume bottle"),
        ("t1 perfume bottle", "a photo of t1 perfume bottle"),
        ("beside a green perfume bottle", "a photo of t1 perfume bottle beside a green perfume bottle"),
        ("perfume bottle caps on slate", "a photo of t1 perfume bottle perfume bottle caps on slate"),
        ("at1 and t1x on slate", "a photo of t1 perfume bottle at1 and t1x on slate"),
        ("on {x} 100% (soft)", "a photo of t1 perfume bottle on {x} 100% (soft)"),
    ],
)
def test_the_product_is_named_once(prompt: str, filled: str) -> None:
    assert resolve_prompt(TEMPLATE, token="t1", class_noun="perfume bottle", prompt=prompt) == filled


def test_a_template_that_does_not_name_it_leaves_it_to_the_prompt() -> None:
    for template in ("{prompt}", "{token} {prompt}"):
        filled = resolve_prompt(template, token="t1", class_noun="mug", prompt="a t1 mug on oak")
        assert filled.endswith("a t1 mug on oak")


def test_an_empty_scene_does_not_contain_the_product() -> None:
    for prompt in ("on oak", "a t1 mug on oak", "a photo of t1 mug on oak", "t1 on oak", "mug on oak"):
        filled = PromptSection().resolve(token="t1", class_noun="mug", prompt=prompt)
        assert filled["place"] == filled["scene"] == "an empty scene, on oak"


def test_signs_in_names_are_no_patterns() -> None:
    prompt = resolve_prompt(TEMPLATE, token="t1", class_noun="c++ (large) mug", prompt="t1 c++ (large) mug on oak")
    assert prompt == "a photo of t1 c++ (large) mug on oak"

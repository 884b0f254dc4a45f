"""The protocol document cites tests that are there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "protocol.md").read_text()
CLAUSES = re.findall(r"^(\d+)\. (.*?)(?=^\d+\. |^## |\Z)", DOCUMENT, flags=re.MULTILINE | re.DOTALL)


def cited(clause: str) -> list[tuple[str, str]]:
    """Every (module, sentence) that a clause cites; a sentence without a module is of the one before it."""
    found: list[tuple[str, str]] = []
    for citation in re.findall(r"\*\((.*?)\)\*", clause, flags=re.DOTALL):
        module = ""
        for said in " ".join(citation.split()).split("; "):
            named, colon, sentence = said.partition(": ")
            module, sentence = (named, sentence) if colon else (module, said)
            if re.fullmatch(r"test_\w+", sentence):
                module, sentence = sentence, ""
            found.append((module, sentence))
    return found


@pytest.mark.parametrize(("number", "clause"), CLAUSES, ids=[number for number, _ in CLAUSES])
def test_each_clause_cites_only_tests_that_are_there(number: str, clause: str) -> None:
    assert int(number)
    for module, sentence in cited(clause):
        texts = [path.read_text() for path in ROOT.glob(f"tests/*/{module}.py")]
        assert texts, module
        name = "test_" + re.sub(r"[^a-z0-9]+", "_", sentence.replace("'", "").lower())
        assert not sentence or any(f"def {name}(" in text for text in texts), sentence


def test_clauses_are_numbered_in_their_order() -> None:
    assert [str(number) for number in range(1, len(CLAUSES) + 1)] == [number for number, _ in CLAUSES]

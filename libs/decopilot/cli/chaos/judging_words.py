"""Judging words: what was acknowledged is in the log as it was asked for, and what nobody asked for is not."""

from decopilot.cli.chaos.evidence import Evidence
from decopilot.cli.chaos.ledger import Posted, Receipt
from decopilot.cli.chaos.truth import ThreadTruth
from decopilot.cli.chaos.users import STOLEN
from decopilot.cli.chaos.verdict import Verdict
from decopilot.contracts.events import RunQueued, RunRequested, ThreadTitled


def judge_words(evidence: Evidence, verdict: Verdict) -> None:
    """Judge what the log holds of each wish that was granted, and that it holds nothing of those that were refused."""
    for posted in evidence.ledger.posts.values():
        _posted(evidence.threads[posted.thread], posted, verdict)
    for receipt in evidence.ledger.receipts:
        thread = evidence.threads[receipt.thread]
        if receipt.wish == "delete":
            verdict.check("ACK", thread.deleted_at is not None, f"{receipt}: it is not deleted")
        elif receipt.wish == "retitle" and thread.deleted_at is None:
            _titled(thread, receipt, verdict)
    for thread in evidence.threads.values():
        is_asked = thread.deleted_at is None or thread.name in evidence.ledger.deleting
        verdict.check("ACK", is_asked, f"{thread.name} is deleted, and nobody who may had asked for that")
        verdict.check("TENANT-WALL", STOLEN not in _titles(thread), f"{thread.name} was given a title by a stranger")


def _posted(thread: ThreadTruth, posted: Posted, verdict: Verdict) -> None:
    """A message is stored word for word, with its files, and answered in the mode that was asked for."""
    asked = [{"type": "text", "text": posted.post.text}, *posted.files]
    for recorded in thread.events:
        event = recorded.event
        if not isinstance(event, RunRequested | RunQueued) or event.message is None:
            continue
        if event.message.id == posted.message_id:
            parts = event.message.parts
            is_same = len(parts) == len(asked) and all(
                one.items() <= part.items() for one, part in zip(asked, parts, strict=True)
            )
            verdict.check("ACK", is_same, f"{posted} is stored as {parts}")
            level = event.config.tool_approval_level
            verdict.check("ACK", level == posted.post.level, f"{posted} is answered with the level {level}")


def _titles(thread: ThreadTruth) -> set[str]:
    return {recorded.event.title for recorded in thread.events if isinstance(recorded.event, ThreadTitled)}


def _titled(thread: ThreadTruth, receipt: Receipt, verdict: Verdict) -> None:
    verdict.check("ACK", receipt.title in _titles(thread), f"{receipt}: the log has {sorted(_titles(thread))}")

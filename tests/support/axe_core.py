"""axe-core, as the judge of whether a page leaves people out."""

from pathlib import Path

from playwright.async_api import Page

from support.node import installed

HERE = Path(__file__).parent / "axe"
_RUN = """async () => {
  const { violations } = await axe.run(document, { resultTypes: ["violations"] });
  const grave = violations.filter(({ impact }) => impact === "serious" || impact === "critical");
  const told = (id, { target, failureSummary }) => `${id}: ${target} ${failureSummary}`;
  return grave.flatMap(({ id, nodes }) => nodes.map((node) => told(id, node)));
}"""


async def faults_of(page: Page) -> list[str]:
    """List what is wrong with a page as it is now, as far as that is serious or critical.

    Raises:
        NodeError: axe-core could not be fetched.

    """
    if not await page.evaluate("'axe' in globalThis"):
        await page.evaluate((installed(HERE) / "axe-core" / "axe.min.js").read_text(encoding="utf-8") + ";null")
    found: list[str] = await page.evaluate(_RUN)
    return found

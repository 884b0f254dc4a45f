"""Stopping: what was drawn for later is not begun any more once somebody wants an end."""

import asyncio


async def comes(at_s: float, stopping: asyncio.Event) -> bool:
    """Wait for a time of the loop's clock; False if everything is to stop before it comes."""
    delay_s = at_s - asyncio.get_running_loop().time()
    if delay_s <= 0:
        return not stopping.is_set()
    try:
        async with asyncio.timeout(delay_s):
            await stopping.wait()
    except TimeoutError:
        return True
    return False

"""Names of tools as every provider takes them: 1 to 64 of letters, digits, `_` and `-`, no digit or `-` ahead."""

import hashlib
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

LENGTH = 64
"""OpenAI's limit, the lowest."""


def safe_name(name: str) -> str:
    """Make a name safe; always the same for the same one."""
    safe = re.sub(r"[^A-Za-z0-9_-]", "_", name)
    if not re.match(r"[A-Za-z_]", safe):
        safe = f"_{safe}"
    return safe if len(safe) <= LENGTH else _marked(safe, name)


def apart(sources: Mapping[str, Sequence[str]], taken: Collection[str] = ()) -> dict[tuple[str, str], str]:
    """Give each name of each source a safe one of its own: with its source's name ahead only where it collides.

    All that collide get theirs, whichever comes first: whose a name is must not depend on who else is there to see.
    """
    bare = {(source, name): safe_name(name) for source, names in sources.items() for name in dict.fromkeys(names)}
    uses = Counter([*bare.values(), *taken])
    prefixed = {key: safe_name("_".join(key)) for key, safe in bare.items() if uses[safe] > 1}
    uses.update(prefixed.values())
    given = bare | prefixed
    return {
        key: _marked(safe, "\0".join(key)) if key in prefixed and uses[safe] > 1 else safe
        for key, safe in given.items()
    }


def _marked(safe: str, name: str) -> str:
    digest = hashlib.blake2s(name.encode(errors="replace"), digest_size=4).hexdigest()
    return f"{safe[: LENGTH - len(digest) - 1]}_{digest}"

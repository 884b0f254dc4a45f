"""What an image holds, as CycloneDX: `image_sbom.py NAME FILE`, run in it while it is built.

Python packages as they are installed, Debian's as dpkg lists them. Needs nothing but Python, so that nothing has to be
installed into an image in order to list it; the same image gives the same file.
"""

import json
import re
import sys
import uuid
from collections.abc import Iterator
from importlib.metadata import distributions
from pathlib import Path
from urllib.parse import quote

DPKG = Path("/var/lib/dpkg/status")
_FIELD = re.compile(r"^(Package|Status|Version|Architecture): (.*)$", re.MULTILINE)


def python_packages() -> Iterator[dict[str, str]]:
    """List what `import` finds."""
    for found in distributions():
        name = re.sub(r"[-_.]+", "-", found.name).lower()
        yield _component(name, found.version, f"pkg:pypi/{name}@{quote(found.version)}")


def debian_packages(status: str) -> Iterator[dict[str, str]]:
    """List what dpkg has installed, by the text of its database."""
    for paragraph in status.split("\n\n"):
        fields = dict(_FIELD.findall(paragraph))
        if fields.get("Status", "").endswith(" installed"):
            name, version = fields["Package"], fields["Version"]
            purl = f"pkg:deb/debian/{quote(name)}@{quote(version)}?arch={fields['Architecture']}"
            yield _component(name, version, purl)


def document(name: str, found: Iterator[dict[str, str]]) -> dict[str, object]:
    """Make the document of an image."""
    components = sorted({one["purl"]: one for one in found}.values(), key=lambda one: one["purl"])
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, name + json.dumps(components))}",
        "version": 1,
        "metadata": {"component": {"type": "container", "name": name, "bom-ref": name}},
        "components": components,
    }


def _component(name: str, version: str, purl: str) -> dict[str, str]:
    return {"type": "library", "name": name, "version": version, "purl": purl, "bom-ref": purl}


def main(name: str, file: Path) -> None:
    """Write the list of this image."""
    status = DPKG.read_text(encoding="utf-8") if DPKG.exists() else ""

    def everything() -> Iterator[dict[str, str]]:
        yield from python_packages()
        yield from debian_packages(status)

    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(document(name, everything()), indent=1), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))

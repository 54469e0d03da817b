"""Writes what an image is made of as a CycloneDX document: its Python, Python packages and Debian packages.

    python -m scripts.sbom stock-backtest-web:0.3.0 >web.cdx.json

The image says it itself, without a network. There is neither a time nor a random number in the document, so that two of
them can be compared with `diff`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL
from packaging.utils import canonicalize_name

# Debian's advisories speak of source packages.
LOOK = r"""
import json, platform, subprocess
from importlib.metadata import distributions
fields = "${binary:Package}\t${Version}\t${Architecture}\t${source:Package}\t${source:Version}\n"
debian = subprocess.run(["dpkg-query", "--show", "--showformat", fields], capture_output=True, text=True, check=True)
print(json.dumps({
    "python": platform.python_version(),
    "system": platform.freedesktop_os_release(),
    "wheels": sorted({(found.name, found.version) for found in distributions()}),
    "debian": sorted(line.split("\t") for line in debian.stdout.splitlines()),
}))
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the document."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.sbom", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("image", help="name:tag of an image that Docker has")
    image = parser.parse_args(arguments).image
    command = ["docker", "run", "--rm", "--network=none", "--entrypoint=python", image, "-c", LOOK]
    found = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603
    print(document(image, json.loads(found.stdout)))
    return 0


def document(image: str, found: Mapping[str, Any]) -> str:
    """CycloneDX of what LOOK found in the image."""
    name, _, version = image.rpartition("/")[2].partition(":")
    whole = Component(type=ComponentType.CONTAINER, name=name, version=version, bom_ref=name)
    bom = Bom(components=components(found))
    bom.metadata.component = whole
    bom.register_dependency(whole, bom.components)
    written = json.loads(JsonV1Dot6(bom).output_as_string())
    del (
        written["serialNumber"],
        written["metadata"]["timestamp"],
    )  # both optional, and new each time
    return json.dumps(written, indent=2, sort_keys=True)


def components(found: Mapping[str, Any]) -> Iterator[Component]:
    """The system, Python, and every package with the address that scanners know it by."""
    system = found["system"]
    distro = f"{system['ID']}-{system['VERSION_ID']}"
    yield Component(
        type=ComponentType.OPERATING_SYSTEM,
        name=system["ID"],
        version=system["VERSION_ID"],
        bom_ref=distro,
    )
    yield _component(
        PackageURL("generic", None, "python", found["python"]), ComponentType.APPLICATION
    )
    for name, version in found["wheels"]:
        yield _component(PackageURL("pypi", None, canonicalize_name(name), version))
    for name, version, architecture, source, source_version in found["debian"]:
        more = {"arch": architecture, "distro": distro, "upstream": f"{source}@{source_version}"}
        yield _component(PackageURL("deb", system["ID"], name.partition(":")[0], version, more))


def _component(url: PackageURL, type: ComponentType = ComponentType.LIBRARY) -> Component:
    return Component(
        type=type, name=url.name, version=url.version, purl=url, bom_ref=url.to_string()
    )


if __name__ == "__main__":
    sys.exit(main())

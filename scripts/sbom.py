"""Writes a CycloneDX document of an image: its Python, Python packages and Debian packages.

    python -m scripts.sbom stock-backtest-web:0.3.0 >web.cdx.json

A container of the image lists them, without a network. The document has neither a time nor a random
number, so that two of them can be compared with `diff`.
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

# Runs in the container. Debian's advisories name source packages.
INVENTORY_PROGRAM = r"""
import json, platform, subprocess
from importlib.metadata import distributions
fields = "${binary:Package}\t${Version}\t${Architecture}\t${source:Package}\t${source:Version}\n"
query = ["dpkg-query", "--show", "--showformat", fields]
debian = subprocess.run(query, capture_output=True, text=True, check=True)
print(json.dumps({
    "python": platform.python_version(),
    "system": platform.freedesktop_os_release(),
    "wheels": sorted({(package.name, package.version) for package in distributions()}),
    "debian": sorted(line.split("\t") for line in debian.stdout.splitlines()),
}))
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the document of the image that the arguments name."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.sbom", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("image", help="name:tag of an image that Docker has")
    image = parser.parse_args(arguments).image
    container = ["docker", "run", "--rm", "--network=none", "--entrypoint=python", image]
    command = [*container, "-c", INVENTORY_PROGRAM]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603
    print(document(image, json.loads(done.stdout)))
    return 0


def document(image: str, inventory: Mapping[str, Any]) -> str:
    """The CycloneDX document, from what INVENTORY_PROGRAM printed in the image."""
    name, _, version = image.rpartition("/")[2].partition(":")
    whole = Component(type=ComponentType.CONTAINER, name=name, version=version, bom_ref=name)
    bom = Bom(components=components(inventory))
    bom.metadata.component = whole
    bom.register_dependency(whole, bom.components)
    written = json.loads(JsonV1Dot6(bom).output_as_string())
    # Both are optional, and differ in each document.
    del written["serialNumber"]
    del written["metadata"]["timestamp"]
    return json.dumps(written, indent=2, sort_keys=True)


def components(inventory: Mapping[str, Any]) -> Iterator[Component]:
    """The system, Python, and every package with the package URL by which scanners know it."""
    system = inventory["system"]
    distro = f"{system['ID']}-{system['VERSION_ID']}"
    yield Component(
        type=ComponentType.OPERATING_SYSTEM,
        name=system["ID"],
        version=system["VERSION_ID"],
        bom_ref=distro,
    )
    yield _component(
        PackageURL("generic", None, "python", inventory["python"]), ComponentType.APPLICATION
    )
    for name, version in inventory["wheels"]:
        yield _component(PackageURL("pypi", None, canonicalize_name(name), version))
    for name, version, architecture, source, source_version in inventory["debian"]:
        package_name = name.partition(":")[0]
        upstream = f"{source}@{source_version}"
        qualifiers = {"arch": architecture, "distro": distro, "upstream": upstream}
        yield _component(PackageURL("deb", system["ID"], package_name, version, qualifiers))


def _component(url: PackageURL, type: ComponentType = ComponentType.LIBRARY) -> Component:
    return Component(
        type=type, name=url.name, version=url.version, purl=url, bom_ref=url.to_string()
    )


if __name__ == "__main__":
    sys.exit(main())

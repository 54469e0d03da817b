"""Below a path behind an Ingress with TLS, on a MySQL of another release in another namespace."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import urllib3
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from playwright.sync_api import Browser, BrowserContext, expect

from scripts.config import ROOT
from tests.e2e.cluster import CHART, CommandFailed, Namespace, Release, merged
from tests.e2e.conftest import ONE_EACH, SMALL
from tests.e2e.waiters import Object, deployment_ready, wait_until

pytestmark = pytest.mark.cluster

CONTROLLER = ROOT.parent / "shared" / "cluster" / "ingress.yaml"
HOST = "backtests.example.org"
URL = f"https://{HOST}/bt"
VERIFIED = {"mode": "verify", "caSecret": "authority", "caKey": "root.pem"}
STATE = "/var/lib/mysql-state"  # of the database, beside its data
KEYS = {"user": "login", "password": "word"}


@pytest.fixture(scope="module")
def database(new_namespace: Callable[..., Namespace], namespace: Namespace) -> str:
    """The subchart by itself, with a certificate of its own, which lets in the web's namespace.

    The namespace of the web gets the certificate as the authority.
    """
    elsewhere = new_namespace("-database")
    host = f"db-mysql.{elsewhere.name}.svc"
    pem, private = self_signed(host)
    secret(namespace, "authority", **{"root.pem": pem})
    files = {"server.pem": pem, "server.key": private}
    write = "\n".join(f"cat >{STATE}/{name} <<'END'\n{text}END" for name, text in files.items())
    options = "\n".join(
        f"ssl_{kind} = {STATE}/{name}" for kind, name in zip(("cert", "key"), files, strict=True)
    )
    peer = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace.name}}}
    policy = {"extraIngress": [{"from": [peer], "ports": [{"port": 3306}]}]}
    secret(elsewhere, "given", login="somebody", word="from-elsewhere", root="root-of-elsewhere")
    auth = {
        "existingSecret": "given",
        "database": "theirs",
        "secretKeys": {**KEYS, "rootPassword": "root"},
    }
    values = {
        **SMALL,
        "networkPolicy": policy,
        "auth": auth,
        "initdbScripts": {"1-certificate.sh": write},
        "config": {"extra": options},
    }
    Release("db", elsewhere, values, chart=str(CHART / "charts" / "mysql")).install()
    return host


def secret(namespace: Namespace, name: str, kind: str = "Opaque", **values: str) -> None:
    data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
    namespace.apply(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name},
            "type": kind,
            "data": data,
        }
    )


def self_signed(host: str) -> tuple[str, str]:
    """A certificate of the host and its private key, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host[:64])])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM).decode()
    formats = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return pem, key.private_bytes(serialization.Encoding.PEM, *formats).decode()


@pytest.fixture(scope="module")
def certificate(namespace: Namespace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of the host, self-signed, in the Secret `tls` and in a file."""
    pem, private = self_signed(HOST)
    secret(namespace, "tls", "kubernetes.io/tls", **{"tls.crt": pem, "tls.key": private})
    file = tmp_path_factory.mktemp("tls") / "ca.pem"
    file.write_text(pem)
    return file


@pytest.fixture(scope="module")
def release(
    helm_release: Callable[..., Release], namespace: Namespace, database: str, certificate: Path
) -> Release:
    secret(namespace, "theirs", login="somebody", word="from-elsewhere")
    external = {"host": database, "name": "theirs", "existingSecret": "theirs", "secretKeys": KEYS}
    outside: Object = {
        "web": {"basePath": "/bt"},
        "mysql": {"enabled": False},
        "externalDatabase": {**external, "tls": VERIFIED},
        "ingress": {
            "enabled": True,
            "className": "local",
            "hosts": [HOST],
            "tls": [{"secretName": "tls", "hosts": [HOST]}],
        },
    }
    return helm_release("bt", **merged(ONE_EACH, outside))


@pytest.fixture(scope="module")
def node(namespace: Namespace) -> str:
    """Address of the node that the test cluster's Ingress controller listens on."""
    if not CONTROLLER.is_file():
        pytest.skip(f"no Ingress controller to try it with: there is no {CONTROLLER}")
    theirs = Namespace("ingress", namespace.kubeconfig)
    theirs.kubectl("apply", "-f", str(CONTROLLER))
    wait_until(
        lambda: theirs.object("deployment", "ingress"),
        deployment_ready,
        60,
        "the Ingress controller runs",
    )
    return namespace.node()


def test_a_backtest_on_an_external_database(release: Release) -> None:
    with release.web("/bt") as web:
        web.completed()
    kinds = "statefulsets,pvc,secrets,networkpolicies,services,configmaps"
    assert not [name for name in release.namespace.names(kinds) if "mysql" in name]


MIGRATE = ("env", "DB_WAIT_SECONDS=1", "python", "-m", "service.store.migrate")


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ("DB_TLS_CA=/etc/ssl/certs/ca-certificates.crt", "certificate verify failed"),
        ("DB_HOST={host}.cluster.local", "Hostname mismatch"),
    ],
)
def test_nobody_else_is_taken_for_the_database(
    release: Release, database: str, wrong: str, why: str
) -> None:
    """Another authority, and a name that the certificate has not."""
    (pod,) = release.pods("web")
    words = ("exec", pod, "--", MIGRATE[0], wrong.format(host=database), *MIGRATE[1:])
    with pytest.raises(CommandFailed, match=why):
        release.namespace.kubectl(*words)
    assert "cannot be used" not in release.namespace.kubectl("exec", pod, "--", *MIGRATE)


@pytest.fixture(scope="module")
def pool(node: str, certificate: Path) -> Iterator[urllib3.HTTPSConnectionPool]:
    """Asks the node by the host's name, and believes only the host's certificate."""
    names = {"server_hostname": HOST, "assert_hostname": HOST, "ca_certs": str(certificate)}
    with urllib3.HTTPSConnectionPool(
        node, headers={"Host": HOST}, timeout=10, retries=False, **names
    ) as pool:
        yield pool


def test_https_with_the_given_certificate_below_the_path_only(
    release: Release, pool: urllib3.HTTPSConnectionPool
) -> None:
    answer = wait_until(
        lambda: pool.request("GET", "/bt/"), lambda answer: answer.status == 200, 30, "it is routed"
    )
    addresses = re.findall(rb'(?:href|src|action)="(/[^"]*)"', answer.data)
    assert addresses
    assert all(address.startswith(b"/bt/") for address in addresses), addresses
    for address in {address.decode() for address in addresses if b"/static/" in address}:
        assert pool.request("GET", address).status == 200, address
    assert pool.request("GET", "/").status == 404
    assert pool.request("GET", "/btx/").status == 404
    form = pool.request("GET", "/bt", redirect=False)
    assert form.status == 200 or form.headers["Location"].startswith((URL, "/bt/")), form.headers


@pytest.fixture(scope="module")
def visitor(node: str, start_browser: Callable[..., Browser]) -> Iterator[BrowserContext]:
    """A browser that finds the host at the node."""
    chromium = start_browser(f"--host-resolver-rules=MAP {HOST} {node}")
    yield chromium.new_context(ignore_https_errors=True, locale="en-US")
    chromium.close()


def test_from_the_form_to_the_result_through_the_ingress(
    release: Release, visitor: BrowserContext
) -> None:
    page = visitor.new_page()
    problems: list[str] = []
    page.on(
        "console",
        lambda message: problems.append(message.text) if message.type == "error" else None,
    )
    page.on(
        "request",
        lambda request: (
            None if request.url.startswith((URL, "data:")) else problems.append(request.url)
        ),
    )
    page.goto(f"{URL}/")
    assert page.evaluate("getComputedStyle(document.querySelector('header')).display") == "flex", (
        "the style is there"
    )
    page.fill("input[name=ticker]", "GOOG")
    page.fill("input[name=end_date]", "2020-02-07")
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page).to_have_url(re.compile(rf"^{URL}/result/[0-9a-f-]{{36}}$"))
    expect(page.locator(".tiles > div").first).to_contain_text("162.95 %", timeout=60_000)
    expect(page.locator("[data-ready]")).to_be_attached()
    page.get_by_role("link", name="All runs").click()
    expect(page).to_have_url(f"{URL}/runs")
    assert problems == []

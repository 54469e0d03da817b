"""Values that switch on what is off by default."""

from __future__ import annotations

ROUTE = {
    "httpRoute": {"enabled": True, "parentRefs": [{"name": "gateway"}]},
    "web": {"service": {"type": "NodePort"}},
}
VERIFIED = {"externalDatabase": {"tls": {"mode": "verify", "caSecret": "authority"}}}
METRICS = {"enabled": True, "tokenSecret": {"name": "token"}}
LOGIN = {
    "auth": {
        "existingSecret": "login",
        "mode": "basic",
        "secretKeys": {"tokens": "t", "testToken": "token"},
    },
    "serviceMonitor": METRICS,
}

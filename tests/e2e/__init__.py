"""The chart on a real cluster: `pytest tests/e2e -m cluster -n 0 --kubeconfig ...`."""

"""What starts, watches and stops jobs: processes on a laptop, Jobs on Kubernetes."""

#!/usr/bin/env bash
# The platform on a kind cluster of its own: scripts/kind.sh up | demo | load | test | down; `make help` explains them.
# Settings: CLUSTER, PORT, NODE_IMAGE, and WORKER_NODES beside the first one, which takes work too. The cluster has a
# kubeconfig of its own; yours is never touched.
set -euo pipefail

CLUSTER=${CLUSTER:-stock-backtest}
PORT=${PORT:-8080}
NODE_IMAGE=${NODE_IMAGE:-kindest/node:v1.34.4}
WORKER_NODES=${WORKER_NODES:-0}
RELEASE=bt
export KUBECONFIG=$PWD/.kubeconfig-$CLUSTER
CHART=charts/stock-backtest
VERSION=$(sed -n 's/^appVersion: "\(.*\)"/\1/p' $CHART/Chart.yaml)
URL=http://127.0.0.1:$PORT

stop() { printf 'kind-up: %s\n' "$*" >&2; exit 1; }

# Runs a step and says how long it took; its output is shown only when it fails. (Not as the condition of an `if`:
# there the shell would go on after an error inside.)
step() {
    local name=$1 start=$SECONDS code=0 log
    shift
    log=$(mktemp)
    printf '  %-22s' "$name"
    set +e; (set -e; "$@") >"$log" 2>&1; code=$?; set -e
    if [ $code = 0 ]; then printf '%4d s\n' $((SECONDS - start)); rm -f "$log"; return; fi
    printf 'FAILED\n'; cat "$log" >&2; rm -f "$log"
    stop "the step \"$name\" failed; what it printed stands above"
}

exists() { kind get clusters 2>/dev/null | grep -x "$CLUSTER" >/dev/null; }

preflight() {
    for tool in docker kind kubectl helm; do
        command -v $tool >/dev/null || stop "$tool is missing: install it and put it on the PATH"
    done
    docker info >/dev/null 2>&1 || stop "Docker does not answer: start it, or give your user the right to use it"
    local memory; memory=$(docker info --format '{{.MemTotal}}')
    [ "$memory" -ge 4000000000 ] || stop "Docker has $((memory / 1000000)) MB of memory: give it at least 4 GB"
    exists && return
    ! (exec 3<>"/dev/tcp/127.0.0.1/$PORT") 2>/dev/null || stop "port $PORT is taken: make kind-up KIND_PORT=$((PORT + 1))"
}

create() {
    if exists; then
        kind export kubeconfig --name "$CLUSTER"
        kubectl get --raw /readyz || stop "the cluster $CLUSTER does not answer: make kind-down, then make kind-up"
        return
    fi
    kind create cluster --name "$CLUSTER" --image "$NODE_IMAGE" --wait 180s --config - <<EOF
kind: Cluster
apiVersion: kind.x-k8s.io/v1alpha4
nodes:
  - role: control-plane
    extraPortMappings: [{containerPort: 30500, hostPort: $PORT, listenAddress: 127.0.0.1}]
$(for _ in $(seq "$WORKER_NODES"); do echo '  - role: worker'; done)
EOF
    [ "$WORKER_NODES" = 0 ] || kubectl taint node "$CLUSTER-control-plane" node-role.kubernetes.io/control-plane-
}

images() { echo stock-backtest-web stock-backtest-worker stock-backtest-prices; }

# Each build has a tag of its own, so that new content rolls the pods and old content does not.
tag() { docker image inspect --format '{{.Id}}' "$1:$VERSION" | sed "s/sha256:\(.\{12\}\).*/$VERSION-\1/"; }

build() {
    local revision; revision=$(git rev-parse HEAD 2>/dev/null || true)
    for target in web worker; do
        docker build --build-arg CODE_REVISION="$revision" --build-arg VERSION="$VERSION" \
            --target $target --tag "stock-backtest-$target:$VERSION" .
    done
    docker build --build-arg WEB_IMAGE="stock-backtest-web:$VERSION" --tag "stock-backtest-prices:$VERSION" data
    for image in $(images); do docker tag "$image:$VERSION" "$image:$(tag "$image")"; done
}

load() {
    local tagged=()
    for image in $(images); do tagged+=("$image:$(tag "$image")"); done
    docker image inspect mysql:8.0 >/dev/null 2>&1 || docker pull mysql:8.0
    local there missing=()
    there=$(docker exec "$CLUSTER-control-plane" ctr --namespace k8s.io images list --quiet)
    for image in mysql:8.0 "${tagged[@]}"; do
        grep "/$image\$" <<<"$there" >/dev/null || missing+=("$image")
    done
    [ ${#missing[@]} = 0 ] || kind load docker-image --name "$CLUSTER" "${missing[@]}"
}

install() {
    local code=0
    helm upgrade --install $RELEASE $CHART --namespace $RELEASE --create-namespace --values scripts/kind-values.yaml \
        --set "web.image.tag=$(tag stock-backtest-web)" --set "worker.image.tag=$(tag stock-backtest-worker)" \
        --set "prices.samples.image.tag=$(tag stock-backtest-prices)" --wait --timeout 8m || code=$?
    [ $code = 0 ] && return
    kubectl --namespace $RELEASE get pods,jobs,events
    kubectl --namespace $RELEASE logs --all-containers --tail 20 --prefix -l app.kubernetes.io/instance=$RELEASE
    return $code
}

answers() {
    for _ in $(seq 60); do curl -sf "$URL/ready" && return; sleep 0.5; done
    return 1
}

put_in() {
    step "build the images" build
    step "load them" load
    step "install the chart" install
    step "wait for the dashboard" answers
}

up() {
    preflight
    printf '\nThe cluster %s:\n' "$CLUSTER"
    step "cluster" create
    put_in
    cat <<EOF

  The dashboard is at $URL/  -- press Run, then look at the Jobs:

    export KUBECONFIG=$KUBECONFIG
    kubectl --namespace $RELEASE get jobs,pods

  make kind-demo runs backtests, make kind-test the tests on a cluster, make kind-down removes the cluster.
EOF
}

demo() {
    exists || stop "there is no cluster $CLUSTER yet: make kind-up"
    sh scripts/smoke.sh "$URL"
    kubectl --namespace $RELEASE get jobs
}

# SKIP=slow leaves out the slow ones. The tests take the images by their version, and the node's own names for them.
run_tests() {
    exists || stop "there is no cluster $CLUSTER yet: make kind-up"
    local python=$1 images=(mysql:8.0)
    for image in $(images); do images+=("$image:$VERSION"); done
    step "load the images" kind load docker-image --name "$CLUSTER" "${images[@]}"
    "$python" -m pytest tests -m "cluster and not nodes${SKIP:+ and not $SKIP}" -n 2 --dist loadfile --kubeconfig "$KUBECONFIG"
    "$python" -m pytest tests -m nodes -n 0 --kubeconfig "$KUBECONFIG"
}

case ${1:-} in
    up) up ;;
    load) exists || stop "there is no cluster $CLUSTER yet: make kind-up"; put_in ;;
    demo) demo ;;
    test) run_tests "${2:-python}" ;;
    down) kind delete cluster --name "$CLUSTER"; rm -f "$KUBECONFIG" ;;
    *) sed -n 2,3p "$0"; exit 2 ;;
esac

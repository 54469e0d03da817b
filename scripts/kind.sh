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

SCRATCH=$(mktemp -d)
# Where one step fails, the others come to their end: no cluster is left half made.
trap '[ -z "$(jobs -pr)" ] || echo "kind-up: waiting for the steps beside it" >&2; wait; rm -rf "$SCRATCH"' EXIT
trap 'trap "" TERM; kill -TERM 0' INT  # the steps in the background go too

# begin NAME COMMAND...: a step beside others. finish NAME: waits for its end and says how long it took; its output is
# shown only when it fails. A terminal shows the seconds and the last line of the output meanwhile.
begin() {
    local log=$SCRATCH/$1.log
    date +%s >"$SCRATCH/$1.start"
    (set -e; shift; "$@") >"$log" 2>&1 </dev/null &
    echo $! >"$SCRATCH/$1.pid"
}

finish() {
    local name=$1 code=0 pid log=$SCRATCH/$1.log
    pid=$(cat "$SCRATCH/$name.pid")
    printf '  %-22s' "$name"
    while [ -t 1 ] && kill -0 "$pid" 2>/dev/null; do
        printf '\r  %-22s%4d s  %-50.50s' "$name" "$(seconds_of "$name")" "$(tail -n 1 "$log" | tr -cd '[:print:]')"
        sleep 1
    done
    wait "$pid" || code=$?
    [ ! -t 1 ] || printf '\r%80s\r  %-22s' '' "$name"
    if [ $code = 0 ]; then printf '%4d s\n' "$(seconds_of "$name")"; return; fi
    printf 'FAILED\n'; cat "$log" >&2
    stop "the step \"$name\" failed; what it printed stands above"
}

seconds_of() { echo $(($(date +%s) - $(cat "$SCRATCH/$1.start"))); }

step() {
    begin "$@"
    finish "$1"
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

# What the nodes lack becomes archives, while a new cluster still starts: our images in one, for they share most layers.
pack() {
    local missing=() image
    for image in $(images); do
        image=$image:$(tag "$image")
        is_loaded "$image" || missing+=("$image")
    done
    [ ${#missing[@]} = 0 ] || docker save --output "$SCRATCH/ours.tar" "${missing[@]}"
}

pack_mysql() {
    docker image inspect mysql:8.0 >/dev/null 2>&1 || docker pull mysql:8.0
    is_loaded mysql:8.0 || docker save --output "$SCRATCH/mysql.tar" mysql:8.0
}

nodes() { kind get nodes --name "$CLUSTER" 2>/dev/null; }

# Whether every node has the image; nobody has it where there is no node yet.
is_loaded() {
    local node number=0
    for node in $(nodes); do
        docker exec "$node" ctr --namespace k8s.io images list --quiet 2>/dev/null | grep "/$1\$" >/dev/null || return 1
        number=$((number + 1))
    done
    [ $number != 0 ]
}

# Each archive into all nodes, both at the same time. The images have their version as a name too, which k8s/ takes.
load() {
    local archive pid node image code=0 loads=""
    for archive in "$SCRATCH"/*.tar; do
        [ -e "$archive" ] || continue
        kind load image-archive --name "$CLUSTER" "$archive" &
        loads="$loads $!"
    done
    for pid in $loads; do wait "$pid" || code=$?; done
    [ $code = 0 ] || return $code
    for node in $(nodes); do
        for image in $(images); do
            image=docker.io/library/$image
            docker exec "$node" ctr --namespace k8s.io images tag --force \
                "$image:$(tag "${image##*/}")" "$image:$VERSION"
        done
    done
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

# Building and packing need no cluster: a new one starts meanwhile.
put_in() {
    begin "cluster" create
    begin "pack MySQL" pack_mysql
    step "build the images" build
    step "pack them" pack
    finish "pack MySQL"
    finish "cluster"
    step "load them" load
    step "install the chart" install
    step "wait for the dashboard" answers
}

up() {
    preflight
    printf '\nThe cluster %s:\n' "$CLUSTER"
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

# SKIP=slow leaves out the slow ones. The tests take the images by their version.
run_tests() {
    exists || stop "there is no cluster $CLUSTER yet: make kind-up"
    local python=$1
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

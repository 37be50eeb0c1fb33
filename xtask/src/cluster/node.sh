#!/bin/bash
# One Kubernetes node in namespaces of its own. Arguments: the cache (binaries and images), a directory for this run, the
# process in whose network namespace the other end of the node's cable is laid. Run by `unshare -n -m --propagation
# private` in a session of its own.
#
# It says `ready`, then obeys lines on its stdin (`restart NAME`). When stdin ends, for whatever reason, the node is
# taken down: so nothing is left when the one who started it is killed.
set -uo pipefail
cache=$1 run=$2 outside=$3
export PATH=$cache/bin:$cache/root/usr/bin:$cache/root/usr/sbin:/usr/sbin:/usr/bin:/sbin:/bin
export GOMAXPROCS=2
address=10.77.0.2
log=$run/log
declare -A pids

start() {
    local name=$1
    shift
    "$@" >> "$log/$name.log" 2>&1 < /dev/null &
    pids[$name]=$!
}

stop() {
    local pid=${pids[$1]:-}
    [ -n "$pid" ] || return 0
    kill "$pid" 2> /dev/null
    for _ in $(seq 50); do
        kill -0 "$pid" 2> /dev/null || break
        sleep 0.1
    done
    kill -9 "$pid" 2> /dev/null
    wait "$pid" 2> /dev/null
    unset "pids[$1]"
}

# Everything in the pods' cgroups, then the cgroups themselves, deepest first.
clear_pods() {
    local tree=/sys/fs/cgroup/kubepods
    [ -d $tree ] || return 0
    for _ in 1 2 3; do
        find $tree -name cgroup.procs -exec cat {} + 2> /dev/null | while read -r pid; do kill -9 "$pid" 2> /dev/null; done
        sleep 0.2
        find $tree -depth -type d -exec rmdir {} + 2> /dev/null
    done
    # The agent's bpffs and the like may hold one for a moment: it is empty, which is what matters.
    return 0
}

take_down() {
    trap '' TERM INT HUP
    for name in kube-proxy kubelet kube-scheduler kube-controller-manager; do stop $name; done
    clear_pods
    # Shims are children of init by now, each in a process group of its own; they are known by our socket.
    for shim in $(pgrep -f "containerd-shim-runc-v2 .*$run/containerd.sock"); do kill -9 "$shim" 2> /dev/null; done
    for name in containerd kube-apiserver etcd; do stop $name; done
    clear_pods
    ip link del node0 2> /dev/null
    # Network namespaces of pods are mounts in this mount namespace and end with it; what was mounted from the outside's
    # file system would keep the directories of the run busy.
    grep -o " $run/[^ ]*" /proc/self/mounts | sort -r | while read -r mount; do umount -l "$mount" 2> /dev/null; done
    exit 0
}
trap take_down EXIT TERM INT HUP

fail() {
    echo "failed $*"
    exit 1
}

# Waits until a command succeeds; the name of what is waited for, seconds, the command.
await() {
    local what=$1 patience=$2
    shift 2
    for _ in $(seq $((patience * 4))); do
        "$@" > /dev/null 2>&1 && return 0
        sleep 0.25
    done
    fail "$what"
}

mkdir -p "$log" "$run"/{etcd,containerd,kubelet,pki,state,cni,var-log}

# Places that are written by name, kept off the machine's own.
mount -t tmpfs tmpfs /run || fail "mounting /run"
mkdir -p /run/netns /run/containerd
mount --bind "$run/var-log" /var/log
mkdir -p "$run/var-lib-cni" /var/lib/cni /var/lib/drainwatch
mount -t tmpfs tmpfs /var/lib/cni
mount --bind "$run/state" /var/lib/drainwatch
# The machine is hybrid; nodes of today are not.
umount -R -l /sys/fs/cgroup 2> /dev/null
mount -t sysfs sysfs /sys 2> /dev/null
mount -t cgroup2 cgroup2 /sys/fs/cgroup || fail "mounting cgroup2"
mountpoint -q /sys/kernel/tracing || mount -t tracefs tracefs /sys/kernel/tracing 2> /dev/null
mountpoint -q /sys/fs/bpf || mount -t bpf bpf /sys/fs/bpf 2> /dev/null
mount --make-rshared /
clear_pods

ip link set lo up
ip link add eth0 type veth peer name node0 netns "$outside" || fail "laying the cable"
ip addr add $address/24 dev eth0
ip link set eth0 up
nsenter -t "$outside" -n ip addr add 10.77.0.1/24 dev node0
nsenter -t "$outside" -n ip link set node0 up
nsenter -t "$outside" -n ip route replace 10.88.0.0/22 via $address
nsenter -t "$outside" -n ip route replace 10.96.0.0/16 via $address
ip route add default via 10.77.0.1
echo 1 > /proc/sys/net/ipv4/ip_forward

# Where clients live: a pod's address on a cable of its own, as on another node. (On the pods' bridge the answers of a
# service would need br_netfilter to find their way back, which not every kernel has.)
ip netns add clients || fail "a namespace for clients"
ip link add clients0 type veth peer name eth0 netns clients
ip addr add 10.88.8.1/24 dev clients0
ip link set clients0 up
ip -n clients link set lo up
ip -n clients addr add 10.88.8.2/24 dev eth0
ip -n clients link set eth0 up
ip -n clients route add default via 10.88.8.1

cd "$run/pki" || fail "no directory"
if [ ! -e ca.crt ]; then
    openssl req -x509 -newkey rsa:2048 -nodes -days 3650 -subj /CN=ca -keyout ca.key -out ca.crt 2> /dev/null
    openssl req -newkey rsa:2048 -nodes -subj /CN=apiserver -keyout api.key -out api.csr 2> /dev/null
    openssl x509 -req -in api.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 3650 -out api.crt \
        -extfile <(echo "subjectAltName=IP:$address,IP:10.96.0.1,IP:127.0.0.1,DNS:kubernetes,DNS:kubernetes.default.svc") 2> /dev/null
    openssl genrsa -out sa.key 2048 2> /dev/null
    openssl rsa -in sa.key -pubout -out sa.pub 2> /dev/null
    echo 'this-cluster-lives-for-minutes,admin,admin,"system:masters"' > tokens.csv
    cat > "$run/kubeconfig" <<CONF
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "https://$address:6443", certificate-authority: "$run/pki/ca.crt"}}]
users: [{name: u, user: {token: this-cluster-lives-for-minutes}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
CONF
fi

start_etcd() {
    start etcd etcd --data-dir "$run/etcd" --listen-client-urls http://127.0.0.1:2379 \
        --advertise-client-urls http://127.0.0.1:2379 --listen-peer-urls http://127.0.0.1:2380 --unsafe-no-fsync
}
start_kube_apiserver() {
    start kube-apiserver kube-apiserver --etcd-servers http://127.0.0.1:2379 --secure-port 6443 --insecure-port 0 \
        --advertise-address $address --disable-admission-plugins TaintNodesByCondition --service-cluster-ip-range 10.96.0.0/16 --authorization-mode RBAC \
        --token-auth-file "$run/pki/tokens.csv" --tls-cert-file "$run/pki/api.crt" \
        --tls-private-key-file "$run/pki/api.key" --client-ca-file "$run/pki/ca.crt" \
        --service-account-key-file "$run/pki/sa.pub" --service-account-signing-key-file "$run/pki/sa.key" \
        --kubelet-preferred-address-types InternalIP --service-account-issuer https://kubernetes.default.svc --allow-privileged=true
}

# etcd 3.4 of Debian has no --unsafe-no-fsync.
etcd --help 2>&1 | grep -q unsafe-no-fsync || start_etcd() {
    start etcd etcd --data-dir "$run/etcd" --listen-client-urls http://127.0.0.1:2379 \
        --advertise-client-urls http://127.0.0.1:2379 --listen-peer-urls http://127.0.0.1:2380
}

cat > "$run/runc" <<WRAPPER
#!/bin/sh
# Without CAP_SYS_RESOURCE no oom_score_adj can be lowered, and a hybrid machine's controllers are in its v1 trees.
bundle=
previous=
for argument; do
    [ "\$previous" = --bundle ] && bundle=\$argument
    previous=\$argument
done
[ -n "\$bundle" ] && sed -i -e 's/"oomScoreAdj":-[0-9]*/"oomScoreAdj":0/' -e 's/"\(cpu\|memory\)":{[^}]*}/"\1":{}/g' "\$bundle/config.json"
exec "$(command -v runc)" "\$@"
WRAPPER
chmod +x "$run/runc"
cat > "$run/containerd.toml" <<CONF
version = 2
root = "$run/containerd"
state = "/run/containerd-state"
oom_score = 0
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper"]
[grpc]
address = "$run/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "docker.io/library/pause:1"
restrict_oom_score_adj = true
disable_apparmor = true
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "overlayfs"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
BinaryName = "$run/runc"
SystemdCgroup = false
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "$cache/root/usr/lib/cni"
conf_dir = "$run/cni"
CONF
cat > "$run/cni/10-bridge.conflist" <<CONF
{"cniVersion": "0.4.0", "name": "pods", "plugins": [
 {"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true, "hairpinMode": true,
  "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.88.0.0/22"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
 {"type": "portmap", "capabilities": {"portMappings": true}}]}
CONF
start_containerd() { start containerd containerd --config "$run/containerd.toml"; }

cat > "$run/kubelet.yaml" <<CONF
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {anonymous: {enabled: true}, webhook: {enabled: false}}
authorization: {mode: AlwaysAllow}
cgroupDriver: cgroupfs
failSwapOn: false
enforceNodeAllocatable: [none]
oomScoreAdj: 0
evictionHard: {memory.available: 1Mi, nodefs.available: 1Mi, imagefs.available: 1Mi, nodefs.inodesFree: "1"}
resolvConf: ""
serializeImagePulls: true
volumePluginDir: $run/plugins
maxPods: 250
imageGCHighThresholdPercent: 100
registryPullQPS: 0
eventRecordQPS: 0
kubeAPIQPS: 50
kubeAPIBurst: 100
CONF
start_kubelet() {
    start kubelet kubelet --config "$run/kubelet.yaml" --kubeconfig "$run/kubeconfig" --root-dir "$run/kubelet" \
        --container-runtime remote --container-runtime-endpoint "unix://$run/containerd.sock" \
        --pod-infra-container-image docker.io/library/pause:1 --hostname-override node1 --node-ip $address \
        --cert-dir "$run/pki/kubelet"
}
start_kube_controller_manager() {
    start kube-controller-manager kube-controller-manager --kubeconfig "$run/kubeconfig" --controllers '*,-nodelifecycle' \
        --service-account-private-key-file "$run/pki/sa.key" --root-ca-file "$run/pki/ca.crt" --leader-elect=false
}
start_kube_scheduler() { start kube-scheduler kube-scheduler --kubeconfig "$run/kubeconfig" --leader-elect=false; }
start_kube_proxy() {
    start kube-proxy kube-proxy --kubeconfig "$run/kubeconfig" --proxy-mode iptables --cluster-cidr 10.88.0.0/16 \
        --hostname-override node1 --conntrack-max-per-core 0 --conntrack-min 0 --oom-score-adj 0
}

start_etcd
start_containerd
await etcd 30 curl -sf http://127.0.0.1:2379/health
start_kube_apiserver
await containerd 30 ctr -a "$run/containerd.sock" version
for image in "$cache"/images/*.tar; do
    ctr -a "$run/containerd.sock" -n k8s.io images import "$image" >> "$log/images.log" 2>&1 || fail "importing $image"
done
await "the API server" 90 kubectl --kubeconfig "$run/kubeconfig" get --raw /readyz
start_kube_controller_manager
start_kube_scheduler
start_kube_proxy
start_kubelet
await "the node" 90 sh -c "kubectl --kubeconfig $run/kubeconfig get node node1 | grep -qw Ready"
await "service accounts" 60 kubectl --kubeconfig "$run/kubeconfig" -n default get serviceaccount default
echo ready

while read -r verb name; do
    case $verb in
        restart)
            stop "$name"
            "start_${name//-/_}"
            echo "done $name"
            ;;
    esac
done

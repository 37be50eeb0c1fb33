#!/bin/bash
# The binaries of a Kubernetes node, from Debian's archive alone: sources of bookworm, Go of bookworm, packages that
# are unpacked and never installed. Arguments: the cache's directory. What is there already is not made again.
set -euo pipefail
cache=$1
apt=$cache/apt
mkdir -p "$apt"/lists/partial "$apt"/cache/archives/partial "$apt"/download "$cache"/bin.new

if [ ! -e "$cache/root/usr/bin/etcd" ] || [ ! -d "$cache/gopath/src/k8s.io/kubernetes" ]; then
    key=/usr/share/keyrings/debian-archive-keyring.gpg
    echo "deb [arch=amd64 signed-by=$key] http://deb.debian.org/debian bookworm main" > "$apt/sources.list"
    echo "deb-src [signed-by=$key] http://deb.debian.org/debian bookworm main" >> "$apt/sources.list"
    cat > "$apt/apt.conf" <<CONF
Dir::Etc::SourceList "$apt/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::State::Lists "$apt/lists";
Dir::State::status "$apt/status";
Dir::Cache "$apt/cache";
APT::Sandbox::User "";
Acquire::Languages "none";
Acquire::Retries "3";
CONF
    : > "$apt/status"
    export APT_CONFIG=$apt/apt.conf
    apt-get update --quiet --error-on=any
    cd "$apt/download"
    apt-get source --download-only kubernetes
    apt-get download etcd-server containerd runc containernetworking-plugins busybox-static golang-1.19-go golang-1.19-src
    for package in *.deb; do dpkg -x "$package" "$cache/root"; done
    mkdir -p "$cache/gopath/src/k8s.io"
    rm -rf "$cache/gopath/src/k8s.io/kubernetes"
    dpkg-source --no-check -x kubernetes_*.dsc "$cache/gopath/src/k8s.io/kubernetes"
fi

source=$cache/gopath/src/k8s.io/kubernetes
cd "$source"
version=v1.20.2
# Only this Go, never a newer one of the machine's: the vendored tree does not build with them.
goroot=$cache/root/usr/lib/go-1.19
export GOROOT=$goroot GOPATH=$cache/gopath GOCACHE=$cache/gocache GO111MODULE=off CGO_ENABLED=0 GOFLAGS=${GOFLAGS:--p=2}
go=$goroot/bin/go

# Go 1.18 gave reflect.mapiterinit a third argument; the vendored reflect2 is older than that.
reflect2=vendor/github.com/modern-go/reflect2
if ! grep -q 'it \*hiter' $reflect2/unsafe_link.go; then
    sed -i 's/^func mapiterinit(rtype unsafe.Pointer, m unsafe.Pointer) \*hiter/func mapiterinit(rtype unsafe.Pointer, m unsafe.Pointer, it *hiter)/' $reflect2/unsafe_link.go
    python3 - $reflect2/unsafe_link.go $reflect2/unsafe_map.go <<'PATCH'
import re, sys
link, table = sys.argv[1:]
text = open(link).read()
fields = """type hiter struct {
	key         unsafe.Pointer
	value       unsafe.Pointer
	t           unsafe.Pointer
	h           unsafe.Pointer
	buckets     unsafe.Pointer
	bptr        unsafe.Pointer
	overflow    *[]unsafe.Pointer
	oldoverflow *[]unsafe.Pointer
	startBucket uintptr
	offset      uint8
	wrapped     bool
	B           uint8
	i           uint8
	bucket      uintptr
	checkBucket uintptr
}
"""
open(link, "w").write(re.sub(r"type hiter struct \{.*?\n\}\n", fields, text, flags=re.S))
text = open(table).read()
text = text.replace("	return &UnsafeMapIterator{\n		hiter:      mapiterinit(type2.rtype, *(*unsafe.Pointer)(obj)),",
                    "	var it hiter\n	mapiterinit(type2.rtype, *(*unsafe.Pointer)(obj), &it)\n	return &UnsafeMapIterator{\n		hiter:      &it,")
open(table, "w").write(text)
PATCH
fi

# The release's archive lacks what its Makefile generates; of that, only this is missing in Debian's package.
if [ ! -e pkg/generated/openapi/zz_generated.openapi.go ]; then
    $go build -o "$cache/openapi-gen" k8s.io/kubernetes/vendor/k8s.io/kube-openapi/cmd/openapi-gen
    inputs=$(cd "$source" && grep -rl --include='*.go' '+k8s:openapi-gen=' pkg staging/src plugin \
        | grep -v -e /testdata/ -e sample-apiserver -e /_examples/ -e zz_generated \
        | xargs -n1 dirname | sort -u | sed -e 's,^staging/src/,k8s.io/kubernetes/vendor/,' -e 't' -e 's,^,k8s.io/kubernetes/,' | paste -sd,)
    "$cache/openapi-gen" --v 1 --logtostderr -h hack/boilerplate/boilerplate.generatego.txt \
        -i "$inputs" -p k8s.io/kubernetes/pkg/generated/openapi -O zz_generated.openapi \
        -r "$cache/openapi-violations" --output-base "$cache/gopath/src"
fi

ldflags=
for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
    for pair in gitVersion=$version gitMajor=1 gitMinor=20 gitCommit=debian gitTreeState=archive; do
        ldflags="$ldflags -X k8s.io/kubernetes/vendor/$package.$pair"
    done
done
for name in kube-apiserver kubelet kube-controller-manager kube-scheduler kube-proxy kubectl; do
    if [ ! -e "$cache/bin.new/$name" ]; then
        echo "building $name"
        $go build -ldflags "-s -w$ldflags" -o "$cache/bin.new/$name" "k8s.io/kubernetes/cmd/$name"
    fi
done
mv "$cache/bin.new" "$cache/bin"

#!/bin/bash
# The images of the cluster, as OCI archives that containerd imports. Arguments: the cache, our sources, the agent.
set -euo pipefail
cache=$1 here=$2 agent=$3
out=$cache/images
work=$(mktemp -d "$cache/image-XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir -p "$out"

# Puts a file into blobs/ by its hash; prints its descriptor.
blob() {
    local type=$1 file=$2 sum
    sum=$(sha256sum "$file" | cut -d ' ' -f 1)
    cp "$file" "$work/oci/blobs/sha256/$sum"
    printf '{"mediaType":"application/vnd.oci.image.%s","digest":"sha256:%s","size":%s}' "$type" "$sum" "$(stat -c %s "$file")"
}

# image NAME TAG ENTRYPOINT-AS-JSON ROOT [REPOSITORY]
image() {
    local name=$1 tag=$2 entry=$3 root=$4 repository=${5:-docker.io/library/$1} layer config manifest
    rm -rf "$work/oci"
    mkdir -p "$work/oci/blobs/sha256"
    tar -C "$root" --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 -cf "$work/layer.tar" .
    layer=$(blob layer.v1.tar "$work/layer.tar")
    printf '{"architecture":"amd64","os":"linux","config":{"Entrypoint":%s,"Env":["PATH=/bin"]},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' \
        "$entry" "$(sha256sum "$work/layer.tar" | cut -d ' ' -f 1)" > "$work/config"
    config=$(blob config.v1+json "$work/config")
    printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":%s,"layers":[%s]}' "$config" "$layer" > "$work/manifest"
    manifest=$(blob manifest.v1+json "$work/manifest")
    printf '{"schemaVersion":2,"manifests":[%s]}' \
        "${manifest%\}},\"annotations\":{\"io.containerd.image.name\":\"$repository:$tag\",\"org.opencontainers.image.ref.name\":\"$tag\"}}" > "$work/oci/index.json"
    echo '{"imageLayoutVersion":"1.0.0"}' > "$work/oci/oci-layout"
    tar -C "$work/oci" -cf "$out/$name.tar" .
}

if [ ! -e "$cache/app" ] || [ -n "$(find "$here/app" -newer "$cache/app")" ]; then
    GOROOT=$cache/root/usr/lib/go-1.19 GOCACHE=$cache/gocache GO111MODULE=off CGO_ENABLED=0 \
        "$cache/root/usr/lib/go-1.19/bin/go" build -ldflags '-s -w' -o "$cache/app" "$here"/app/*.go
    cc -O1 -static -pthread -o "$cache/plain" "$here/app/plain.c"
fi

mkdir -p "$work/app/bin" "$work/app/tmp"
cp "$cache/app" "$cache/plain" "$cache/root/bin/busybox" "$work/app/bin/"
for name in sh sleep kill true false cat ps; do ln -s busybox "$work/app/bin/$name"; done
image app 1 '["/bin/app"]' "$work/app"
mkdir -p "$work/pause/bin"
cp "$cache/app" "$work/pause/bin/"
image pause 1 '["/bin/app","pause"]' "$work/pause"

# As deploy/Dockerfile makes it: glibc, libgcc, certificates and the agent.
mkdir -p "$work/agent/usr/local/bin" "$work/agent/etc/ssl/certs"
strip --strip-debug "$agent" -o "$work/agent/usr/local/bin/drainwatch"
ldd "$agent" | grep -o '/[^ ]*' | while read -r library; do
    mkdir -p "$work/agent$(dirname "$library")"
    cp -L "$library" "$work/agent$library"
done
image drainwatch 0.1.0 '["/usr/local/bin/drainwatch"]' "$work/agent" ghcr.io/drainwatch/drainwatch

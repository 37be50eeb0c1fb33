# Not at an upgrade: the programs go on recording until the new agent takes them over.
if [ "$1" -eq 0 ]; then
    if command -v systemctl > /dev/null; then
        systemctl --no-reload disable drainwatch.service || :
    fi
    if [ -d /run/systemd/system ]; then
        systemctl stop drainwatch.service || :
    fi
    # What agents left running in the kernel: the unit's, and those that were started by hand. One that runs is left
    # alone, and said.
    for pins in /run/drainwatch-bpf/drainwatch /sys/fs/bpf/drainwatch; do
        if [ -d "$pins" ]; then
            drainwatch uninstall --pin-dir "$pins" || :
        fi
    done
    if mountpoint -q /run/drainwatch-bpf; then
        umount /run/drainwatch-bpf || :
    fi
    if [ -d /run/drainwatch-bpf ]; then
        rmdir /run/drainwatch-bpf || :
    fi
fi

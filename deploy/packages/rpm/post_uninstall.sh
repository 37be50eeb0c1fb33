if [ -d /run/systemd/system ]; then
    systemctl --system daemon-reload || :
    # One that runs is replaced by the new one, which takes its programs over.
    if [ "$1" -ge 1 ]; then
        systemctl try-restart drainwatch.service || :
    fi
fi
# Directories of its own, which it owns no other way.
if [ "$1" -eq 0 ]; then
    rmdir /usr/share/doc/drainwatch/examples /usr/share/doc/drainwatch /usr/share/licenses/drainwatch 2> /dev/null || :
fi

if command -v systemd-sysusers > /dev/null; then
    systemd-sysusers drainwatch.conf || :
fi
if [ -d /run/systemd/system ]; then
    systemctl --system daemon-reload || :
fi
# Enabled only where the distribution's presets say so; started by nobody but who asks for it.
if [ "$1" -eq 1 ] && command -v systemctl > /dev/null; then
    systemctl --no-reload preset drainwatch.service || :
fi

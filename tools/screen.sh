#!/usr/bin/env bash
# Runs a command with a window on a screen of its own where Xvfb is installed, else on the one there is.
set -euo pipefail
cd "$(dirname "$0")/.."

export QT_API=pyqt6 MPLBACKEND=agg
if command -v xvfb-run >/dev/null && command -v xauth >/dev/null; then
    export QT_QPA_PLATFORM=xcb
    exec xvfb-run -a -s "-screen 0 1600x1200x24" "$@"
fi
exec "$@"

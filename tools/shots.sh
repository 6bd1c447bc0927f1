#!/usr/bin/env bash
# Takes the pictures of docs/img from the running program, on a screen of its own where Xvfb is installed.
set -euo pipefail
cd "$(dirname "$0")/.."

export QT_API=pyqt6 MPLBACKEND=agg
python=(.venv/bin/python tools/shots.py "$@")
if command -v xvfb-run >/dev/null && command -v xauth >/dev/null; then
    export QT_QPA_PLATFORM=xcb
    exec xvfb-run -a -s "-screen 0 1600x1200x24" "${python[@]}"
fi
exec "${python[@]}"

#!/usr/bin/env bash
# Runs pytest with what is given (nothing: all tests) on a screen of its own where Xvfb is installed.
set -euo pipefail
cd "$(dirname "$0")/.."

# Workers share two cores well only if each keeps to one thread.
export OMP_NUM_THREADS=1 QT_API=pyqt6 PYTEST_QT_API=pyqt6 MPLBACKEND=agg
pytest=(.venv/bin/python -m pytest -q -n 2 --dist worksteal "$@")

if ! .venv/bin/python -c 'import PyQt6.QtTest, PyQt6.QtWidgets' 2>/dev/null; then
    echo "Qt cannot be loaded here; tests of the window will fail. See tools/setup.sh." >&2
    pytest+=(-p no:pytest-qt)
fi
if command -v xvfb-run >/dev/null && command -v xauth >/dev/null; then
    export QT_QPA_PLATFORM=xcb
    exec xvfb-run -a -s "-screen 0 1600x1200x24" "${pytest[@]}"
fi
export QT_QPA_PLATFORM=offscreen
exec "${pytest[@]}"

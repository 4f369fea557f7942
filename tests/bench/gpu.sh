#!/usr/bin/env bash
# What only a card can tell, in at most 8 minutes; without CUDA the same on the processor, small.
# Usage: bash tests/bench/gpu.sh [python] [figures.json]
set -euo pipefail
cd "$(dirname "$0")/../.."
PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" timeout 480 "${1:-.venv/bin/python}" tests/bench/gpu.py ${2:+--out "$2"}

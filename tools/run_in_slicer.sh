#!/usr/bin/env bash
# Runs TuckerSeg's self-test, gui tests and a tour of its panel in a real Slicer, and writes one report.
#
#   tools/run_in_slicer.sh /path/to/Slicer [FOLDER [CHECK…]]
#
# FOLDER (slicer-report) gets report.md, pictures and slicer.log. CHECK: facts, self-test, tests, tour; all without any.
# Settings of the user are neither read nor written. Exit status: 0 where nothing failed.
set -uo pipefail

if [ $# -lt 1 ] || ! command -v "$1" >/dev/null; then
  sed -n '2,7s/^# \{0,1\}//p' "$0" >&2
  [ $# -lt 1 ] || echo "$1 is not a program." >&2
  exit 2
fi
slicer=$1
mkdir -p "${2:-slicer-report}" || exit 2
report=$(cd "${2:-slicer-report}" && pwd)
shift $(($# < 2 ? $# : 2))
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

export TUCKERSEG_REPORT=$report TUCKERSEG_CHECKS="$*"
export TUCKERSEG_CHECKS_FILE=$root/TuckerSeg/Testing/gui/in_slicer/checks.py
rm -f "$report/report.md"
"$slicer" --testing --no-splash --additional-module-paths "$root/TuckerSeg" \
  --python-script "$root/tools/run_in_slicer.py" 2>&1 | tee "$report/slicer.log"
status=${PIPESTATUS[0]}
if ! grep -q "^Complete: " "$report/report.md" 2>/dev/null; then
  echo "Slicer ended (exit code $status) before the report was complete; its last words are in $report/slicer.log." >&2
  exit 1
fi
echo "Report: $report/report.md"
exit "$status"

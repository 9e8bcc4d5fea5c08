#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# perfetto 0.59.1 (Python package) asks for "protobuf" without a version, so protobuf 5.29.5, which other packages pin, stays
# installed and `pip check` finds nothing wrong. But its generated code was made by protobuf 6.31.1, which refuses older
# runtimes: importing the trace builder raises google.protobuf.runtime_version.VersionError, which is no ImportError.
# Seen: "Detected mismatched Protobuf Gencode/Runtime major versions ... gencode 6.31.1 runtime 5.29.5".
# Exits 0 while that is so, 1 once it has changed.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check 'perfetto==0.59.1' 'protobuf==5.29.5' 2>"$work/pip.log" \
  || { cat "$work/pip.log" >&2; echo "could not install the packages" >&2; exit 2; }

changed=0
checked=$("$work/venv/bin/pip" check 2>/dev/null || true)
echo "pip check: $checked"
[ "$checked" = "No broken requirements found." ] || { echo "CHANGED: pip knows that the two do not fit"; changed=1; }

said=$("$work/venv/bin/python" - <<'PY'
try:
    from perfetto.trace_builder.proto_builder import TraceProtoBuilder
except ImportError as error:
    print("ImportError", error)
except Exception as error:
    print(type(error).__name__, error)
else:
    print("imported", TraceProtoBuilder.__name__)
PY
)
echo "import:    $said"
case "$said" in
  "VersionError "*) ;;
  *) echo "CHANGED: the import no longer ends in VersionError"; changed=1 ;;
esac
exit "$changed"

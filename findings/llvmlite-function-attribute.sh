#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# llvmlite 0.44.0 (numba 0.61 needs it; 0.47.0, of numba 0.65, does the same): ValueRef.add_function_attribute puts the
# attribute on the function's return value. LLVM's verifier lets "noinline" pass there and refuses "cold":
# "Attribute 'cold' does not apply to function return values". The printed IR shows it: "define cold noinline i32 @f()".
# llvmlite 0.50.0 puts it on the function: "define i32 @f() #0". In the text of a module, "cold" behind the argument list
# works with all three.
# Exits 0 while that is so, 1 once it has changed.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"

said() { # what llvmlite of this version makes of a function with two attributes
  "$work/venv/bin/pip" install -q --disable-pip-version-check "llvmlite==$1" 2>"$work/pip.log" \
    || { cat "$work/pip.log" >&2; echo "could not install llvmlite $1" >&2; exit 2; }
  "$work/venv/bin/python" - <<'PY'
from llvmlite import binding

module = binding.parse_assembly("define i32 @f() {\n ret i32 1\n}\n")
for name in ("noinline", "cold"):
    module.get_function("f").add_function_attribute(name)
try:
    module.verify()
    verdict = "verified"
except RuntimeError as error:
    verdict = str(error).strip().splitlines()[0]
print(next(line for line in str(module).splitlines() if line.startswith("define")), "|", verdict)
PY
}

changed=0
old=$(said 0.44.0)
new=$(said 0.50.0)
echo "llvmlite 0.44.0: $old"
echo "llvmlite 0.50.0: $new"
case "$old" in
  "define cold noinline i32 @f() { | Attribute 'cold' does not apply to function return values") ;;
  *) echo "CHANGED: 0.44.0"; changed=1 ;;
esac
case "$new" in
  "define i32 @f() #0 { | verified") ;;
  *) echo "CHANGED: 0.50.0"; changed=1 ;;
esac
exit "$changed"

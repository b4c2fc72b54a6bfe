#!/bin/sh
# Format and static checks of the C++ files changed since a commit ("all": of every file).
set -eu
cd "$(dirname "$0")/.."
base=${1:-HEAD~1}
if [ "$base" = all ] || ! git rev-parse -q --verify "$base^{commit}" >/dev/null; then
  files=$(git ls-files '*.cc' '*.h')
else
  files=$(git diff --name-only --diff-filter=d "$base" -- '*.cc' '*.h')
fi
[ -n "$files" ] || { echo 'lint: no C++ file changed'; exit 0; }
# shellcheck disable=SC2086
clang-format --dry-run -Werror $files
[ -f build/dev/compile_commands.json ] || cmake --preset dev >/dev/null
sources=$(printf '%s\n' $files | grep '\.cc$' | grep -v '/fuzz_' || true)
# shellcheck disable=SC2086
[ -z "$sources" ] || printf '%s\n' $sources | xargs -P "$(nproc)" -n 4 \
  clang-tidy -p build/dev --quiet --extra-arg=-Wno-unknown-warning-option
echo "lint: $(printf '%s\n' $files | wc -l) files are clean"

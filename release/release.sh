#!/usr/bin/env bash
# release.sh OUT: builds for all targets, or those in $TARGETS, and writes the files of a release
# into OUT, which must not exist. All times in them are $SOURCE_DATE_EPOCH, by default that of the
# commit, so the files depend on the commit alone.
set -euo pipefail
out=$(realpath -m "$1")
cd "$(dirname "$0")/.."
epoch=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
host=x86_64-unknown-linux-musl
read -ra targets <<<"${TARGETS:-$host aarch64-unknown-linux-musl aarch64-apple-darwin x86_64-apple-darwin x86_64-pc-windows-gnu}"

# The program for this machine generates the manual and the completions.
for target in "$host" "${targets[@]}"; do
  printf -- '-- %s (%d s)\n' "$target" "$SECONDS"
  release/cargo-for.sh "$target" build --release --locked --bin microagent
done

documents=target/cross/documents
rm -rf "$documents"
mkdir -p "$documents/completions"
microagent() { "target/$host/release/microagent" "$@"; }
microagent manual "$documents/man"
microagent completion bash >"$documents/completions/microagent.bash"
microagent completion zsh >"$documents/completions/_microagent"
microagent completion fish >"$documents/completions/microagent.fish"
microagent completion powershell >"$documents/completions/microagent.ps1"

PYTHONDONTWRITEBYTECODE=1 python3 release/package "$out" "$documents" "$epoch" "${targets[@]}"
cat "$out/SHA256SUMS"

#!/bin/sh
# Installs the Debian packages that building and testing need, those that are missing only. When all are
# there it costs milliseconds and says nothing; what it says goes to standard error.
set -eu
exec >&2

# One a line, with what it is for.
packages=$(sed 's/ *#.*//' <<'LIST'
clang-19              # the compiler (g++ 12 miscompiles coroutines)
libclang-rt-19-dev    # its sanitizers
lld-19                # the linker
llvm-19               # llvm-ar, and llvm-symbolizer for the sanitizers
ccache                # a rebuild in seconds
protobuf-compiler     # messages
libprotobuf-dev
libuv1-dev            # the outside world
libraft-dev           # the Raft core
libsqlite3-dev        # indexes
libssl-dev            # TLS, SHA-256
libxxhash-dev         # checksums of records
libcli11-dev          # command lines
libspdlog-dev         # logs
libfmt-dev            # text
libedit-dev           # line editing in the shell
libjemalloc-dev       # the programs' allocator
libgtest-dev          # tests
libgmock-dev
LIST
)

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
  command -v clang++-19 >/dev/null && exit 0
  echo "error: this is not a Debian machine, so nothing is installed by itself; needed are:" $packages
  exit 1
fi

missing() {
  # Shell words on purpose: one argument a package.
  { dpkg-query -W -f '${Package} ${db:Status-Status}\n' $packages 2>/dev/null || true; } |
    awk -v wanted="$(echo $packages)" '
      $2 == "installed" { there[$1] = 1 }
      END { n = split(wanted, w, " "); for (i = 1; i <= n; i++) if (!(w[i] in there)) printf "%s ", w[i] }'
}

wanted=$(missing)
[ -z "$wanted" ] && exit 0
echo "installing: $wanted"
as_root=
if [ "$(id -u)" != 0 ]; then
  command -v sudo >/dev/null || { echo "error: run this as root, or install sudo; missing: $wanted"; exit 1; }
  as_root=sudo
fi
apt() { $as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 "$@" </dev/null; }
apt update || echo "apt-get update failed; trying with the lists that are here"
apt install -y --no-install-recommends $wanted
wanted=$(missing)
[ -z "$wanted" ] || { echo "error: still missing: $wanted"; exit 1; }

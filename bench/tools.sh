#!/bin/sh
# Installs what the benches start themselves and no wheel brings: h2load, which makes the load.

command -v h2load >/dev/null && exit 0
echo "The bench needs h2load (nghttp2-client)."
if command -v apt-get >/dev/null && [ "$(id -u)" -eq 0 ]; then
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq && apt-get install -y -qq --no-install-recommends nghttp2-client && exit 0
fi
echo "It could not be installed. On Debian, as root: apt-get install nghttp2-client" >&2
exit 1

#!/bin/sh
# Installs what the benches start themselves and no wheel brings: wrk, which makes the load.

command -v wrk >/dev/null && exit 0
echo "The bench needs wrk."
if command -v apt-get >/dev/null && [ "$(id -u)" -eq 0 ]; then
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq && apt-get install -y -qq --no-install-recommends wrk && exit 0
fi
echo "It could not be installed. On Debian, as root: apt-get install wrk" >&2
exit 1

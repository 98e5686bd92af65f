#!/bin/sh
# Installs what the benches start themselves and no wheel brings: h2load, which makes the load, and
# MariaDB with its client.

PATH=$PATH:/usr/sbin:/usr/local/sbin
packages=
command -v h2load >/dev/null || packages=nghttp2-client
command -v mariadbd >/dev/null && command -v mariadb-install-db >/dev/null &&
  command -v mariadb >/dev/null || packages="$packages mariadb-server-core mariadb-client-core"
if [ -z "$packages" ]; then
  exit 0
fi

echo "The benches need: $packages."
if command -v apt-get >/dev/null && [ "$(id -u)" -eq 0 ]; then
  export DEBIAN_FRONTEND=noninteractive
  # shellcheck disable=SC2086 - these are words
  apt-get update -qq && apt-get install -y -qq --no-install-recommends $packages && exit 0
fi
echo "They could not be installed. On Debian, as root: apt-get install $packages" >&2
exit 1

#!/bin/sh
# Installs what the tests start themselves and no wheel brings: MariaDB's server, a browser,
# Prometheus, the shells that complete our commands, and jq, which the pages use.
# What we may not install it names, and the tests that need it are skipped.

PATH=$PATH:/usr/sbin:/usr/local/sbin
packages=
command -v mariadbd >/dev/null && command -v mariadb-install-db >/dev/null ||
  packages="mariadb-server-core mariadb-client-core"
command -v chromium >/dev/null || command -v google-chrome >/dev/null ||
  packages="$packages chromium"
for tool in zsh fish jq; do
  command -v "$tool" >/dev/null || packages="$packages $tool"
done
prometheus=
command -v prometheus >/dev/null && command -v promtool >/dev/null &&
  command -v prometheus-node-exporter >/dev/null ||
  prometheus="prometheus prometheus-node-exporter"
packages="$packages${prometheus:+ $prometheus}"
if [ -z "$packages" ]; then
  exit 0
fi

echo "The tests need: $packages."
if command -v apt-get >/dev/null && [ "$(id -u)" -eq 0 ]; then
  export DEBIAN_FRONTEND=noninteractive
  # shellcheck disable=SC2086 - these are words
  if apt-get update -qq && apt-get install -y -qq --no-install-recommends $packages; then
    # Debian starts its own at once; the tests want none but theirs.
    for service in $prometheus; do
      service "$service" stop >/dev/null 2>&1 && update-rc.d "$service" disable
    done
    exit 0
  fi
elif command -v brew >/dev/null; then
  case $packages in mariadb*) brew install --quiet mariadb && exit 0 ;; esac
fi
echo "They could not be installed; what needs them is skipped. On Debian, as root:" >&2
echo "  apt-get install $packages" >&2

#!/bin/sh
# Installs what the tests start themselves and no wheel brings: MariaDB's server. Where that
# needs more than we may do, it says so, and the tests that need it are skipped.

PATH=$PATH:/usr/sbin:/usr/local/sbin
if command -v mariadbd >/dev/null && command -v mariadb-install-db >/dev/null; then
  exit 0
fi

if command -v apt-get >/dev/null && [ "$(id -u)" -eq 0 ]; then
  echo "Installing MariaDB's server for the tests."
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq &&
    apt-get install -y -qq --no-install-recommends mariadb-server-core mariadb-client-core &&
    exit 0
elif command -v brew >/dev/null; then
  echo "Installing MariaDB's server for the tests."
  brew install --quiet mariadb && exit 0
fi

echo "There is no mariadbd here, and none could be installed: the tests with MariaDB are skipped." >&2
echo "On Debian, as root: apt-get install mariadb-server-core mariadb-client-core" >&2

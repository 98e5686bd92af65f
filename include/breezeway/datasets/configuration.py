"""What git and DVC are configured with: only this, whatever the machine or a repository says."""

GIT_CONFIG = """\
[user]
    name = Breezeway
    email = breezeway@localhost
[core]
    hooksPath = /dev/null
    autocrlf = false
    symlinks = false
[commit]
    gpgSign = false
[gc]
    autoDetach = false
[advice]
    pushUpdateRejected = false
[http]
    lowSpeedLimit = 1000
    lowSpeedTime = 30
[safe]
    directory = {repository}
"""

DVC_CONFIG = """\
[core]
    remote = storage
['remote "storage"']
    url = {remote}
    verify = true
"""
DVC_LOCAL_CONFIG = """\
[core]
    no_scm = true
    check_update = false
[cache]
    dir = {cache}
    type = "hardlink,copy"
"""

TAGS_NEVER_MOVE = """\
#!/bin/sh
case $1 in
refs/tags/*)
    case $2 in *[!0]*) echo "Tag ${1#refs/tags/} never moves." >&2; exit 1;; esac
esac
"""
"""Git's own settings against moves and deletions are only for branches."""

#!/bin/sh
# Sees to it that the tests of the dashboard have a Chromium: one on the PATH, else Debian's, else Playwright's own.
# Usage: browser.sh PYTHON
set -e
for name in chromium chromium-browser google-chrome google-chrome-stable; do
  if command -v "$name" >/dev/null 2>&1; then exit 0; fi
done
root=""
if [ "$(id -u)" != 0 ]; then root="sudo -n"; fi
if grep -q '^ID=debian' /etc/os-release 2>/dev/null && { [ -z "$root" ] || $root true 2>/dev/null; }; then
  echo "installing Debian's chromium for the tests of the dashboard"
  export DEBIAN_FRONTEND=noninteractive
  $root apt-get update -qq
  $root apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core >/dev/null
else
  echo "installing Playwright's chromium for the tests of the dashboard"
  "$1" -m playwright install chromium
fi

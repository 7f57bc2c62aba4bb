#!/usr/bin/env bash
# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# ansible-test sanity on what users install: the built tarball, installed into an
# empty folder. Called by make sanity.
set -euo pipefail

cache=$PWD/.cache/sanity
mkdir -p "$cache"
# Outside the checkout: what git ignores there, ansible-test does not see.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# The checkout itself must not count as the installed collection.
export ANSIBLE_COLLECTIONS_PATH=$work
ansible-galaxy collection build --output-path "$work" >/dev/null
ansible-galaxy collection install --collections-path "$work" "$work"/*.tar.gz --offline >/dev/null

# The shims of pyenv do not find an interpreter without a setting that ansible-test
# does not hand on: the interpreters themselves, behind our environment's.
if command -v pyenv >/dev/null; then
  for folder in "$(pyenv root)"/versions/*/bin; do
    PATH=${PATH%%:*}:$folder:${PATH#*:}
  done
fi

# ansible-test keeps its environments below the home folder: one of our own. It
# would download get-pip.py; the pip that Python brings does as well.
export HOME=$cache/home
mkdir -p "$HOME/.ansible/test/cache"
for version in 20_3_4 21_3_1 24_2 25_2; do
  cat >"$HOME/.ansible/test/cache/get_pip_$version.py" <<EOF
import subprocess, sys
subprocess.check_call([sys.executable, "-m", "ensurepip", "--default-pip"])
subprocess.check_call([sys.executable, "-m", "pip", "install", "--quiet", "pip==${version//_/.}"])
EOF
done
cd "$work/ansible_collections/agentless/overlay"
if ! ansible-test sanity --color no "$@" >"$cache/log" 2>&1; then
  cat "$cache/log"
  exit 1
fi
echo "ansible-test sanity: $(grep -c '^Running sanity test' "$cache/log") tests passed"

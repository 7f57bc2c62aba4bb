#!/usr/bin/env bash
# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# A release of ansible-core in an environment of its own, .cache/core-RELEASE, with a Python that it supports:
# tests/core.sh 2.16, or newest. Where this machine has no such Python, a file in it says so, and tests pass over it.
set -euo pipefail

release=$1
target=.cache/core-$release
# The minor versions of Python 3 that a release is made for, as its documentation has it.
case $release in
2.16 | 2.17) least=10 most=12 ;;
2.18 | 2.19) least=11 most=13 ;;
2.20) least=12 most=14 ;;
*) least=12 most=99 ;;
esac

# The one that all else runs with, where it will do, or else the newest.
find_python() {
  local python minor found=0 best=''
  for python in .venv/bin/python $(compgen -c | grep -x 'python3\.[0-9]*' | sort -u) "${PYENV_ROOT:-$HOME/.pyenv}"/versions/*/bin/python3; do
    # One that is there may yet be none: pyenv has such, and distributions have some that can make no environment.
    minor=$("$python" -c 'import sys, venv; print(sys.version_info.minor)' 2>/dev/null) || continue
    if ((minor > found && minor >= least && minor <= most)); then
      best=$python found=$minor
      [ "$python" != .venv/bin/python ] || break
    fi
  done
  echo "$best"
}

rm -rf "$target"
mkdir -p "$target"
python=$(find_python)
if [ -z "$python" ]; then
  echo "ansible-core $release needs a Python from 3.$least$([ $most = 99 ] || echo " to 3.$most"), and this machine has none" | tee "$target/skipped"
else
  "$python" -m venv --without-pip "$target"
  version=$([ "$release" = newest ] || echo "==$release.*")
  # Compiled as far as it is used.
  .venv/bin/pip --quiet --python "$target/bin/python" install --no-compile "ansible-core$version" --requirement meta/requirements.txt
fi
touch "$target/ready"

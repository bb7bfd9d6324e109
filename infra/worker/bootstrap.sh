#!/bin/bash
# From the unpacked code to the training: a watch over its progress, the locked environment, then scripts/worker.py.
# Started by user-data.sh, which ends the machine when this ends, and tells S3 the last lines if it fails.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
folder=$(dirname "$PWD")

# Whoever makes progress touches this file. When nobody does, the machine ends, whatever else hangs.
export PLANTDOC_PROGRESS=$folder/progress
touch "$PLANTDOC_PROGRESS"
watch() {
  until [ -n "$(find "$PLANTDOC_PROGRESS" -mmin "+$PLANTDOC_STALL_MINUTES")" ]; do sleep "${PLANTDOC_BEAT:-5}"; done
  timeout --foreground 60 python3 infra/worker/objects.py failed 1 \
    "no progress for $PLANTDOC_STALL_MINUTES minutes (runner.stall_minutes)" || true
  until shutdown -P now; do sleep 5; done
}
watch >/dev/null 2>&1 &

again() { # a command that the network may fail
  local try
  for try in 1 2 3 4 5; do
    "$@" && return
    echo "$* failed, try $try of 5"
    sleep "${PLANTDOC_BEAT:-5}"
  done
  return 1
}

# apt-get, which fails at once while another holds a lock. A fresh Ubuntu starts with apt-daily.service and
# unattended-upgrades, which hold them for minutes; of the lists' lock, apt's own DPkg::Lock::Timeout knows nothing.
apt() {
  local said tries=0
  for _ in $(seq 120); do
    if said=$(LC_ALL=C apt-get "$@" 2>&1); then
      echo "$said"
      return
    fi
    echo "$said"
    if ! grep -qE 'Could not get lock|Unable to (lock|acquire)' <<<"$said"; then
      tries=$((tries + 1))
      if [ "$tries" = 5 ]; then return 1; fi
    fi
    sleep "${PLANTDOC_BEAT:-5}"
  done
  return 1
}

python3 infra/worker/objects.py phase environment
# The run's id says on which kind of machine it is trained, and with it which locks are installed.
if nvidia-smi --query-gpu=name --format=csv,noheader >/dev/null 2>&1; then gpu=1; else gpu=''; fi
if [ "$gpu" != "$PLANTDOC_GPU" ]; then
  if [ -n "$gpu" ]; then
    echo "this machine has an NVIDIA GPU, and the run is for machines without one (runner.instance_types)"
  elif grep -qs 0x10de /sys/bus/pci/devices/*/vendor; then
    echo "this machine has an NVIDIA GPU but no driver for it: choose an image with one (runner.image)"
  else
    echo "this machine has no NVIDIA GPU, and the run is for machines with one (runner.instance_types)"
  fi
  exit 1
fi
locks=(requirements-train.txt)
if [ -n "$gpu" ]; then locks+=(requirements-gpu.txt); fi
# An image may have the environment in it, named after the locks.
baked=${PLANTDOC_HOME:-/opt/plantdoc}/environments/$(cat "${locks[@]}" | sha256sum | cut -d ' ' -f 1)
if [ -d "$baked" ]; then
  ln -sfn "$baked" .venv
else
  if ! command -v make >/dev/null || ! python3 -c 'import ensurepip'; then
    export DEBIAN_FRONTEND=noninteractive
    apt update -q
    apt install -qy -o DPkg::Lock::Timeout=300 make python3-venv
  fi
  touch "$PLANTDOC_PROGRESS"
  again make train-environment GPU="$gpu"
fi
touch "$PLANTDOC_PROGRESS"
.venv/bin/python scripts/worker.py

#!/bin/bash
# What a training machine runs as root when it starts. A template: plantdoc.ec2.user_data fills in what stands
# between @ and @. It holds no secret: everything is fetched with the machine's own role.
set -euo pipefail

# First of all what ends the machine, which is set to be gone for good when it shuts down: whenever this script ends, in
# whatever way; when its time is over; and after a restart, which no timer survives and which runs no user-data again.
finish() {
  local status=$?
  case $status in
    0 | 75 | 130 | 143) ;; # done, or taken away or cut off from S3 and to be tried again elsewhere
    *) # say why, where nobody has yet
      timeout --foreground 120 python3 "$folder/objects.py" failed "$status" "the machine failed ($status)" "$folder/log" || true
      ;;
  esac
  tail -n 30 "$folder/log" >&3 || true
  until shutdown -P now; do sleep 5; done
}
exec 3>&1
folder=${PLANTDOC_HOME:-/opt/plantdoc}/@run_id@
trap finish EXIT
trap 'exit 75' TERM INT HUP
shutdown -P +@minutes@
each_boot=${PLANTDOC_HOME:-}/var/lib/cloud/scripts/per-boot
mkdir -p "$each_boot" "$folder"
printf '#!/bin/sh\nshutdown -P now\n' >"$each_boot/plantdoc-ends-after-a-restart"
chmod +x "$each_boot/plantdoc-ends-after-a-restart"

export HOME="${HOME:-/root}"
export PLANTDOC_BUCKET=@bucket@ PLANTDOC_REGION=@region@ AWS_DEFAULT_REGION=@region@
export PLANTDOC_RUN_ID=@run_id@ PLANTDOC_ATTEMPT=@attempt@ PLANTDOC_STALL_MINUTES=@stall_minutes@
export PLANTDOC_DVC_PREFIX=@dvc_prefix@ PLANTDOC_WEIGHTS_SHA256=@weights@
export PLANTDOC_GPU=@gpu@
exec >>"$folder/log" 2>&1

cat >"$folder/objects.py" <<'PYTHON'
@objects.py@
PYTHON
python3 "$folder/objects.py" code @code@ "$folder/repository"
bash "$folder/repository/infra/worker/bootstrap.sh"
